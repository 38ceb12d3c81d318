"""Hands off: what a training reaches when nobody chooses a learning rate, over what a tuned one reaches."""
