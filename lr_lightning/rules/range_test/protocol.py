"""The range test's protocol: what it does to a model, in numbers. One generator, whoever takes the steps.

:func:`range_test` asks for windows of optimizer steps (:class:`Steps`) and is sent their losses; a driver (the
Lightning callback, :func:`lr_lightning.range_test`, :class:`~lr_lightning.LRSearch`) only carries out what it asks::

    result = carry_out(range_test(settings, training), take)  # take(Steps) -> the loss before each step

- One step is one optimizer step: with accumulation a "batch" is a window of micro-batches and its loss is their mean;
  over ranks it is the mean over ranks. One multiplier sets the LRs of all param groups.
- A sweep cycles through a few batches that are fetched once: the weights' progress then shows over
  ``num_batches`` steps, not over an epoch, and the losses of one cycle are comparable with those of the next.
- Losses are looked at every :data:`WINDOW` steps. :func:`~lr_lightning.rules.range_test.analyze.analyze` cuts the curve
  where a look after each step would have ended it, so that the window's length never moves the answer.
- Where ratios between param groups are searched, each group is swept alone before
  (:mod:`~lr_lightning.rules.range_test.groups`).
- Where the training's LR will decay and the budget allows it, trials follow
  (:mod:`~lr_lightning.rules.range_test.trials`), under Adam and its kin only where the sweep's descent is small.
- No extra forward is needed: the flat zone at the ladder's low end measures the starting weights on each cycled batch.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lr_lightning.rules.checks import MOST_STEPS, check_count, shown
from lr_lightning.rules.range_test import groups
from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.curve import stop_index
from lr_lightning.rules.range_test.fallback import below_explosion
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.readings import ReadingRule, reading_rule
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.second_look import SECOND_LOOK, is_open
from lr_lightning.rules.range_test.shallow import BEYOND, BIAS, above_bias, below_rise, ceiling, is_shallow
from lr_lightning.rules.range_test.trials import (
    LEAST_TRIALS,
    LENGTH,
    MOST_TRIALS,
    WEIGHT,
    Trials,
    conclude,
    for_decay,
    horizon,
    next_lr,
    tail_length,
    trial_lrs,
    with_trials,
)

MIN_LR = 1e-7
"""As fast.ai's finder: low enough for the sweep's start to be flat under Adam too."""

MAX_LR = 10.0
"""As fast.ai's finder; the sweep stops by itself where the loss diverges, so a high end costs little."""

NUM_STEPS = 100
"""As Lightning's, fast.ai's and torch-lr-finder's default; 300 suggest better
(``recipes/benchmarks/suggestion.py``)."""

CYCLED_BATCHES = 8
"""Batches that a sweep cycles through: fewer are learnt by heart, more blur the curve. A choice."""

TRIAL_BATCHES, JUDGED_BATCHES = 32, 8
"""Batches that trials train on, in cycles where they are longer, and other ones that judge them. All are kept in host
memory for the time of the test; a choice between that and losses that know their batches."""

WINDOW = 10
"""Steps between two looks at the losses: a host sync and, over ranks, a collective each. A choice: a tenth of the
ladder is the most that a diverging sweep goes on for nothing."""

BUDGET, MOST_SHARED = 0.1, 450
"""Share of a planned training that a range test may take, and the most steps that a share comes to, 3 % of 15,000: what
is left after the sweep goes to trials. Under SGD they gain 5 % at 4,000 steps, their steps not counted (35 tasks of
``recipes/benchmarks/handsoff``: 1.66 times the best loss without, 1.58 with them); under Adam and its kin nothing
(four tasks of the choosing half 1.12 and 1.18, four of the report half 1.90 and 1.84), and where a sweep tells little
they are insurance (eight tasks whose loss falls by less than 12 %: 1.22 and 1.21)."""

MOST_REPEATS = 1000
"""More sweeps are a slip of the finger."""

START = "start"
"""The state that a range test begins with and ends in: weights, optimizers, random numbers."""

FIRST_SWEEP = "sweep 0"
"""The series whose points are the curve that is shown."""


