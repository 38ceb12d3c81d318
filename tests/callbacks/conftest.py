"""Lightning 2.5 has no callback that averages weights."""

from lightning.pytorch import callbacks

collect_ignore = [] if hasattr(callbacks, "WeightAveraging") else ["test_weight_averaging.py"]
