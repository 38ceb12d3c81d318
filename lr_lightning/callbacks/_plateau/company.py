"""The plateau factor of an optimizer that several callbacks may decay, others have decayed or set another LR of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._schedulers import all_schedulers, kinds
from lr_lightning.optim.left import LRsLeft
from lr_lightning.optim.param_groups import lr_factor
from lr_lightning.optim.schedulers import schedulers_of


def factor_of(trainer: Any, kind: type) -> Callable[[Any], float]:
    """The product of all decays of an optimizer, by whichever callback of this kind."""
    others = [callback for callback in trainer.callbacks if isinstance(callback, kind)]

    def factor(optimizer: Any) -> float:
        own = [callback for callback in others if optimizer in callback._optimizers(trainer)]
        return math.prod(callback.factor_so_far * callback._inherited for callback in own)

    return factor


def inherited(trainer: Any, callback: Any) -> float:
    """What an optimizer has been decayed by, before a checkpoint that has no state of this callback."""
    first = callback._optimizers(trainer)[0]
    return lr_factor(first.param_groups[0]) / factor_of(trainer, type(callback))(first)


class Undone:
    """Whether something takes decays back: the LR has risen since the last one, and nothing that is known raises it."""

    def __init__(self) -> None:
        self._left, self._told = LRsLeft(), False

    def note(self, optimizers: Sequence[Any]) -> None:
        """Take the LRs as they are now."""
        self._left.note_all(optimizers)

    def look(self, trainer: Any, monitor: str, optimizers: Sequence[Any]) -> None:
        """Say so, once. An LR that falls may be a schedule by hand that keeps the decays: it isn't told from others."""
        if self._told:
            return
        kicks = kinds(trainer).count("PlateauDecay") > 1
        for index, optimizer in enumerate(optimizers):
            for number, group in enumerate(optimizer.param_groups):
                left, now = self._left.moved((index, number), group, kicks) or (0.0, 0.0)
                if now > left and not _has_schedule(trainer, optimizer):
                    self._told = True
                    rank_zero_warn(
                        f"PlateauDecay({monitor}) left the learning rate at {left:.4g}, and something else has set it "
                        f"to {now:.4g} since: unless that multiplies the LR in the param group, the decays are lost. A "
                        "scheduler or an LRFormula keeps them"
                    )
                    return


def _has_schedule(trainer: Any, optimizer: Any) -> bool:
    return "LRFormula" in kinds(trainer) or bool(schedulers_of(optimizer, all_schedulers(trainer)))
