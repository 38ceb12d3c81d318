"""PlateauDecay's gate: a cut waits while the weights move on."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from lr_lightning.rules.plateau_drift import Drift
from lr_lightning.weight_drift import WeightPath, WeightSampler


class Gate:
    """Samples the weights at observations, at most once a 50th of a planned run.

    Args:
        always: Also where the run's end isn't planned.

    Attributes:
        path: The samples since the last cut.
    """

    def __init__(self, always: bool) -> None:
        self._always = always
        self.path = WeightPath()
        self._sample = WeightSampler()
        self._sharded = False

    def look(self, trainer: Any, optimizers: list[Any], at: float, horizon: float | None) -> Drift | None:
        """How the weights of these optimizers move, the same on all ranks; None: the gate is open.

        Between samples this compares two numbers. A sample reads at most 4096 weights from the device; over several
        ranks it adds a reduction of three numbers.
        """
        if horizon is None and not self._always:
            return None
        if self.path.is_due(at, horizon):
            parameters = (p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"])
            # Sharded parameters: every rank has other weights, and a checkpoint has those of rank 0 only.
            self._sharded = trainer.world_size > 1 and not isinstance(trainer.strategy, DDPStrategy)
            reduce = None if trainer.world_size == 1 else _Summed(trainer.strategy)
            self.path.add(self._sample(parameters), at, reduce)
        return self.path.drift

    def restart(self) -> None:
        """The LR was changed: what came before tells nothing."""
        self.path.clear()

    def state_dict(self) -> dict[str, Any]:
        """The samples; of sharded parameters none, so that the comparison starts anew on every rank."""
        path = WeightPath() if self._sharded else self.path
        return path.state_dict()


class _Summed:
    """Sums a small tensor over ranks."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __call__(self, sums: Tensor) -> Tensor:
        device = self._strategy.root_device
        kind = torch.float32 if device.type == "mps" else torch.float64
        return torch.as_tensor(self._strategy.reduce(sums.to(device, kind), reduce_op="sum"))


def gate_for(settings: dict[str, Any], rule: str) -> Gate | None:
    """The gate that the settings ask for."""
    asked = settings["gate"]
    suits = rule == "trend" and settings["on_flat_region"] != "decay"
    return Gate(always=asked is True) if asked or (asked is None and suits) else None
