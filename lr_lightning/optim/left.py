"""By which LRs a party notices that something else has set them since."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lr_lightning.optim.group import BASE_LR, get_lr, lr_factor


class LRsLeft:
    """The LRs that one party left in param groups, by place: (number of the optimizer, number of the group).

    An LR on a device isn't noted: reading it would wait for the device.

    >>> left, group = LRsLeft(), {"lr": 0.5}
    >>> left.note((0, 0), group)
    >>> left.moved((0, 0), group)
    >>> left.moved((0, 0), {"lr": 0.1})
    (0.5, 0.1)
    >>> left.moved((0, 0), {"lr": 0.25, "lr_factor": 0.5})  # a plateau decay
    """

    def __init__(self) -> None:
        self._left: dict[tuple[int, int], tuple[float, float, float]] = {}

    def note(self, place: tuple[int, int], group: dict[str, Any]) -> None:
        """Take a group's LR as it is now."""
        lr = group.get("lr")
        if lr is not None and (not isinstance(lr, Tensor) or lr.device.type == "cpu"):
            self._left[place] = float(lr), lr_factor(group), float(group.get(BASE_LR, 0.0))

    def note_all(self, optimizers: Sequence[Any]) -> None:
        """Take the LRs of all groups as they are now, and forget others."""
        self._left = {}
        for index, optimizer in enumerate(optimizers):
            for number, group in enumerate(optimizer.param_groups):
                self.note((index, number), group)

    def moved(self, place: tuple[int, int], group: dict[str, Any], kicks: bool = True) -> tuple[float, float] | None:
        """The LR that was left and the present one, if neither plateau factor nor base LR explain the difference.

        Args:
            place: Of the group.
            group: The group.
            kicks: Whether a plateau factor may have risen: without kicks, only an older state has a higher one.
        """
        if place not in self._left:
            return None
        lr, factor, base = self._left[place]
        of_base = float(group.get(BASE_LR, 0.0)) / base if base else 1.0
        of_factor = lr_factor(group) / factor if factor else 1.0
        expected, now = lr * (of_factor if kicks else min(of_factor, 1.0)) * (of_base or 1.0), get_lr(group)
        return None if math.isclose(expected, now, rel_tol=1e-6) else (expected, now)
