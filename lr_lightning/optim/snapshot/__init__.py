"""A bit-exact copy of a training state, in memory: what is reachable is found, kept, put back, and named if it isn't.

``reach`` walks, ``visits`` says where to, ``keeper`` and its kinds (``containers``, ``values``, ``tensors``,
``watched``) remember one object each, ``snapshot`` puts them together.
"""

from lr_lightning.optim.snapshot.snapshot import Kept, Snapshot, in_words, reachable, reshard
from lr_lightning.optim.snapshot.tensors import local

__all__ = ["Kept", "Snapshot", "in_words", "local", "reachable", "reshard"]
