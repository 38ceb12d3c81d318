"""FormulaLR: a formula as a torch scheduler, for plain PyTorch and for ``configure_optimizers``."""

import warnings
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lr_lightning.optim.param_groups import base_lr, get_lr, lr_factor, record_base_lr
from lr_lightning.optim.schedulers import check_has_lr
from lr_lightning.rules.checks import check_count, shown
from lr_lightning.rules.formula.formula import Formula, Interval
from lr_lightning.rules.formula.schedule import Counters, Horizon, Schedule
from lr_lightning.rules.formula.text import FormulaError
from lr_lightning.rules.saved import Saved

_COUNTERS = ("last_epoch", "_step_count", "_valued_at")
_LRS = ("base_lrs", "_last_lr", "_values", "_bases")


class FormulaLR(LRScheduler):
    """A torch scheduler on the formulas of :mod:`lr_lightning.rules.formula.formula`.

    Each ``step()`` of the scheduler moves on by one epoch or one optimizer step, as ``interval`` says. It is picklable,
    its state is plain, and it goes on as if built with the new LR when a range test or a plateau decay changes it.

    Args:
        optimizer: The optimizer.
        expression: The formula.
        preset: Name of a preset in place of ``expression``.
        interval: What one ``step()`` of the scheduler is, ``"epoch"`` or ``"step"``; default as in
            :class:`~lr_lightning.rules.formula.formula.Formula`. In Lightning give the same ``interval`` in the
            scheduler's configuration.
        epochs: Epochs of the run, for formulas that use ``epochs`` or, by epoch, ``progress``.
        steps: Optimizer steps of the run; default ``epochs * batches`` where both are given.
        batches: Mini-batches (each an optimizer step) of an epoch, for formulas that use both counters, or ``batch``.
        warmup_steps: Length of a linear warm-up in front, in steps; needs ``batches`` with ``interval="epoch"``.
        warmup_epochs: The same in epochs; needs ``batches`` with ``interval="step"``.
        last_epoch: As in torch: number of the last ``step()``, -1 to start. Without a state a formula of ``lr`` goes on
            from the groups' present LRs.
        **params: The formula's named parameters, or the preset's arguments.

    Raises:
        FormulaError: If the formula cannot be read, gives an impossible LR in the known part of the run, needs a total
            or a counter that isn't given, or uses ``metric(…)``.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    >>> scheduler = FormulaLR(optimizer, "base_lr / (1 + epoch)")
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        expression: str | None = None,
        *,
        preset: str | None = None,
        interval: Interval | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batches: int | None = None,
        warmup_steps: int = 0,
        warmup_epochs: int = 0,
        last_epoch: int = -1,
        **params: Any,
    ):
        if not isinstance(optimizer, Optimizer):
            raise FormulaError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
        check_has_lr("FormulaLR", [optimizer], error=FormulaError)
        if not (expression is None or isinstance(expression, str)):
            raise FormulaError(
                f"expression must be a string, got {shown(expression)}; torch's LambdaLR takes functions"
            )
        check_count("last_epoch", last_epoch, -1, error=FormulaError)
        if last_epoch >= 0 and not all("initial_lr" in group for group in optimizer.param_groups):
            raise FormulaError(
                f"last_epoch={shown(last_epoch)} resumes, but the optimizer's groups have no 'initial_lr'"
            )
        formula = Formula(
            expression,
            preset=preset,
            interval=interval,
            warmup_steps=warmup_steps,
            warmup_epochs=warmup_epochs,
            **params,
        )
        if formula.metrics:
            raise FormulaError(f"FormulaLR cannot see metrics: use LRFormula for {str(formula)!r}")
        horizon = _horizon(epochs, steps, batches)
        _check_counters(formula, horizon)
        self.formula = formula
        self._schedule = Schedule(formula, horizon)
        # Of each group, after the last step: the value without ramp and plateau factor, and the base LR it came from.
        self._values: list[float] = []
        self._bases: list[float] = []
        self._valued_at = -1
        for group in optimizer.param_groups:
            self._schedule.check(base_lr(group), first=max(last_epoch, 0), changes=False)
            record_base_lr(group)
            self._warn_of_factor(base_lr(group), last_epoch)
        if last_epoch >= 0 and formula.recursive:
            self._go_on(optimizer, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _warn_of_factor(self, base: float, last_epoch: int) -> None:
        doubt = self._schedule.factor_like(base) if last_epoch < 0 else None
        if doubt is not None:
            warnings.warn(f"FormulaLR: {doubt}", UserWarning, stacklevel=3)

    def _go_on(self, optimizer: Optimizer, last_epoch: int) -> None:
        """Without its state a recursive formula goes on from the groups' LRs, as torch's chained schedulers do.

        torch's releases differ in whether constructing a scheduler moves such an LR on by one step.
        """
        self.last_epoch = self._valued_at = last_epoch + hasattr(LRScheduler, "_is_initial")
        ramp = self._schedule.ramp(self._now())
        self._bases = [base_lr(group) for group in optimizer.param_groups]
        self._values = [get_lr(group) / (ramp * lr_factor(group)) for group in optimizer.param_groups]

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """The LR of each group after ``last_epoch`` steps; asked again, a recursive formula doesn't move on."""
        now, again = self._now(), self._valued_at == self.last_epoch
        values, bases, lrs = [], [], []
        for index, group in enumerate(self.optimizer.param_groups):
            base = record_base_lr(group)
            value = self._previous(index, base)
            if not (again and self.formula.recursive and index < len(self._values)):
                value = self._schedule.value(now, base, value)
            values.append(value)
            bases.append(base)
            lrs.append(value * self._schedule.ramp(now) * lr_factor(group))
        self._values, self._bases, self._valued_at = values, bases, self.last_epoch
        return lrs

    def _now(self) -> Counters:
        batches = self._schedule.horizon.steps_per_epoch or 1
        if self.formula.interval == "epoch":
            return Counters(self.last_epoch, self.last_epoch * batches, 0)
        return Counters(self.last_epoch // batches, self.last_epoch, self.last_epoch % batches)

    def _previous(self, index: int, base: float) -> float:
        if index >= len(self._values):
            return base
        old_base, value = self._bases[index], self._values[index]
        return value if base == old_base else value * (base / old_base)

    def state_dict(self) -> dict[str, Any]:
        """Counters and values as plain types; the formula itself comes from the constructor."""
        return {name: getattr(self, name) for name in (*_COUNTERS, *_LRS)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: If it isn't what ``state_dict`` gives; the scheduler stays as it is then.
        """
        saved = Saved("FormulaLR", state_dict)
        found: dict[str, Any] = {name: saved.count(name, -1) for name in _COUNTERS}
        for name in _LRS:
            found[name] = [_lr(saved, name, value) for value in saved.items(name)]
        vars(self).update(found)


def _lr(saved: Saved, name: str, value: Any) -> float | Tensor:
    """A saved LR; torch keeps a tensor where the LR is one."""
    if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
        return value
    return Saved(saved.owner, {name: value}).number(name, 0.0)


def _horizon(epochs: int | None, steps: int | None, batches: int | None) -> Horizon:
    for name, value in (("epochs", epochs), ("steps", steps), ("batches", batches)):
        if value is not None:
            check_count(name, value, 1, error=FormulaError)
    if steps is None and epochs is not None and batches is not None:
        steps = epochs * batches
    return Horizon(epochs, steps, batches, batches)


def _check_counters(formula: Formula, horizon: Horizon) -> None:
    by_epoch = formula.interval == "epoch"
    if by_epoch and formula.warmup_steps and horizon.batches is None:
        raise FormulaError("warmup_steps with interval='epoch' needs batches=, the steps of an epoch")
    for name in ("step",) if by_epoch else ("epoch", "batch"):
        if name in formula.names and horizon.batches is None:
            message = f"{name!r} isn't known with interval={formula.interval!r}: give batches=, the steps of an epoch"
            raise formula.program.complaint(name, message)