@dataclass(frozen=True)
class Steps:
    """A request: one optimizer step at each of ``lrs``; the reply is the loss before each of them.

    A reply shorter than ``lrs``, or one that ends in NaN, ends the series: the driver could take no further step.

    Attributes:
        series: The sweep (or trial) that the steps are part of; its losses belong together.
        index: Number of the first of them within the series.
        lrs: LR of each step, for the first param group of the first optimizer.
        origin: State to put back before: :data:`START`, a name that an earlier request kept, or None to go on from
            where the last request ended.
        first: Number of the first batch of the cycle, counted from the beginning of the data.
        cycle: Batches in the cycle: step ``i`` of a series uses batch ``first + i % cycle``. None: the data go on.
        keep: Name under which the state after these steps is to be kept for a later ``origin``; None keeps nothing.
        factors: What each param group's LR is multiplied by beside; empty: their ratios as they are.

    >>> Steps("sweep 0", 0, (1e-3, 1e-2), origin=START, cycle=8).batches
    [0, 1]
    """

    series: str
    index: int
    lrs: tuple[float, ...]
    origin: str | None = None
    first: int = 0
    cycle: int | None = None
    keep: str | None = None
    factors: tuple[float, ...] = ()

    @property
    def batches(self) -> list[int] | None:
        """Number of each step's batch; None where the data just go on."""
        if self.cycle is None:
            return None
        return [self.first + i % self.cycle for i in range(self.index, self.index + len(self.lrs))]


Asks = Generator[Steps, Sequence[float], RangeTestResult]


@dataclass(frozen=True)
class SweepSettings:
    """What a range test was asked for, whoever drives it.

    Attributes:
        min_lr: First LR of the ladder.
        max_lr: Last LR of the ladder.
        num_steps: Optimizer steps of the ladder.
        spacing: ``"exponential"`` or ``"linear"``.
        rule: How the curve is read: a name, a mapping or a
            :class:`~lr_lightning.rules.range_test.readings.ReadingRule`.
        repeats: Sweeps in all, each on batches of its own.
        num_batches: Batches that a sweep cycles through; None goes through the data instead.
        budget: Most optimizer steps of sweeps and trials together, never less than the sweeps take: a float is a share
            of the planned training, 450 steps at most, an int a number of steps. 0: no trials.

    Raises:
        ValueError: If a value is out of its range; the message quotes it.

    >>> len(SweepSettings(num_steps=50).lrs), SweepSettings(rule="valley").rule.name
    (50, 'valley')
    """

    min_lr: float = MIN_LR
    max_lr: float = MAX_LR
    num_steps: int = NUM_STEPS
    spacing: str = "exponential"
    rule: Any = "share"
    repeats: int = 1
    num_batches: int | None = CYCLED_BATCHES
    budget: float | int = BUDGET
    lrs: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lrs", ladder(self.min_lr, self.max_lr, self.num_steps, self.spacing))
        object.__setattr__(self, "rule", reading_rule(self.rule))
        check_count("repeats", self.repeats, 1, MOST_REPEATS)
        if self.num_batches is not None:
            check_count("num_batches", self.num_batches, 1, MOST_STEPS)
        check_budget(self.budget)

    def record(self) -> Mapping[str, Any]:
        """The settings as plain types, for the records in event files."""
        names = ("min_lr", "max_lr", "num_steps", "spacing", "repeats", "num_batches", "budget")
        return {**{name: getattr(self, name) for name in names}, "rule": self.rule.name}


@dataclass(frozen=True)
class Training:
    """What is known of the training that the LR is for.

    Attributes:
        batches: Optimizer steps that the data last for; infinity where they don't end.
        momentum: The optimizers' largest momentum or first beta.
        train_steps: Optimizer steps that the training will take, if known.
        decays: Whether a schedule, formula or plateau decay will lower the LR.
        adaptive: Whether the optimizers divide gradients by their size, as Adam does.
        lrs: Peak LR of each param group of the optimizers that are swept, in order.

    >>> Training(batches=3).decays
    True
    """

    batches: float = float("inf")
    momentum: float | None = None
    train_steps: int | None = None
    decays: bool = True
    adaptive: bool = True
    lrs: tuple[float, ...] = (1.0,)


