"""Isolated steps in a live fit: the only code that touches Lightning's private API."""
