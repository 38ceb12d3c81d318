"""A bit-exact copy of a training state, in memory: what is reachable is found, kept, put back, and named if it isn't.

``reach`` walks, ``visits`` says where to, ``keeper`` and its kinds (``containers``, ``values``, ``tensors``,
``watched``, ``shared``) remember one object each, ``kept`` puts them together, ``snapshot`` for a model that trains.
``outside`` notes files and processes.
"""

from lr_lightning.optim.snapshot.kept import Kept, in_words, reachable
from lr_lightning.optim.snapshot.outside import Outside, name_of
from lr_lightning.optim.snapshot.snapshot import Snapshot, reshard
from lr_lightning.optim.snapshot.tensors import local
from lr_lightning.optim.snapshot.watched import runs_outside

__all__ = ["Kept", "Outside", "Snapshot", "in_words", "local", "name_of", "reachable", "reshard", "runs_outside"]