def check_budget(budget: float | int) -> None:
    """Refuse what is neither a share of a training nor a number of steps.

    Raises:
        ValueError: Then; the message quotes it.

    >>> check_budget(0.03), check_budget(500)
    (None, None)
    """
    share = isinstance(budget, float) and 0.0 <= budget <= 1.0
    steps = isinstance(budget, int) and not isinstance(budget, bool) and 0 <= budget <= MOST_STEPS
    if not share and not steps:
        raise ValueError(
            f"budget must be a float from 0 to 1 (a share of the training) or an integer from 0 to {MOST_STEPS} "
            f"(steps), got {shown(budget)}"
        )


def range_test(settings: SweepSettings, training: Training) -> Asks:
    """Sweep ``repeats`` times from the starting state, read the curves, answer. See the module's docstring.

    Returns:
        The result, without ``batch_size``: that is for the driver to say.

    >>> asks = range_test(SweepSettings(num_steps=4), Training())
    >>> next(asks).origin
    'start'
    >>> try:
    ...     steps = asks.send([1.0, 0.9, 0.8, 0.7])
    ... except StopIteration as end:
    ...     end.value.status, end.value.losses
    ('too_few_points', (1.0, 0.9, 0.8, 0.7))
    """
    rule = replace(settings.rule, schedule=_schedule(settings.rule, training))
    if rule.groups != "search":
        return (yield from _together(settings, training, rule))
    ratios = yield from _alone(settings, training, rule)
    result = yield from groups.under(_together(settings, training, rule, ratios.steps), ratios.factors)
    return groups.with_ratios(result, ratios)


def _together(settings: SweepSettings, training: Training, rule: ReadingRule, spent: int = 0) -> Asks:
    """The test with one multiplier for all groups, after ``spent`` steps."""
    sweeps = []
    for repeat in range(settings.repeats):
        first = repeat * (settings.num_batches or 0)
        sweeps.append((yield from _sweep(f"sweep {repeat}", settings.lrs, first, settings.num_batches)))
    result = _read(settings, training, rule, sweeps)
    if is_open(result):
        result = yield from _second_look(settings, training, rule, result)
    if rule.name == "share":
        result = below_explosion(result, training.train_steps, rule.schedule)
        result = above_bias(result)
    if result.suggestion is None or rule.name != "share":
        return result
    result = for_decay(result, training.adaptive, rule.schedule, training.train_steps)
    result = below_rise(result, training.adaptive)
    clear = result.status in ("ok", "no_divergence") and not is_shallow(result, BIAS)
    # Dead units are ahead of living ones for hundreds of steps where features are raw: short trials would choose them.
    if rule.schedule == "constant" or result.second_fall is not None or (training.adaptive and clear):
        return result
    found = yield from _trials(settings, training, result, spent)
    # Trials are as short as the sweep: what they like may still be too much.
    return result if found is None else below_rise(with_trials(result, found), training.adaptive)


def _alone(
    settings: SweepSettings, training: Training, rule: ReadingRule
) -> Generator[Steps, Sequence[float], groups.Ratios]:
    """Sweeps of each param group alone."""
    alone = groups.alone(training.lrs)
    if len(alone) < groups.LEAST_GROUPS:
        return groups.Ratios(words="no ratios between groups were looked for: there is one group alone")
    results = []
    for group, factors in alone.items():
        sweep = _sweep(f"group {group}", settings.lrs, 0, settings.num_batches)
        losses = yield from groups.under(sweep, factors)
        results.append(above_bias(_read(settings, training, rule, [losses])))
    return groups.conclude(training.lrs, results, training.adaptive)


