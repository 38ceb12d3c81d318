"""Tags of the curves, and values collected on the device between two points and moved to the host once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from lr_lightning.optim.schedulers import unwrap

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


def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are one number; optimizers that find their own step have ``lr=None``.

    >>> numbers({"lr-Adafactor": None, "lr-SGD": 0.1, "lr-X": "auto"})
    {'lr-SGD': 0.1}
    """
    return {name: value for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def gradient_norm(optimizer: Optimizer) -> Tensor | None:
    """The 2-norm of all gradients, on their device; None without any."""
    norms = [_norm(p.grad.detach()) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not norms:
        return None
    total: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))
    return total


def _norm(grad: Tensor) -> Tensor:
    if grad.layout == torch.sparse_coo:  # the same row may stand there several times
        grad = grad.coalesce().values()
    elif grad.layout != torch.strided:
        grad = grad.values()
    wide = torch.complex64 if grad.is_complex() else torch.float32
    norm: Tensor = torch.linalg.vector_norm(grad.to(torch.promote_types(grad.dtype, wide)))
    return norm.float()


@dataclass
class Track:
    """One optimizer's LRs over the steps.

    Attributes:
        optimizer: The torch optimizer.
        names: Tag of each param group.
        lrs: LR of each group at the newest step; floats, or copies of tensors on their device; empty before the first.
        changes: Steps since the last point at which an LR changed, with the LRs from then on.
        tensors: Whether an LR is a tensor: comparing those would wait for the device.
    """

    optimizer: Optimizer
    names: list[str]
    lrs: list[Any] = field(default_factory=list)
    changes: list[tuple[int, list[Any]]] = field(default_factory=list)
    tensors: bool = False

    def current(self) -> list[Any]:
        """The LRs of the newest step; those of the groups where no step was seen (raw steps, manual optimization)."""
        return self.lrs or self.groups_lrs()

    def groups_lrs(self) -> list[Any]:
        """The LRs as the groups have them now."""
        return [group.get("lr") for group in self.optimizer.param_groups]

    def fits(self) -> bool:
        """Whether the optimizer still has as many groups as there are names."""
        return len(self.names) == len(self.optimizer.param_groups)


def tracks(trainer: Trainer, prefix: str = "") -> dict[int, Track]:
    """A new track for each optimizer of the trainer, by the optimizer's ``id``.

    The tags are those of Lightning's ``LearningRateMonitor``, so that dashboards keep working, after ``prefix``:
    optimizers with a scheduler come first and take the scheduler config's name if it has one; a second optimizer of a
    class gets ``-1``, a third ``-2``; several groups get ``/pg1``, ``/pg2``, … or their ``name``.
    """
    configs = {id(unwrap(c.scheduler.optimizer)): c for c in reversed(trainer.lr_scheduler_configs)}
    scheduled = [unwrap(config.scheduler.optimizer) for config in trainer.lr_scheduler_configs]
    order = {id(optimizer): optimizer for optimizer in [*scheduled, *map(unwrap, trainer.optimizers)]}
    seen: Counter[type] = Counter()
    found = {}
    for key, optimizer in order.items():
        kind = type(optimizer)
        given = configs[key].name if key in configs else None
        if given is None:
            seen[kind] += 1
        base = prefix + (given if given is not None else f"lr-{kind.__name__}")
        stem = f"{base}-{seen[kind] - 1}" if seen[kind] > 1 else base
        tensors = any(isinstance(group.get("lr"), Tensor) for group in optimizer.param_groups)
        found[key] = Track(optimizer, _group_names(stem, optimizer.param_groups), tensors=tensors)
    return found


def _group_names(stem: str, groups: list[dict[str, Any]]) -> list[str]:
    given = [group.get("name") for group in groups]
    if len(groups) == 1:
        return [f"{stem}/{given[0]}" if given[0] else stem]
    names = [str(name or f"pg{index}") for index, name in enumerate(given, start=1)]
    if len(set(names)) < len(names):
        names = [f"pg{index}" for index in range(1, len(groups) + 1)]
    return [f"{stem}/{name}" for name in names]
