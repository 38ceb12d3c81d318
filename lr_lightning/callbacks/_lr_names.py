"""Tags of param groups, the same as Lightning's ``LearningRateMonitor`` gives them, so that dashboards keep working."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from lr_lightning.optim.param_groups import unwrap


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
        return self.lrs or [group["lr"] for group in self.optimizer.param_groups]


def tracks(trainer: Trainer) -> dict[int, Track]:
    """A new track for each optimizer of the trainer, by the optimizer's ``id``.

    Optimizers with a scheduler come first and take the scheduler config's name if it has one; a second optimizer of a
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
        base = given if given is not None else f"lr-{kind.__name__}"
        stem = f"{base}-{seen[kind] - 1}" if seen[kind] > 1 else base
        tensors = any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups)
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
