"""Short trials around a sweep's reading: which LR to try next, and what the trials say.

A trial takes ``length`` steps from the starting weights, with an LR that falls linearly to zero: it reaches what a
decayed training reaches, where a constant LR's noise would count against high LRs. It sees batches that are new to
it, so its losses are those of batches not trained on, and every trial sees the same ones, so two trials differ in the
LR alone. It is judged by the mean of its last quarter.

The first trial is at what the sweep suggests, the second at twice that; then the better side is climbed in factors of
two, until the best has a worse neighbour on each side. Clear evidence ends the search early. The answer lies between
the sweep's and the trials' (:data:`WEIGHT`): either errs by about a factor of two, the trials towards LRs that get
unstable later on. What long trainings want lower (:data:`HORIZON`), sweep and trials overrate alike, being short.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lr_lightning.rules.range_test.result import RangeTestResult

HEADROOM = {True: 1.6, False: 2.5}
"""By how much a decayed training's best LR lies above the one that a sweep reads, for optimizers that divide gradients
by their size and for others; measured at 600 steps on the choosing half of ``recipes/benchmarks/handsoff`` and 58 more
tasks, rounded (README there). A constant LR has to be low enough for its noise, a peak that decays only for stability.
SGD's step shrinks with the gradient, so its sweep has fallen long before it gets unstable; Adam's doesn't."""

HORIZON, EXPONENT, LEAST = 1000, 2 / 3, 0.4
"""Optimizer steps beyond which the best peak of Adam and its kin falls, and how. :data:`HEADROOM` was measured on 600;
on four of the choosing half's tasks a factor on it of 1, .8 and .63 costs 5, 0 and 6 % at 1,500 steps under Adam; at
4,000 the best peak falls to a half, an eighth and a sixteenth on three of six, on three it doesn't, and with factors of
.62, .53 and .4 the loss over the grid's best is 1.23, 1.21 and 1.17. Language models under AdamW follow a power law of
.3 (Bjorck et al. 2024, arXiv 2409.19913), so this isn't followed beyond what was measured: that is the least factor."""

STEP = 2.0
"""Factor between two trials: the loss of a decayed training seldom differs by more than some percent over one."""

TAIL = 0.25
"""A trial is judged by this last part of its losses: its LR is small by then, and there are enough of them to pair."""

JUMP = STEP**3
"""Where no trial differs from another, the next one is so many times lower: dead units give one loss at every LR, and a
sweep takes their plateau for the minimum (raw, unscaled features). Seen on the choosing half's task of that kind."""

LENGTH = 50
"""Steps of a trial. On the choosing half (4,000 steps, all else alike) trials of 25 steps lead to 1.24 times the grid's
best loss, as the sweep alone does, of 50 to 1.17, of 100 to 1.24; batches that don't repeat change nothing."""

LEAST_TRIALS = 2
"""Fewer compare nothing."""

WEIGHT = {True: 0.5, False: 0.75}
"""How far from the sweep's answer to the trials' the suggestion lies, in log LR, for optimizers that divide gradients
by their size and for others. SGD's sweeps are read too low more often than its trials err: on the choosing half at
4,000 steps 1.17 instead of 1.20 with a half for both, most of it one task's, and no worse at 600."""

ALIKE = 0.02
"""Share of the way from the first loss within which all trials count as alike. A choice: dead units differ by less."""

AGREE = 2.5
"""Steps between the sweep's answer and the trials' beyond which the sweep has misread its curve."""

MOST_TRIALS = 10
"""A climb this long has left a thousandfold behind: the sweep's reading is no guide, or nothing gets worse."""

SURE = 2.0
"""Standard errors of a paired difference beyond which one LR is worse than another."""


@dataclass(frozen=True)
class Trials:
    """What trials say.

    Attributes:
        suggestion: The LR chosen; None if each trial diverged.
        interval: The LRs that can't be told apart from it.
        trials: Losses over the steps, by LR.
        lowered: The factor, for a long training, that suggestion and interval have in them.

    >>> Trials(None, None, {}).steps
    0
    """

    suggestion: float | None
    interval: tuple[float, float] | None
    trials: Mapping[float, Sequence[float]]
    lowered: float = 1.0

    @property
    def steps(self) -> int:
        """Optimizer steps that they took."""
        return sum(map(len, self.trials.values()))

    def rows(self) -> list[tuple[float, Sequence[float], float]]:
        """LR, losses and score of each trial, by LR."""
        length = max(map(len, self.trials.values()), default=0)
        return [(lr, losses, score(losses, length)) for lr, losses in sorted(self.trials.items())]


