"""Short trials around a sweep's reading: which LR to try next, and what the trials say.

A trial takes ``length`` steps from the starting weights, with an LR that falls linearly to zero: it reaches what a
decayed training reaches, where a constant LR's noise would count against high LRs. It sees batches that are new to
it, so its losses are those of batches not trained on, and every trial sees the same ones, so two trials differ in the
LR alone. It is judged by the mean of its last quarter.

The first trial is at the sweep's reading, the second at twice that; then the better side is climbed in factors of two,
until the best has a worse neighbour on each side. Clear evidence ends the search early.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

STEP = 2.0
"""Factor between two trials: the loss of a decayed training seldom differs by more than some percent over one."""

TAIL = 0.25
"""A trial is judged by this last part of its losses: its LR is small by then, and there are enough of them to pair."""

SHORTEST, LONGEST = 25, 200
"""Steps of a trial. Fewer tell nothing of momentum's effect; more are better spent in the training."""

EXPECTED = 5
"""Trials that a search is planned to take: three bracket the best at the first go, each step of a climb takes one."""

SURE = 2.0
"""Standard errors of a paired difference beyond which one LR is worse than another."""


@dataclass(frozen=True)
class Trials:
    """What trials say.

    Attributes:
        suggestion: The best LR, between those tried; None if each diverged.
        interval: The LRs that the trials can't tell apart from it.
        trials: Losses over the steps, by LR.

    >>> Trials(None, None, {}).steps
    0
    """

    suggestion: float | None
    interval: tuple[float, float] | None
    trials: Mapping[float, Sequence[float]]

    @property
    def steps(self) -> int:
        """Optimizer steps that they took."""
        return sum(map(len, self.trials.values()))


def trial_length(budget: int) -> int:
    """Steps a trial for so many steps in all; 0 if they don't suffice for two.

    >>> trial_length(49), trial_length(60), trial_length(500), trial_length(10_000)
    (0, 25, 100, 200)
    """
    if budget < 2 * SHORTEST:
        return 0
    return min(max(budget // EXPECTED, SHORTEST), LONGEST)


def trial_lrs(lr: float, length: int) -> tuple[float, ...]:
    """LRs of a trial's steps: linear from ``lr`` towards zero.

    >>> trial_lrs(1.0, 4)
    (1.0, 0.75, 0.5, 0.25)
    """
    return tuple(lr * (1 - i / length) for i in range(length))


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

    Args:
        trials: Losses of the trials so far, by LR; those of this function's earlier answers.
        center: Where to begin: the sweep's reading.
        length: Steps a trial.
        bounds: No LR outside.

    >>> next_lr({}, 0.1, 2, (0, 1)), next_lr({0.1: [1.0, 1.0]}, 0.1, 2, (0, 1))
    (0.1, 0.2)
    >>> next_lr({0.1: [1.0, 1.0], 0.2: [2.0, 2.0]}, 0.1, 2, (0, 1))
    0.05
    >>> next_lr({0.05: [2.0, 2.0], 0.1: [1.0, 1.0], 0.2: [2.0, 2.0]}, 0.1, 2, (0, 1)) is None
    True
    """
    if not trials:
        return center
    lrs = sorted(trials)
    best = min(lrs, key=lambda lr: (score(trials[lr], length), lr))
    if not math.isfinite(score(trials[best], length)):
        return _within(lrs[0] / STEP**2, bounds)
    if best == lrs[-1] and (up := _within(best * STEP, bounds)):
        return up
    return _within(best / STEP, bounds) if best == lrs[0] else None


def conclude(trials: Mapping[float, Sequence[float]], length: int) -> Trials:
    """The LR at the vertex of the parabola through the best trial and its neighbours, and what can't be told apart.

    The interval spans the LRs whose trial isn't worse than the best one's by more than two standard errors of their
    paired difference, and reaches half a step beyond: no nearer LR was tried.

    >>> found = conclude({0.1: [1.1, 1.1], 0.2: [1.0, 1.0], 0.4: [1.1, 1.1]}, 2)
    >>> round(found.suggestion, 6), [round(lr, 3) for lr in found.interval]
    (0.2, [0.141, 0.283])
    """
    scores = {lr: score(trials[lr], length) for lr in sorted(trials)}
    finite = [lr for lr in scores if math.isfinite(scores[lr])]
    if not finite:
        return Trials(None, None, trials)
    best = min(finite, key=lambda lr: (scores[lr], lr))
    tied = [lr for lr in finite if not _worse(trials[lr], trials[best], length)]
    reach = math.sqrt(STEP)
    return Trials(best * STEP ** _vertex(scores, best), (min(tied) / reach, max(tied) * reach), trials)


def _vertex(scores: Mapping[float, float], best: float) -> float:
    """Steps from the best LR to the parabola's lowest point, at most half a one; 0 at an end or beside a divergence."""
    lrs = list(scores)
    at = lrs.index(best)
    if not 0 < at < len(lrs) - 1:
        return 0.0
    below, here, above = (scores[lr] for lr in lrs[at - 1 : at + 2])
    bend = below - 2 * here + above
    return float(np.clip((below - above) / (2 * bend), -0.5, 0.5)) if math.isfinite(bend) and bend > 0 else 0.0


def _worse(losses: Sequence[float], best: Sequence[float], length: int) -> bool:
    gap = np.asarray(_tail(losses, length)) - np.asarray(_tail(best, length))
    return float(gap.mean()) > SURE * float(gap.std()) / math.sqrt(len(gap))


def _tail(losses: Sequence[float], length: int) -> Sequence[float]:
    return losses[length - max(1, round(length * TAIL)) : length]


def _within(lr: float, bounds: tuple[float, float]) -> float | None:
    return lr if bounds[0] <= lr <= bounds[1] else None
