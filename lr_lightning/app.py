"""The ``lr-lightning`` command."""


def main() -> None:
    """Run the Hydra app."""
    raise SystemExit("not there yet")
