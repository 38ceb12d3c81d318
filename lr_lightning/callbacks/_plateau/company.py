"""The plateau factor of an optimizer that several callbacks may decay, or that others have decayed before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lr_lightning.optim.param_groups import lr_factor


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
