"""The lr-lightning command."""
