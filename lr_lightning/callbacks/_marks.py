"""What this package keeps in param groups, through checkpoints whose strategy loses it on the way.

FSDP2's optimizer states are loaded into the keys that a new optimizer's groups have, and no others: base LR, plateau
factor and the multiplier of a scheduler that isn't known would be gone in a resumed fit.
"""

from typing import Any
from weakref import WeakKeyDictionary

from lightning.pytorch import Callback, LightningModule, Trainer

from lr_lightning.optim.decisions import marks, put_marks_back, saved_marks
from lr_lightning.optim.param_groups import unwrap
from lr_lightning.rules.saved import Saved

_KEY = "lr_lightning"
_loaded: "WeakKeyDictionary[Trainer, list[list[dict[str, float]]]]" = WeakKeyDictionary()


class KeepsMarks(Callback):
    """A callback that relies on what is kept in the param groups: each of them saves and loads the same."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what the param groups hold, or had lost when nothing was left to train: such a fit doesn't start."""
        optimizers = [unwrap(optimizer) for optimizer in trainer.optimizers]
        put_marks_back(optimizers, _loaded.get(trainer, []))
        checkpoint[_KEY] = {"marks": marks(optimizers)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note it until the optimizers are loaded.

        Raises:
            ValueError: If it isn't what was saved.
        """
        if _KEY in checkpoint:
            _loaded[trainer] = saved_marks(Saved("lr_lightning", checkpoint[_KEY]))


def put_back(trainer: Trainer) -> None:
    """At fit start: put into the param groups what they have lost."""
    put_marks_back([unwrap(optimizer) for optimizer in trainer.optimizers], _loaded.pop(trainer, []))
