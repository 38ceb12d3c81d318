"""What PlateauDecay follows besides its metric: the weights, for its gate."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor

from lr_lightning.optim.motion import MOST_WEIGHTS, WeightPath, WeightSampler
from lr_lightning.rules.plateau.motion import Drift


class Gate:
    """Samples the weights at observations, at most once a 50th of a planned run.

    Attributes:
        path: The samples since the last cut.
    """

    def __init__(self) -> None:
        self.path = WeightPath()
        self._sample = WeightSampler()

    def look(self, trainer: Any, optimizers: list[Any], at: float, horizon: float | None) -> Drift:
        """How the weights of these optimizers move, the same on all ranks.

        Between samples this compares two numbers. A sample reads at most 4096 weights from the device; over several
        ranks it adds a reduction of three numbers, and where they are sharded a gathering of the sample, so that every
        rank has the whole of it, and any rank's checkpoint too.
        """
        if self.path.is_due(at, horizon):
            parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
            # DeepSpeed's ZeRO 3 takes them from the optimizer.
            parameters = parameters or list(trainer.lightning_module.parameters())
            reduce = None if trainer.world_size == 1 else _Reduced(trainer.strategy)
            self.path.add(self._whole(trainer, parameters), at, reduce)
        return self.path.drift

    def _whole(self, trainer: Any, parameters: list[Tensor]) -> Tensor:
        """The sample, the same on all ranks."""
        if not _sharded(trainer):
            return self._sample(parameters)
        share = MOST_WEIGHTS // trainer.world_size
        return _gathered(trainer.strategy, self._sample(parameters, share), share)

    def restart(self) -> None:
        """The LR was changed: what came before tells nothing."""
        self.path.clear()

    def state_dict(self) -> dict[str, Any]:
        """The samples."""
        return self.path.state_dict()


def _gathered(strategy: Any, own: Tensor, most: int) -> Tensor:
    """Every rank's part, one after the other: parts of up to ``most`` weights, each behind its length."""
    device = strategy.root_device
    row = torch.zeros(most + 2, dtype=torch.float32 if device.type == "mps" else torch.float64)
    row[0], row[1], row[2 : 2 + len(own)] = len(own), own.dtype == torch.float64, own
    rows = strategy.all_gather(row.to(device)).cpu().reshape(-1, most + 2)
    whole = torch.cat([one[2 : 2 + int(one[0])] for one in rows])
    return whole if rows[:, 1].any() else whole.float()


class _Reduced:
    """Sums a small tensor over ranks."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __call__(self, sums: Tensor) -> Tensor:
        device = self._strategy.root_device
        kind = torch.float32 if device.type == "mps" else torch.float64
        return torch.as_tensor(self._strategy.reduce(sums.to(device, kind), reduce_op="sum"))


def _sharded(trainer: Any) -> bool:
    """Whether every rank has other weights; a checkpoint has what rank 0 keeps of them only."""
    # DeepSpeed's strategy is a DDPStrategy to Lightning, and shards.
    replicated = isinstance(trainer.strategy, DDPStrategy) and not isinstance(trainer.strategy, DeepSpeedStrategy)
    return trainer.world_size > 1 and not replicated
