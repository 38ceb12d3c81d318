"""Losses that only the backward knows.

Those of manual optimization, whose ``training_step`` may return nothing, and of optimizers that evaluate a closure
several times a step (LBFGS).
"""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor


class BackwardLosses:
    """What went backward since an optimizer's last step is that step's loss.

    One step's passes (accumulation) count by their mean, an optimizer's steps within a row too; the optimizers (a
    generator and its critic) add up. Where a step evaluates its closure several times, the first counts: the others are
    of weights that it has tried or already moved to.

    Attributes:
        last: The newest loss that went backward, for whoever asks what a broken step had got to; None if it is scaled.
        under_way: Whether one goes backward now.
        first: What the closure's first evaluation gave, where a step of automatic optimization has taken several.
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None
        self.first: Tensor | None = None
        self.under_way = False
        self._evaluations = 0
        self._passes: list[Tensor] = []
        self._steps: dict[int, list[Tensor]] = {}

    def saw(self, trainer: Trainer, loss: Tensor) -> None:
        """A loss goes backward."""
        self.under_way = True
        scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
        self.last = loss.detach() if scaler is None else None
        if trainer.lightning_module.automatic_optimization:
            if self._evaluations == 1:
                self.first = self.last
            return
        if self._evaluations > 1:
            return
        # The hook sees the loss as the scaler has scaled it; asking for the scale is a host sync, in this mode alone.
        mean = loss.detach().mean()
        self._passes.append(mean / scaler.get_scale() if scaler is not None else mean)

    def steps(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        """An optimizer begins to step: a pre-hook, which counts how often the closure is evaluated."""
        self._evaluations = 0
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            return None

        def counted(*given: Any, **named: Any) -> Any:
            self._evaluations += 1
            return closure(*given, **named)

        return ((args[0], counted, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": counted})

    def stepped(self, number: int, swept: bool) -> None:
        """An optimizer has stepped; one that isn't swept takes its losses away."""
        if swept and self._passes:
            self._steps.setdefault(number, []).append(torch.stack(self._passes).mean())
        self._passes.clear()
        self.first, self._evaluations = self.first if self._evaluations > 1 else None, 0

    def take(self) -> Tensor | None:
        """The loss of the steps since this was last asked; None without one."""
        if not self._steps:
            return None
        total = torch.stack([torch.stack(steps).mean() for steps in self._steps.values()]).sum()
        self._steps.clear()
        return total

    def begin(self) -> None:
        """Forget everything: another series of steps begins."""
        self.last, self.under_way, self.first, self._evaluations = None, False, None, 0
        self._passes.clear()
        self._steps.clear()
