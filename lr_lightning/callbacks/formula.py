"""LRFormula: the learning rate as a line of text, per epoch or per optimizer step."""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lr_lightning.callbacks._fits import Fits
from lr_lightning.callbacks._formula_setup import horizon_of, read_metrics, refuse_rivals, restored
from lr_lightning.callbacks._marks import KeepsMarks, put_back
from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox.progress import say
from lr_lightning.callbacks._sandbox.sandbox import logging_step
from lr_lightning.optim.left import LRsLeft
from lr_lightning.optim.param_groups import BASE_LR, get_lr, lr_factor, record_base_lr, set_lr
from lr_lightning.optim.schedulers import check_has_lr, unwrap
from lr_lightning.reporting.events import LREvent, write_event
from lr_lightning.rules.checks import check_count, nearest, shown
from lr_lightning.rules.formula.formula import Formula, Interval, check_used
from lr_lightning.rules.formula.schedule import Counters, Schedule
from lr_lightning.rules.formula.text import FormulaError
from lr_lightning.rules.saved import Saved

# Different pairs of formula and base LR to check; layer-wise LRs make many, alike but for a factor.
_MOST_CHECKS = 16

Expression = str | Callable[..., float]


class LRFormula(KeepsMarks):
    """Sets the LR of every param group to ``formula × lr_factor``, where ``lr_factor`` is the plateau decays' product.

    A closed formula (of ``base_lr`` and the counters) may be resumed anywhere, also with another length of the run; a
    recursive one (of ``lr``) goes on from its own previous value, kept in the checkpoint. The whole run is computed
    before its first step and refused if an LR would be negative or not finite. What ``LRRangeTest`` finds becomes
    ``base_lr``. Param groups added later (unfreezing), and those of an optimizer that takes another's place, get their
    formula from then on.

    Args:
        expression: The formula, such as ``"base_lr / (1 + decay_rate * epoch)"``; the language is described in
            :mod:`lr_lightning.rules.formula.formula`. Or a function with Keras's signature, ``f(epoch, lr)``:
            checkpoints hold the values that it gave, never the function itself, so give the same function when
            resuming; it is checked as it runs, not beforehand.
        preset: Name of a well-known formula in place of ``expression``; see :mod:`lr_lightning.rules.formula.presets`.
        interval: Whether to compute a new value at each ``"epoch"`` (default) or each optimizer ``"step"`` (default of
            the presets ``inverse_sqrt_step``, ``one_cycle``, ``triangular`` and ``noam``).
        groups: Formulas for named param groups (``{"params": …, "name": "head"}`` in the optimizer): name to
            expression, function, or mapping such as ``{"preset": "cosine", "final_factor": 0.1}``. The other groups
            follow ``expression``; without one, they are left alone.
        optimizer: Index of the only optimizer to act on; default: all.
        warmup_steps: Length of a linear warm-up in front, in optimizer steps; see
            :class:`~lr_lightning.rules.formula.formula.Formula`.
        warmup_epochs: The same in epochs.
        **params: The formula's named parameters, or the preset's arguments.

    Attributes:
        formulas: Formula of each named group; ``""`` is that of all others.

    Raises:
        FormulaError: At construction for a formula that cannot be read; at fit start for one that gives an impossible
            LR or needs a total that the Trainer doesn't know, beside a torch scheduler (or another LRFormula) on the
            same groups, and beside ``LRRangeTest(apply=True)`` if the formula ignores the base LR.

    ``metric("val_loss")`` is the value last logged, as the mean over ranks, read at the start of each epoch and after
    each validation. Until it is logged for the first time the LR stays as it is; ``metric("val_loss", 1.0)`` gives a
    value for that time.

    >>> LRFormula("base_lr / (1 + decay_rate * epoch)", decay_rate=0.05).title
    "LRFormula('base_lr / (1 + decay_rate * epoch) (decay_rate=0.05)')"
    """

    def __init__(
        self,
        expression: Expression | None = None,
        *,
        preset: str | None = None,
        interval: Interval | None = None,
        groups: Mapping[str, Any] | None = None,
        optimizer: int | None = None,
        warmup_steps: int = 0,
        warmup_epochs: int = 0,
        **params: Any,
    ):
        if optimizer is not None:
            check_count("optimizer", optimizer, 0, error=FormulaError)
        if not (groups is None or isinstance(groups, Mapping)):
            raise FormulaError(f"groups must map names of param groups to formulas, got {shown(groups)}")
        self.optimizer = optimizer
        warmup: dict[str, Any] = {"warmup_steps": warmup_steps, "warmup_epochs": warmup_epochs}
        self.formulas: dict[str, Formula] = {}
        if expression is not None or preset is not None or not groups:
            self.formulas[""] = Formula(
                expression, preset=preset, interval=interval, allow_unused=bool(groups), **warmup, **params
            )
            interval = self.formulas[""].interval
        for name, given in (groups or {}).items():
            self.formulas[str(name)] = _for_group(name, given, interval or "epoch", warmup, {} if preset else params)
        self.interval = next(iter(self.formulas.values())).interval
        if preset is None:
            check_used(params, list(self.formulas.values()))
        self._per_step = self.interval == "step"
        self._metric_names = sorted({name for formula in self.formulas.values() for name in formula.metrics})
        self._schedules: dict[str, Schedule] = {}
        self._fits = Fits("LRFormula")
        self._reset()

    def _reset(self) -> None:
        self._at: Counters | None = None  # where the values were computed
        self._values: list[list[float | None]] = []  # of each optimizer's groups, without ramp and plateau factor
        self._bases: list[list[float | None]] = []  # the base LRs that they were computed from
        self._metrics: dict[str, float] = {}  # in force
        self._next_metrics: dict[str, float] = {}  # logged before a checkpoint, but not yet read by then
        self._next_due = False
        self._due = self._warming = self._read = self._warned = False
        self._announced = True
        self._doubted = self._rival = False
        self._given: list[Any] = []  # the trainer's optimizers
        self._optimizers: list[tuple[int, Any]] = []
        self._groups: list[dict[str, Any]] = []  # of all optimizers that it acts on

    @property
    def title(self) -> str:
        """The callback with its formulas, for messages."""
        return f"LRFormula({', '.join(repr(str(formula)) for formula in self.formulas.values())})"

    @cached_property  # Lightning asks for it at every hook
    def state_key(self) -> str:
        """Tells callbacks apart by what they act on, so that a run can be resumed with another formula."""
        return self._generate_state_key(groups=sorted(self.formulas), optimizer=self.optimizer)

    def owns(self, index: int, group: Mapping[str, Any]) -> bool:
        """Whether this callback sets the LR of a param group of the optimizer with this index."""
        return self.optimizer in (None, index) and self._key(group) is not None

    def _key(self, group: Mapping[str, Any]) -> str | None:
        name = str(group.get("name") or "")
        if name in self.formulas:
            return name
        return "" if "" in self.formulas else None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that this release of Lightning has what is read from it; forget an earlier training."""
        if stage == "fit":
            _internals.require(trainer, "LRFormula", _internals.STEP)
            if self._fits.begins_anew(trainer):
                self._reset()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse impossible set-ups, compute the whole run, and note every group's base LR."""
        if trainer.optimizers and self.optimizer is not None and self.optimizer >= len(trainer.optimizers):
            raise FormulaError(
                f"optimizer={self.optimizer}: the module has {len(trainer.optimizers)} optimizers (from 0)"
            )
        self._fits.begin(trainer)
        step = logging_step(trainer)
        self._take_optimizers(trainer)
        put_back(trainer)
        check_has_lr("LRFormula", [optimizer for _, optimizer in self._optimizers], error=FormulaError)
        horizon = horizon_of(trainer)
        self._schedules = {key: Schedule(formula, horizon) for key, formula in self.formulas.items()}
        self._warming = step <= max(schedule.warming for schedule in self._schedules.values())
        self._check(
            step if self._per_step else trainer.current_epoch, change=not getattr(trainer, "fast_dev_run", False)
        )
        self._due, self._read, self._announced, self._rival = True, True, False, False
        self._groups = []
        for place, group in self._owned():
            self._left.note(place, group)

    def _owned(self) -> list[tuple[tuple[int, int], dict[str, Any]]]:
        """The groups that it acts on, by place."""
        return [
            ((index, number), group)
            for index, optimizer in self._optimizers
            for number, group in enumerate(optimizer.param_groups)
            if self._key(group) is not None
        ]

    def _take_optimizers(self, trainer: Trainer) -> None:
        """Note which optimizers there are, at the start and after a strategy has made new ones in mid-fit."""
        self._given, self._left = list(trainer.optimizers), LRsLeft()
        everyone = [(index, unwrap(optimizer)) for index, optimizer in enumerate(self._given)]
        self._optimizers = [pair for pair in everyone if self.optimizer in (None, pair[0])]
        refuse_rivals(self, trainer, self._optimizers)

    def _check(self, first: int, change: bool) -> None:
        names: set[str] = set()
        factors: set[str] = set()
        told: dict[tuple[str, float, float | None], str | None] = {}
        for index, optimizer in self._optimizers:
            for number, group in enumerate(optimizer.param_groups):
                names.add(str(group.get("name") or ""))
                key = self._key(group)
                if key is None:
                    continue
                base, (_, value) = record_base_lr(group), self._last(index, number)
                if (key, base, value) not in told and len(told) < _MOST_CHECKS:
                    schedule = self._schedules[key]
                    told[key, base, value] = schedule.check(base, first, value, changes=change)
                    factors |= {doubt for doubt in [schedule.factor_like(base)] if doubt and first == 0}
        for doubt in sorted(factors):
            rank_zero_warn(f"LRFormula: {doubt}")
        if told and all(told.values()):  # one constant LR beside others that change is meant
            rank_zero_warn(f"LRFormula: {next(iter(told.values()))}")
        for key in self.formulas.keys() - names - {""}:
            near = nearest(key, names - {""})
            rank_zero_warn(f"LRFormula: no param group is named {key!r} yet{near}; its formula waits for one")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new value is due, at the epoch's first batch: after a range test there."""
        self._due = self._read = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notice an LR that something else has set in the epoch."""
        for place, group in self._owned():
            if BASE_LR in group:
                self._look_for_rivals(place, group)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """There may be new metrics."""
        self._read = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the LR if a new value is due or a group is new."""
        if not _same(self._given, trainer.optimizers):
            self._take_optimizers(trainer)
        if self._per_step or self._due or self._warming or not _same(self._groups, self._present()):
            self._act(trainer, Counters(trainer.current_epoch, logging_step(trainer), batch_idx))

    def _present(self) -> list[dict[str, Any]]:
        return [group for _, optimizer in self._optimizers for group in optimizer.param_groups]

    def _act(self, trainer: Trainer, now: Counters) -> None:
        fresh = self._at is None or now[self._per_step] != self._at[self._per_step]  # epoch or step
        groups = self._present()
        if not (fresh or self._due or self._warming or not _same(self._groups, groups)):
            return  # a further batch of an accumulation window
        if self._read and self._metric_names:
            self._read_metrics(trainer, now)
        if fresh:
            self._at = now
        for place, group in self._owned():
            self._set(self._schedules[self._key(group) or ""], group, place, now, fresh)
        self._due = self._read = self._next_due = False
        self._groups = groups
        if self._warming:
            self._warming = now.step < max(schedule.warming for schedule in self._schedules.values())
        if not self._announced:
            self._announce(trainer, now)

    def _set(
        self, schedule: Schedule, group: dict[str, Any], place: tuple[int, int], now: Counters, fresh: bool
    ) -> None:
        """Give a group its LR. What is in force already isn't written again: a resumed run has it to the bit."""
        assert self._at is not None
        new = BASE_LR not in group
        base = record_base_lr(group)
        old_base, old = self._last(*place)
        if old is None or old_base is None:
            value = schedule.value(self._at, base, base, self._metrics)
            self._warn_of_factor(schedule, base, value)
        elif fresh or base != old_base:
            previous = old if base == old_base else old * (base / old_base)
            chained = not fresh and (schedule.formula.recursive or bool(self._metric_names))
            value = previous if chained else schedule.value(self._at, base, previous, self._metrics)
        elif self._warming or new:
            value = old
        else:
            return
        self._keep(place, base, value)
        if not new:
            self._look_for_rivals(place, group)
        set_lr(group, value * schedule.ramp(now) * lr_factor(group))
        self._left.note(place, group)

    def _look_for_rivals(self, place: tuple[int, int], group: dict[str, Any]) -> None:
        moved = None if self._rival else self._left.moved(place, group)
        if moved is not None:
            self._rival = True
            rank_zero_warn(
                f"LRFormula left the learning rate at {moved[0]:.4g}, and something else has set it to {moved[1]:.4g} "
                f"since: the formula sets it anew at each {self.interval}, whatever it is. Keep one of them; a warm-up "
                "is warmup_steps=…"
            )

    def _warn_of_factor(self, schedule: Schedule, base: float, value: float) -> None:
        """A function shows what it gives only now."""
        doubt = schedule.factor_like(base, value) if not hasattr(schedule.formula.program, "vector") else None
        if doubt is not None and not self._doubted:
            self._doubted = True
            rank_zero_warn(f"LRFormula: {doubt}")

    def _last(self, index: int, number: int) -> tuple[float | None, float | None]:
        if index < len(self._values) and number < len(self._values[index]):
            return self._bases[index][number], self._values[index][number]
        return None, None

    def _keep(self, place: tuple[int, int], base: float, value: float) -> None:
        index, number = place
        for table, entry in ((self._bases, base), (self._values, value)):
            table.extend([] for _ in range(index + 1 - len(table)))
            table[index].extend([None] * (number + 1 - len(table[index])))
            table[index][number] = entry

    def _read_metrics(self, trainer: Trainer, now: Counters) -> None:
        if self._next_due or self._at is None or self._at.epoch != now.epoch:
            self._metrics.update(self._next_metrics)
            self._next_metrics, self._next_due = {}, False
        self._metrics.update(read_metrics(trainer, self._metric_names))
        self._warn_of_missing(trainer)

    def _warn_of_missing(self, trainer: Trainer) -> None:
        """Once every metric has had its chance to be logged."""
        if self._warned or trainer.current_epoch < max(1, trainer.check_val_every_n_epoch or 1):
            return
        for name in self._metric_names:
            if name not in self._metrics:
                self._warned = True
                near = nearest(name, trainer.callback_metrics)
                rank_zero_warn(
                    f"LRFormula: metric {name!r} has not been logged so far{near or '.'} Until it is, its default "
                    "holds or, without one, the LR stays as it is"
                )

    def _announce(self, trainer: Trainer, now: Counters) -> None:
        self._announced = True
        for _, group in self._owned()[:1]:
            lr, base = get_lr(group), record_base_lr(group)
            formula = self.formulas[self._key(group) or ""]
            named = f"preset {formula.preset}: " if formula.preset else ""
            reason = f"{named}LR = {formula} per {self.interval}"
            write_event(trainer, LREvent("formula", now.step, now.epoch, base, lr, reason, "LRFormula"))
            say(trainer, f"LRFormula: {reason}; base LR {base:.4g}, LR {lr:.4g}")

    def state_dict(self) -> dict[str, Any]:
        """The values in force, as plain types: where they were computed, from which base LRs and metrics."""
        return {
            "formulas": {name: str(formula) for name, formula in self.formulas.items()},
            "at": None if self._at is None else list(self._at),
            "values": [list(row) for row in self._values],
            "bases": [list(row) for row in self._bases],
            "metrics": dict(self._metrics),
            "next_metrics": dict(self._next_metrics),
            "next_due": self._read or self._next_due,
        }

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what has been logged and is not yet read: a resumed run has no logged metrics. Every rank comes here."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._metric_names and self.state_key in checkpoint.get("callbacks", {}):
            checkpoint["callbacks"][self.state_key]["next_metrics"] = {
                **self._next_metrics,
                **read_metrics(trainer, self._metric_names),
            }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the values in force when the checkpoint was written.

        Raises:
            ValueError: If it isn't what ``state_dict`` gives; the callback stays as it is then.
        """
        saved = Saved("LRFormula", state_dict)
        found, formulas = restored(saved), saved.child("formulas").state
        vars(self).update(found)
        self._fits.give()
        for name, formula in self.formulas.items():
            if (before := formulas.get(name)) != str(formula):
                rank_zero_info(f"LRFormula: goes on as {str(formula)!r}, before the checkpoint it was {before!r}")


def _same(before: Sequence[Any], now: Sequence[Any]) -> bool:
    """Whether these are the same objects: an equal optimizer or group in another's place is a new one."""
    return len(before) == len(now) and all(map(operator.is_, before, now))


def _for_group(
    name: object, given: Any, interval: Interval, warmup: Mapping[str, Any], params: Mapping[str, Any]
) -> Formula:
    if not isinstance(name, str) or not name:
        raise FormulaError(f"groups maps names of param groups to formulas, got the name {shown(name)}")
    if not isinstance(given, (str, Mapping)) and not callable(given):
        raise FormulaError(f"groups[{name!r}] must be a formula, a function or a mapping, got {shown(given)}")
    if isinstance(given, Mapping):
        return Formula(**{"interval": interval, **warmup, **{str(key): value for key, value in given.items()}})
    return Formula(given, interval=interval, allow_unused=True, **warmup, **params)