def carry_out(asks: Asks, take: Callable[[Steps], Sequence[float]]) -> RangeTestResult:
    """Send the losses that ``take`` measures to ``asks`` until it answers.

    Args:
        asks: Of :func:`range_test`.
        take: Takes one optimizer step at each LR of a request and returns the losses before them.

    >>> carry_out(range_test(SweepSettings(num_steps=20), Training()), lambda steps: [1.0] * len(steps.lrs)).status
    'no_descent'
    """
    losses: Sequence[float] | None = None
    while True:
        try:
            steps = next(asks) if losses is None else asks.send(losses)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        losses = take(steps)


def _read(
    settings: SweepSettings, training: Training, rule: ReadingRule, sweeps: Sequence[Sequence[float]]
) -> RangeTestResult:
    return analyze(
        settings.lrs[: max(map(len, sweeps))],
        sweeps[0],
        rule=rule,
        planned=settings.num_steps,
        spacing=settings.spacing,
        cycle=int(max(1, min(settings.num_batches or 1, training.batches))),
        repeats=sweeps[1:],
        momentum=training.momentum,
        train_steps=training.train_steps,
    )


def _second_look(
    settings: SweepSettings, training: Training, rule: ReadingRule, result: RangeTestResult
) -> Generator[Steps, Sequence[float], RangeTestResult]:
    again = replace(settings, num_steps=min(SECOND_LOOK * settings.num_steps, MOST_STEPS), rule=rule)
    slow = yield from _sweep("second look", again.lrs, 0, settings.num_batches)
    found = _read(again, training, rule, [slow])
    words = f"{found.reason} (a sweep of {settings.num_steps} steps showed no descent)"
    return replace(found, steps=found.steps + result.steps, reason=words)


def _sweep(
    series: str, lrs: Sequence[float], first: int, cycle: int | None
) -> Generator[Steps, Sequence[float], list[float]]:
    """The losses over the ladder, up to the window in which they diverged."""
    losses: list[float] = []
    while len(losses) < len(lrs):
        window = tuple(lrs[len(losses) : len(losses) + WINDOW])
        found = yield Steps(series, len(losses), window, None if losses else START, first, cycle)
        losses += map(float, found)
        if len(found) < len(window) or stop_index(losses, planned=len(lrs)) is not None:
            break
    return losses


def _trials(
    settings: SweepSettings, training: Training, result: RangeTestResult, spent: int
) -> Generator[Steps, Sequence[float], Trials | None]:
    """Trials around the sweep's answer, as many as the evidence asks for and the budget allows; None if for none."""
    budget, steps = settings.budget, training.train_steps or 0
    most = min(int(budget * steps), MOST_SHARED) if isinstance(budget, float) else budget
    left = most - result.steps - spent
    if left < LEAST_TRIALS * LENGTH or result.suggestion is None:
        return None
    lower = horizon(training.adaptive, training.train_steps)
    center = min(result.suggestion / lower, settings.max_lr)
    seen: dict[float, list[float]] = {}
    bounds = settings.min_lr, min(settings.max_lr, BEYOND * ceiling(result, training.adaptive))
    while left >= LENGTH and len(seen) < MOST_TRIALS and (lr := next_lr(seen, center, LENGTH, bounds)) is not None:
        seen[lr] = yield from _trial(f"trial {len(seen)}", lr, LENGTH)
        left -= len(seen[lr])
    return conclude(seen, center, LENGTH, WEIGHT[training.adaptive], lower)


def _trial(series: str, lr: float, length: int) -> Generator[Steps, Sequence[float], list[float]]:
    """Losses of a trial; cut short where they aren't finite any more."""
    lrs, losses = trial_lrs(lr, length), list[float]()
    tail = length - tail_length(length)
    while len(losses) < length:
        at = len(losses)
        window = lrs[at : min(at + WINDOW, tail if at < tail else length)]
        batches = (0, TRIAL_BATCHES) if at < tail else (TRIAL_BATCHES, JUDGED_BATCHES)
        found = yield Steps(series, at, window, None if losses else START, *batches)
        losses += map(float, found)
        if len(found) < len(window) or not all(map(math.isfinite, found)):
            break
    return losses


def _schedule(rule: ReadingRule, training: Training) -> str:
    if rule.schedule != "auto":
        return rule.schedule
    return "decay" if training.decays else "constant"