def trial_lrs(lr: float, length: int) -> tuple[float, ...]:
    """LRs of a trial's steps: linear from ``lr`` towards zero.

    >>> trial_lrs(1.0, 4)
    (1.0, 0.75, 0.5, 0.25)
    """
    return tuple(lr * (1 - i / length) for i in range(length))


def tail_length(length: int) -> int:
    """Steps at a trial's end that it is judged by.

    >>> tail_length(50)
    12
    """
    return max(1, round(length * TAIL))


def score(losses: Sequence[float], length: int) -> float:
    """Mean of a trial's last quarter; infinity if it broke off or isn't finite.

    >>> score([4.0, 3.0, 2.0, 1.0], 4), score([4.0, 3.0], 4)
    (1.0, inf)
    """
    if len(losses) < length or not all(map(math.isfinite, losses)):
        return math.inf
    return float(np.mean(_tail(losses, length)))


def next_lr(
    trials: Mapping[float, Sequence[float]], center: float, length: int, bounds: tuple[float, float]
) -> float | None:
    """The LR to try next; None once the best has a neighbour on each side that is worse, or lies at a bound.

    Where all trials so far are alike, the next one lies far below.

    Args:
        trials: Losses of the trials so far, by LR; those of this function's earlier answers.
        center: Where to begin: the sweep's reading.
        length: Steps a trial.
        bounds: No LR outside.

    >>> next_lr({}, 0.1, 2, (0, 1)), next_lr({0.1: [1.0, 1.0]}, 0.1, 2, (0, 1))
    (0.1, 0.2)
    >>> next_lr({0.1: [1.0, 1.0], 0.2: [2.0, 2.0]}, 0.1, 2, (0, 1))
    0.05
    >>> next_lr({0.1: [1.0, 1.0], 0.2: [1.0, 1.0]}, 0.1, 2, (0, 1))
    0.0125
    >>> next_lr({0.05: [2.0, 2.0], 0.1: [1.0, 1.0], 0.2: [2.0, 2.0]}, 0.1, 2, (0, 1)) is None
    True
    """
    if not trials:
        return center
    lrs = sorted(trials)
    best = min(lrs, key=lambda lr: (score(trials[lr], length), lr))
    if not math.isfinite(score(trials[best], length)):
        return _within(lrs[0] / STEP**2, bounds)
    if len(lrs) > 1 and _alike([score(trials[lr], length) for lr in lrs], trials[best][0]):
        return _within(lrs[0] / JUMP, bounds)
    if best == lrs[-1] and (up := _within(best * STEP, bounds)):
        return up
    return _within(best / STEP, bounds) if best == lrs[0] else None


def conclude(
    trials: Mapping[float, Sequence[float]], center: float, length: int, weight: float = 0.5, lower: float = 1.0
) -> Trials:
    """What the trials say, with the sweep's answer weighed in where that is within two steps.

    Their own is the vertex of the parabola through the best trial and its neighbours. The interval spans it, the
    sweep's answer and the LRs whose trial isn't worse than the best one's by more than two standard errors of their
    paired difference, and a step beyond: no nearer LR was tried, and short trials err by about as much.

    Args:
        trials: Losses, by LR.
        center: The sweep's answer.
        length: Steps a trial.
        weight: How far from the sweep's answer to the trials' the suggestion lies: :data:`WEIGHT`.
        lower: Factor on it all for a training so long that neither saw its like: :func:`horizon`.

    >>> found = conclude({0.1: [1.1, 1.1], 0.2: [1.0, 1.0], 0.4: [1.1, 1.1]}, 0.1, 2)
    >>> round(found.suggestion, 3), [round(lr, 3) for lr in found.interval]
    (0.141, [0.05, 0.4])
    """
    scores = {lr: score(trials[lr], length) for lr in sorted(trials)}
    finite = [lr for lr in scores if math.isfinite(scores[lr])]
    if not finite:
        return Trials(None, None, trials, lower)
    best = min(finite, key=lambda lr: (scores[lr], lr))
    lowest = best * STEP ** _vertex(scores, best)
    near = abs(math.log(center / lowest, STEP)) <= AGREE
    chosen = center * (lowest / center) ** weight if near else lowest
    tied = [lr for lr in finite if not _worse(trials[lr], trials[best], length)]
    ends = (chosen, lowest, *tied, *([center] if near else []))
    return Trials(chosen * lower, (min(ends) / STEP * lower, max(ends) * STEP * lower), trials, lower)


def _vertex(scores: Mapping[float, float], best: float) -> float:
    """Steps from the best LR to the parabola's lowest point, at most half a one; 0 without neighbours a step away."""
    lrs = list(scores)
    at = lrs.index(best)
    if not 0 < at < len(lrs) - 1 or not math.isclose(lrs[at + 1] / lrs[at - 1], STEP**2):
        return 0.0
    return vertex(*(scores[lr] for lr in lrs[at - 1 : at + 2]))


