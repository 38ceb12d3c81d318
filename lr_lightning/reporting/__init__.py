"""What was decided, shown: event files, figures, the TensorBoard tab."""
