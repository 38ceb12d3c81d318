"""The "Learning rate" tab of TensorBoard, found through the entry point group ``tensorboard_plugins``."""