def vertex(below: float, here: float, above: float) -> float:
    """Steps from the middle of three scores to the lowest point of the parabola through them, at most half a one.

    >>> vertex(2.0, 1.0, 2.0), vertex(1.5, 1.0, 2.5), vertex(2.0, 1.0, math.inf)
    (0.0, -0.25, 0.0)
    """
    bend = below - 2 * here + above
    return float(np.clip((below - above) / (2 * bend), -0.5, 0.5)) if math.isfinite(bend) and bend > 0 else 0.0


def _worse(losses: Sequence[float], best: Sequence[float], length: int) -> bool:
    gap = np.asarray(_tail(losses, length)) - np.asarray(_tail(best, length))
    return float(gap.mean()) > SURE * float(gap.std()) / math.sqrt(len(gap))


def _alike(scores: Sequence[float], start: float) -> bool:
    """Whether what trials reached differs by next to nothing of how far they came from the first loss."""
    return max(scores) - min(scores) <= ALIKE * abs(start - min(scores))


def _tail(losses: Sequence[float], length: int) -> Sequence[float]:
    return losses[length - tail_length(length) : length]


def _within(lr: float, bounds: tuple[float, float]) -> float | None:
    return lr if bounds[0] <= lr <= bounds[1] else None


def horizon(adaptive: bool, train_steps: int | None = None) -> float:
    """By how much the best peak of a training of ``train_steps`` lies below that of a short one: :data:`HORIZON`.

    >>> horizon(False, 10**6), horizon(True), round(horizon(True, 2000), 2), horizon(True, 10**9)
    (1.0, 1.0, 0.63, 0.4)
    """
    if not adaptive or train_steps is None or train_steps <= HORIZON:
        return 1.0
    return max(LEAST, float((HORIZON / train_steps) ** EXPONENT))


def headroom(adaptive: bool, train_steps: int | None = None) -> float:
    """Factor on a sweep's reading for the peak of an LR that decays over ``train_steps`` optimizer steps.

    >>> headroom(False, 10**6), headroom(True), round(headroom(True, 10**9), 2)
    (2.5, 1.6, 0.64)
    """
    return HEADROOM[adaptive] * horizon(adaptive, train_steps)


def for_decay(
    result: RangeTestResult, adaptive: bool, schedule: str = "decay", train_steps: int | None = None
) -> RangeTestResult:
    """A sweep's result, with its reading raised by :data:`HEADROOM` for a training whose LR decays.

    Where the loss falls twice the reading is no descent's, and stays.

    Args:
        result: With a suggestion.
        adaptive: Whether the optimizer divides gradients by their size, as Adam does.
        schedule: With ``"constant"`` the suggestion stays the one for constant LR.
        train_steps: Optimizer steps of the training, if known.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> result = analyze(lrs, losses)
    >>> round(for_decay(result, adaptive=False).suggestion / result.suggestion, 6)
    2.5
    """
    reading = result.schedules["decay"]
    if result.second_fall is not None:
        return result
    raised = min(reading * headroom(adaptive, train_steps), result.lrs[-1])
    result = replace(result, schedules={**result.schedules, "decay": raised})
    if schedule == "constant":
        return result
    low, high = result.interval or (reading, reading)
    reason = (
        f"{result.reason}; {raised:.2g}, {raised / reading:.2g} times the reading, as the peak of an LR that decays"
    )
    return replace(
        result, suggestion=raised, interval=(min(low, raised), max(high, high * raised / reading)), reason=reason
    )


def with_trials(result: RangeTestResult, found: Trials) -> RangeTestResult:
    """The result with what the trials say in place of the sweep's answer, where they say something.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> found = Trials(0.03, (0.02, 0.05), {0.03: [1.0, 0.9]})
    >>> result = with_trials(analyze(lrs, losses), found)
    >>> result.suggestion, result.steps
    (0.03, 53)
    """
    taken = tuple({"lr": lr, "steps": float(len(losses)), "loss": loss} for lr, losses, loss in found.rows())
    result = replace(result, trials=taken, steps=result.steps + found.steps)
    count = f"{len(taken)} trial{'s' * (len(taken) > 1)} ({found.steps} steps)"
    if found.suggestion is None:
        return replace(result, reason=f"{result.reason}; {count} diverged, the sweep's answer stands")
    chosen = found.suggestion / found.lowered
    reason = f"{result.reason}; {count} under a decay chose {chosen:.2g}"
    if found.lowered < 1:
        reason += f", {found.lowered:.2g} times which suits a run of this length"
    schedules = {**result.schedules, "decay": found.suggestion}
    return replace(result, suggestion=found.suggestion, interval=found.interval, schedules=schedules, reason=reason)
