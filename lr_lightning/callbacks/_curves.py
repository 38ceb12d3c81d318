"""Values collected on the device between two points of a curve, and moved to the host once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

_FOLD = 1000
"""Values kept before they are folded into one sum: a bound where points are rare."""


@dataclass
class Mean:
    """A running mean whose values stay on their device."""

    values: list[Tensor] = field(default_factory=list)
    count: int = 0

    def add(self, value: Tensor) -> None:
        """Take one value; no kernel is started and nothing waits."""
        self.values.append(value)
        self.count += 1
        if len(self.values) >= _FOLD:
            self.values = [self._sum()]

    def take(self) -> tuple[Tensor | None, int]:
        """Sum (None without values) and count since the last call."""
        taken = (self._sum() if self.values else None, self.count)
        self.values, self.count = [], 0
        return taken

    def _sum(self) -> Tensor:
        try:
            return torch.stack(self.values).sum(dtype=torch.float32)
        except (RuntimeError, TypeError):  # shapes differ: a loss of shape [1] beside a folded sum
            return torch.stack([value.float().reshape(()) for value in self.values]).sum()


@dataclass
class Point:
    """One point of all curves: host values, and device sums with their counts by tag."""

    step: int
    scalars: dict[str, Any]
    sums: Mapping[str, tuple[Tensor | None, int]] = field(default_factory=dict)


def resolve(trainer: Trainer, points: list[Point], tags: list[str], reduce: bool) -> list[dict[str, float]]:
    """The means of each point, by tag, without those that have no values.

    One transfer from the device, and over several ranks one reduction, for all points: every rank must call this with
    the same steps and tags if ``reduce``.
    """
    pairs = [point.sums.get(tag, (None, 0)) for point in points for tag in tags]
    if not pairs:
        return [{} for _ in points]
    counts = [float(count) for _, count in pairs]
    shared = reduce and trainer.world_size > 1
    if not any(counts) and not shared:
        return [{} for _ in points]
    device = trainer.strategy.root_device
    sums = torch.stack([torch.zeros((), device=device) if total is None else total.to(device) for total, _ in pairs])
    if shared:
        both = torch.cat([sums, torch.tensor(counts, device=device)])
        both = trainer.strategy.reduce(both, reduce_op="sum")
        sums, counts = both[: len(pairs)], both[len(pairs) :].tolist()
    means = [total / count if count else None for total, count in zip(sums.tolist(), counts, strict=True)]
    width = len(tags)
    rows = [means[start : start + width] for start in range(0, len(means), width)]
    return [{tag: mean for tag, mean in zip(tags, row, strict=True) if mean is not None} for row in rows]
