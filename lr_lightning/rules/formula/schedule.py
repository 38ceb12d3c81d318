"""A formula on a run of known length: its value at each point, and the check of all points before the first step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lr_lightning.rules.checks import MOST_LR
from lr_lightning.rules.formula.compile import METRICS, VARIABLES, MissingMetricError
from lr_lightning.rules.formula.text import FormulaError

if TYPE_CHECKING:
    from lr_lightning.rules.formula.formula import Formula

# Bounds of the check, in parts of a formula computed: some seconds at most, paid once, by runs that take hours. A
# formula of 20 parts is checked at each of 2.5 million points if it is closed (numpy), at the first 600,000 if it is
# recursive (one after the other).
VECTOR_WORK = 50_000_000
CHAIN_WORK = 25_000_000
_CHAIN_OVERHEAD = 20  # what one call of value() costs beside the formula, in parts of one; measured
_CHUNK = 16_384  # points computed at once: the arrays of a long formula stay within a processor's cache
# What is negative by rounding alone counts as 0: (1 - 0.1 * epoch) may give -1e-17 at its end.
_ROUNDING = 1e-12
_EPOCHWISE = {"epoch", "epochs", "lr"}
# A factor's greatest value is 1, or near it; an LR that is meant is rarely so, and seldom five times the optimizer's.
_FACTOR = (0.5, 2.0)
_FAR = 5.0
_NO_METRICS: Mapping[str, float] = {}

Points = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class Counters(NamedTuple):
    """A place in a run, all from 0: epoch, optimizer step over the run, mini-batch within the epoch.

    >>> Counters(epoch=2, step=200, batch=0).step
    200
    """

    epoch: int = 0
    step: int = 0
    batch: int = 0


class Horizon(NamedTuple):
    """Length of a run, as far as it is known.

    Attributes:
        epochs: Epochs of the run.
        steps: Optimizer steps of the run.
        batches: Mini-batches of an epoch.
        steps_per_epoch: Optimizer steps of an epoch; fewer than batches with gradient accumulation.

    >>> Horizon.of(10, 100)
    Horizon(epochs=10, steps=1000, batches=100, steps_per_epoch=100)
    """

    epochs: int | None = None
    steps: int | None = None
    batches: int | None = None
    steps_per_epoch: int | None = None

    @classmethod
    def of(cls, epochs: int, steps_per_epoch: int) -> "Horizon":
        """A run of whole epochs without gradient accumulation."""
        return cls(epochs, epochs * steps_per_epoch, steps_per_epoch, steps_per_epoch)


class Schedule:
    """A formula on a run.

    Args:
        formula: The formula.
        horizon: The run.

    Raises:
        FormulaError: If the formula needs a total that isn't known, or its warm-up takes the whole run.

    >>> from lr_lightning.rules.formula.formula import Formula
    >>> schedule = Schedule(Formula("base_lr * 0.5 ** epoch"), Horizon.of(3, 100))
    >>> schedule.curve(0.8)
    ([0.0, 99.0, 100.0, 199.0, 200.0, 299.0], [0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    """

    def __init__(self, formula: "Formula", horizon: Horizon):
        self.formula = formula
        self.horizon = horizon
        self._per_step = formula.interval == "step"
        names = formula.names
        for name, known in zip(("epochs", "steps", "batches"), horizon[:3], strict=True):
            if name in names and known is None:
                raise formula.program.complaint(name, f"{name!r} isn't known: {_UNKNOWN[name]}")
        self._shift_epochs = formula.warmup_epochs
        self._ramp = self._warmup_length()
        self._shift_steps = self._ramp if self._per_step else 0
        if self._shift_epochs and not self._per_step and names & {"step", "steps"}:
            self._shift_steps = self._shift_epochs * self._steps_per_epoch("warmup_epochs with a formula of 'step'")
        self._shifted = bool(self._shift_epochs or self._shift_steps)
        totals = (
            None if horizon.epochs is None else horizon.epochs - self._shift_epochs,
            None if horizon.steps is None else horizon.steps - self._shift_steps,
            horizon.batches,
        )
        # A short run (a debugging one, say) may end within the warm-up: the formula then never begins.
        self._totals = tuple(math.nan if total is None else max(float(total), 1.0) for total in totals)
        self._scalar = formula.program.scalar

    def _warmup_length(self) -> int:
        formula = self.formula
        if formula.warmup_epochs and self._per_step:
            return formula.warmup_epochs * self._steps_per_epoch("warmup_epochs with interval='step'")
        return formula.warmup_epochs or formula.warmup_steps

    def _steps_per_epoch(self, user: str) -> int:
        if self.horizon.steps_per_epoch is None:
            raise FormulaError(f"{user} needs to know the steps of an epoch: {_UNKNOWN['batches']}")
        return self.horizon.steps_per_epoch

    def __reduce__(self) -> tuple[Any, ...]:
        return Schedule, (self.formula, self.horizon)

    @property
    def warming(self) -> int:
        """Optimizer steps from the start in which the LR changes each step though the formula goes by epochs."""
        return self._ramp if not self._per_step and self.formula.warmup_steps else 0

    def value(self, now: Counters, base_lr: float, lr: float, metrics: Mapping[str, float] = _NO_METRICS) -> float:
        """The formula's value, without warm-up factor and plateau factor.

        Args:
            now: Where in the run.
            base_lr: The group's base LR.
            lr: The value before this one; ``base_lr`` at first.
            metrics: Values last logged. While one that the formula needs has none, the value stays as it was.

        Raises:
            FormulaError: If it cannot be computed, or is no possible LR.
        """
        epoch, step, batch = now
        if self._shifted:
            epoch, step, batch, lr = self._after_warmup(now, base_lr, lr)
        env = (lr, base_lr, float(epoch), float(step), float(batch), *self._totals, metrics)
        try:
            value: float = self._scalar(env)
        except MissingMetricError:
            return lr
        except (ArithmeticError, ValueError) as error:
            if isinstance(error, FormulaError):
                raise
            raise self.formula.program.failure(env, error, _where(now)) from error
        if 0.0 <= value <= MOST_LR:
            return value
        return self._correct(value, now, base_lr, lr)

    def _after_warmup(self, now: Counters, base_lr: float, lr: float) -> tuple[int, int, int, float]:
        """Counters from the warm-up's end on; until then they stand still, and nothing is chained."""
        epoch, step, batch = now
        if (step if self._per_step else epoch) <= self._ramp:
            lr = base_lr
        if self._per_step and step < self._shift_steps:
            batch = 0
        return max(epoch - self._shift_epochs, 0), max(step - self._shift_steps, 0), batch, lr

    def _correct(self, value: float, now: Counters, base_lr: float, lr: float) -> float:
        if -_ROUNDING * abs(base_lr) <= value < 0:
            return 0.0
        kind = "not finite" if not math.isfinite(value) else "negative" if value < 0 else f"above {MOST_LR:g}"
        values = f"base_lr={base_lr:g}" + (f", lr={lr:g}" if self.formula.recursive else "")
        raise FormulaError(f"the LR is {kind} ({value:g}) at {_where(now)} with {values} in {str(self.formula)!r}")

    def ramp(self, now: Counters) -> float:
        """The warm-up's factor: ``(t + 1) / (length + 1)``, then 1."""
        t = now.step if self._per_step or self.formula.warmup_steps else now.epoch
        return 1.0 if t >= self._ramp else (t + 1) / (self._ramp + 1)

    def check(self, base_lr: float, first: int = 0, lr: float | None = None, changes: bool = True) -> str | None:
        """Compute the LR at every known point of the run, before its first step.

        The work is bounded (:data:`VECTOR_WORK`, :data:`CHAIN_WORK`): of a closed formula on a longer run, points
        spread evenly over it are checked, of a recursive one the first ones; the others are checked when they come.
        Formulas with a metric, and functions, are checked when they come.

        Args:
            base_lr: The group's base LR.
            first: The epoch or step, as the interval is, from which on to check.
            lr: The value before the first one, for a recursive formula; default ``base_lr``.
            changes: Whether to look for a constant LR.

        Returns:
            A warning in words if the LR is constant or the run ends within the warm-up, else ``None``.

        Raises:
            FormulaError: If an LR is negative or not finite; the message names the first such epoch or step.
        """
        count = self._count()
        if count is not None and self._ramp and first == 0 and not self.warming and self._ramp >= count:
            return f"the run of {count} {self.formula.interval}s ends within the warm-up of {str(self.formula)!r}"
        one = changes and self._one_epoch(count)
        if self.formula.metrics or not hasattr(self.formula.program, "vector"):
            return one or None
        if count is None:
            if first == 0:
                self.value(Counters(), base_lr, base_lr)
            return None
        walk = self._chain(base_lr, first, count, lr) if self.formula.recursive else self._blocks(base_lr, first, count)
        low, high = math.inf, -math.inf
        for least, greatest in walk:
            low, high = min(low, least), max(high, greatest)
        if changes and low == high and count - first > 1 and not self._ramp:
            return (
                f"the formula {str(self.formula)!r} gives the same LR, {low:g}, at all {count - first} "
                f"{self.formula.interval}s of this run"
            )
        return one or None

    def _one_epoch(self, count: int | None) -> str:
        if count != 1 or self._per_step or self.warming or not self.formula.names & _EPOCHWISE:
            return ""
        return (
            f"the run has one epoch, and {str(self.formula)!r} changes from epoch to epoch: the LR stays the same. "
            "interval='step' changes it at each step"
        )

    def factor_like(self, base_lr: float, value: float | None = None) -> str | None:
        """A warning where a formula without ``base_lr`` looks like a factor, as torch's LambdaLR takes.

        Args:
            base_lr: The group's base LR.
            value: An LR that the formula gave; default: the greatest of some over the known run, the first one of a
                function or a metric's formula being theirs to give when they come.
        """
        formula = self.formula
        if formula.uses_base:
            return None
        if value is None:
            if formula.metrics or not hasattr(formula.program, "vector"):
                return None
            last = (self._count() or 1) - 1
            value = max(self.value(self._counters(last * part // 10), base_lr, base_lr) for part in range(11))
        if _FACTOR[0] <= value <= _FACTOR[1] and not 1 / _FAR <= base_lr / value <= _FAR:
            return (
                f"{str(formula)!r} uses no base_lr, so the LR becomes {value:g} where the optimizer has {base_lr:g}; "
                "if it is a factor, as LambdaLR takes, multiply it by base_lr"
            )
        return None

    def _count(self) -> int | None:
        """Number of points of the run, if they are known."""
        others = {"epoch", "batch"} if self._per_step else {"step"}
        if self.horizon.steps_per_epoch is None and self.formula.names & others:
            return None
        return self.horizon.steps if self._per_step else self.horizon.epochs

    def _points(self, index: NDArray[np.float64]) -> Points:
        """Epoch, step and batch at the points of the interval with these numbers."""
        per_epoch = self.horizon.steps_per_epoch or 1
        if not self._per_step:
            return index, index * per_epoch, np.zeros_like(index)
        return index // per_epoch, index, index % per_epoch * self._batches_per_step()

    def _counters(self, index: int) -> Counters:
        per_epoch = self.horizon.steps_per_epoch or 1
        if not self._per_step:
            return Counters(index, index * per_epoch, 0)
        epoch, within = divmod(index, per_epoch)
        return Counters(epoch, index, within * self._batches_per_step())

    def _batches_per_step(self) -> int:
        per_epoch = self.horizon.steps_per_epoch or 1
        return -(-(self.horizon.batches or per_epoch) // per_epoch)

    def _blocks(self, base_lr: float, first: int, count: int) -> Iterator[tuple[float, float]]:
        """Least and greatest value of a closed formula, a block at a time so that memory stays small."""
        most = max(VECTOR_WORK // self.formula.program.nodes, _CHUNK)
        stride = max(1, -(-(count - first) // most))
        for start in range(first, count, _CHUNK * stride):
            index: NDArray[np.float64] = np.arange(start, min(start + _CHUNK * stride, count), stride, dtype=np.float64)
            if stride > 1 and start + _CHUNK * stride >= count:
                index = np.append(index, count - 1.0)
            values = self._checked(index, base_lr)
            yield float(values.min()), float(values.max())

    def _chain(self, base_lr: float, first: int, count: int, lr: float | None) -> Iterator[tuple[float, float]]:
        """Least and greatest value of a recursive formula, a thousand points at a time."""
        value = base_lr if lr is None else lr
        most = CHAIN_WORK // (self.formula.program.nodes + _CHAIN_OVERHEAD)
        end = min(count, first + most)
        for start in range(first, end, 1000):
            values = [
                value := self.value(self._counters(i), base_lr, value) for i in range(start, min(start + 1000, end))
            ]
            yield min(values), max(values)

    def _checked(self, index: NDArray[np.float64], base_lr: float) -> NDArray[np.float64]:
        values = self._vector(index, base_lr)
        for place in np.flatnonzero(~((values >= 0) & (values <= MOST_LR))):
            # numpy and math may differ in the last bit: the value that counts is the one that training will use
            values[place] = self.value(self._counters(int(index[place])), base_lr, base_lr)
        return values

    def _vector(self, index: NDArray[np.float64], base_lr: float) -> NDArray[np.float64]:
        epoch, step, batch = self._points(index)
        if self._per_step:
            batch = np.where(step < self._shift_steps, 0.0, batch)
        epoch, step = np.maximum(epoch - self._shift_epochs, 0.0), np.maximum(step - self._shift_steps, 0.0)
        env = (base_lr, base_lr, epoch, step, batch, *self._totals, _NO_METRICS)
        assert METRICS == len(VARIABLES) == len(env) - 1
        with np.errstate(all="ignore"):
            values = self.formula.program.vector(env)  # type: ignore[union-attr]
            return np.broadcast_to(np.asarray(values, dtype=np.float64), index.shape).copy()

    def curve(
        self, base_lr: float = 1.0, metrics: Mapping[str, float] = _NO_METRICS, points: int = 1000
    ) -> tuple[list[float], list[float]]:
        """The LR over the run, warm-up included, for a picture.

        Args:
            base_lr: The LR that the formula starts from.
            metrics: Values of the metrics, constant over the run.
            points: About how many points to give; a formula by epochs has two for each epoch.

        Returns:
            Optimizer steps and the LR at them.

        Raises:
            FormulaError: If an LR is impossible or the length of the run isn't known.
        """
        count, per_epoch = self._count(), self._steps_per_epoch("a curve")
        if count is None:
            raise FormulaError("a curve needs to know the epochs and steps of the run")
        spread = (round(i * (count - 1) / (points - 1)) for i in range(points))
        wanted = range(count) if count <= points else sorted(set(spread))
        every = range(count) if self.formula.recursive else wanted
        shown, value = set(wanted), base_lr
        steps: list[float] = []
        lrs: list[float] = []
        for index in every:
            now = self._counters(index)
            value = self.value(now, base_lr, value, metrics)
            if index in shown:
                ends = range(now.step, now.step + 1) if self._per_step else self._stairs(now.step, per_epoch)
                steps += [float(step) for step in ends]
                lrs += [value * self.ramp(now._replace(step=step)) for step in ends]
        return steps, lrs

    def _stairs(self, start: int, per_epoch: int) -> Sequence[int]:
        """Steps of an epoch to draw: its ends, and those of a warm-up by steps within it."""
        end = start + per_epoch
        warming = range(start, min(end, self.warming), max(1, self.warming // 100))
        return sorted({start, end - 1, *warming, *([self.warming] if start <= self.warming < end else [])})


_UNKNOWN = {
    "epochs": "give the run's epochs (Trainer: max_epochs, or max_steps and a loader of known length)",
    "steps": "give the run's steps (Trainer: max_steps, or max_epochs and a loader of known length)",
    "batches": "give the batches of an epoch (Trainer: limit_train_batches, if the loader has no length)",
}


def _where(now: Counters) -> str:
    return f"epoch {now.epoch}, step {now.step}" + (f", batch {now.batch}" if now.batch else "")
