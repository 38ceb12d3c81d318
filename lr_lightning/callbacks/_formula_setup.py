"""What LRFormula reads off a trainer at fit start, and what it refuses there."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler

from lr_lightning.optim.param_groups import unwrap
from lr_lightning.rules.formula.formula import Formula
from lr_lightning.rules.formula.schedule import Counters, Horizon
from lr_lightning.rules.formula.text import FormulaError
from lr_lightning.rules.saved import Saved


class FormulaOwner(Protocol):
    """What is asked of an LRFormula here."""

    formulas: dict[str, Formula]

    @property
    def title(self) -> str:
        """The callback with its formulas."""

    def owns(self, index: int, group: Mapping[str, Any]) -> bool:
        """Whether it sets the group's LR."""


def horizon_of(trainer: Trainer) -> Horizon:
    """Length of the fit. Where ``max_steps`` ends it early, its epochs are counted to there."""
    batches = _whole(trainer.num_training_batches)
    epochs = None if trainer.max_epochs is None or trainer.max_epochs < 0 else trainer.max_epochs
    windows = {trainer.accumulate_grad_batches}
    for callback in getattr(trainer, "callbacks", ()):
        if isinstance(callback, GradientAccumulationScheduler):
            windows = {callback.get_accumulate_grad_batches(epoch) for epoch in [0, *callback.scheduling]}
    if len(windows) > 1:  # the steps of an epoch change during the run, and Lightning doesn't estimate them
        return Horizon(epochs, None if trainer.max_steps < 0 else trainer.max_steps, batches, None)
    per_epoch = None if batches is None else max(1, -(-batches // windows.pop()))
    steps = _whole(trainer.max_steps)
    if epochs is not None and per_epoch is not None:
        steps = min(epochs * per_epoch, steps or epochs * per_epoch)
    if steps is not None and per_epoch is not None:
        epochs = -(-steps // per_epoch)
    return Horizon(epochs, steps, batches, per_epoch)


def _whole(count: float) -> int | None:
    return int(count) if math.isfinite(count) and count > 0 else None


def refuse_rivals(callback: FormulaOwner, trainer: Trainer, optimizers: Sequence[tuple[int, Any]]) -> None:
    """Refuse whatever else would write the LRs that the formula writes, or be ignored by it.

    Raises:
        FormulaError: The message names both parties.
    """
    for config in trainer.lr_scheduler_configs:
        owner = unwrap(getattr(config.scheduler, "optimizer", None))
        for index, optimizer in optimizers:
            if owner is optimizer:
                raise FormulaError(
                    f"{callback.title} and the scheduler {type(config.scheduler).__name__} from configure_optimizers "
                    f"both set the LR of optimizer {index} ({type(optimizer).__name__}): keep one of them"
                )
    for other in getattr(trainer, "callbacks", ()):
        kinds = {kind.__name__ for kind in type(other).__mro__}
        if "StochasticWeightAveraging" in kinds:
            raise FormulaError(
                f"{callback.title} and StochasticWeightAveraging (SWALR) both set the LR: keep one of them"
            )
        if other is not callback and type(other) is type(callback):
            _refuse_twin(callback, other, optimizers)
        # A result that is measured, reported as applied and then overwritten would mislead; one word mends it.
        if "LRRangeTest" in kinds and getattr(other, "apply", False):
            _refuse_deaf(callback)


def _refuse_twin(callback: FormulaOwner, other: Any, optimizers: Sequence[tuple[int, Any]]) -> None:
    for index, optimizer in optimizers:
        for number, group in enumerate(optimizer.param_groups):
            if callback.owns(index, group) and other.owns(index, group):
                raise FormulaError(
                    f"{callback.title} and {other.title} both set the LR of optimizer {index}, group {number}: give "
                    "them different groups (groups={'name': …}) or optimizers (optimizer=0)"
                )


def _refuse_deaf(callback: FormulaOwner) -> None:
    for formula in callback.formulas.values():
        if not formula.uses_base:
            raise FormulaError(
                f"LRRangeTest(apply=True) sets the base LR, but {callback.title} gives "
                f"{formula.expression!r}, which uses neither base_lr nor lr: multiply it by base_lr, or set apply=False"
            )


def read_metrics(trainer: Trainer, names: Sequence[str]) -> dict[str, float]:
    """The values last logged, as the mean over the ranks that have them. One collective for all of them.

    Metrics that no rank has logged yet are left out.
    """
    logged = trainer.callback_metrics
    values = [float(logged[name]) if name in logged else 0.0 for name in names]
    found = [float(name in logged) for name in names]
    if trainer.world_size > 1:
        device = trainer.strategy.root_device
        kind = torch.float32 if device.type == "mps" else torch.float64
        both = torch.tensor([values, found], dtype=kind, device=device)
        values, found = trainer.strategy.reduce(both, reduce_op="sum").tolist()
    return {name: value / count for name, value, count in zip(names, values, found, strict=True) if count}


def restored(saved: Saved) -> dict[str, Any]:
    """LRFormula's attributes from its saved state.

    Raises:
        ValueError: If the state isn't what ``LRFormula.state_dict`` gives.
    """
    at = None if saved["at"] is None else saved.counts("at")
    if at is not None and len(at) != len(Counters._fields):
        raise saved.refuse("at", f"None or {', '.join(Counters._fields)}", at)
    return {
        "_at": None if at is None else Counters(*at),
        "_values": _rows(saved, "values"),
        "_bases": _rows(saved, "bases"),
        "_metrics": saved.named_floats("metrics"),
        "_next_metrics": saved.named_floats("next_metrics"),
        "_next_due": saved.flag("next_due"),
    }


def _rows(saved: Saved, key: str) -> list[list[float | None]]:
    """LRs by optimizer and group; None for groups that the formula leaves alone."""
    rows = []
    for row in saved.items(key):
        if not isinstance(row, (list, tuple)):
            raise saved.refuse(key, "lists of LRs", row)
        ones = [Saved(saved.owner, {key: value}) for value in row]
        rows.append([None if one[key] is None else one.number(key, 0.0) for one in ones])
    return rows
