"""Lightning callbacks: hooks that read the trainer, ask a rule and apply the answer."""
