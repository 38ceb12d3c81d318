"""Ratios between param groups: a coordinate search by trials from one snapshot, for ``rule={"groups": "search"}``.

A sweep has one multiplier for all groups, so the group whose LR is too high for its weights ends it, and the others
train too slowly: a pretrained backbone beside a new head, matrices under Muon beside the rest under AdamW. The search
takes the LR that the sweep found, then changes one group's LR at a time by a factor of four, upwards first, as long as
a trial gets better; then downwards. Trials are those of :mod:`~lr_lightning.rules.range_test.trials`: an LR that decays
to zero, judged on batches not trained on, all on the same ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.trials import score, vertex

FACTOR = 4.0
"""Between two trials of a group. A choice: ratios are wrong by ten to a hundred times, which is two to four steps, and
a parabola through three trials finds the place between them."""

LENGTH = 25
"""Steps of a trial: all are compared with each other over the same few steps, so what longer ones would tell of LRs
that get unstable later on matters less than how many there are."""

MOST_STEPS = 200
"""What the search may cost beside the sweep: 300 steps with a sweep's 100."""

Factors = tuple[float, ...]


@dataclass(frozen=True)
class GroupTrials:
    """What a coordinate search found.

    Attributes:
        factors: What each group's LR is to be multiplied by, over all optimizers in order.
        trials: Losses over the steps, by factors.

    >>> GroupTrials((1.0, 4.0), {}).steps
    0
    """

    factors: Factors
    trials: Mapping[Factors, Sequence[float]]

    @property
    def steps(self) -> int:
        """Optimizer steps that the trials took."""
        return sum(map(len, self.trials.values()))


def next_factors(trials: Mapping[Factors, Sequence[float]], groups: int) -> Factors | None:
    """The factors to try next; None once no group's LR gets better in either direction.

    Args:
        trials: Losses of the trials so far, by factors; those of this function's earlier answers.
        groups: How many groups there are.

    >>> next_factors({}, 2)
    (1.0, 1.0)
    >>> next_factors({(1.0, 1.0): [2.0] * 25}, 2)
    (4.0, 1.0)
    >>> next_factors({(1.0, 1.0): [2.0] * 25, (4.0, 1.0): [1.0] * 25}, 2)
    (16.0, 1.0)
    """
    best = (1.0,) * groups
    if best not in trials:
        return best
    moved = True
    while moved:
        moved = False
        for step in (FACTOR, 1 / FACTOR):
            for group in range(groups):
                while True:
                    there = _stepped(best, group, step)
                    if there not in trials:
                        return there
                    if not _score(trials, there) < _score(trials, best):
                        break
                    best, moved = there, True
    return None


def conclude(trials: Mapping[Factors, Sequence[float]]) -> GroupTrials:
    """The best trial's factors, each moved to the vertex of the parabola through it and its group's neighbours.

    >>> found = {(1.0, 1.0): [2.0] * 25, (4.0, 1.0): [1.0] * 25, (16.0, 1.0): [2.0] * 25}
    >>> conclude(found).factors
    (4.0, 1.0)
    """
    best = min(trials, key=lambda factors: _score(trials, factors))
    moved = []
    for group, factor in enumerate(best):
        around = [_score(trials, there) for there in (_stepped(best, group, 1 / FACTOR), best, _stepped(best, group))]
        moved.append(factor * FACTOR ** vertex(*around))
    return GroupTrials(tuple(moved), trials)


def with_factors(result: RangeTestResult, found: GroupTrials) -> RangeTestResult:
    """The result with the LR and the ratios found.

    Args:
        result: With a suggestion, for the first group at the ratios of before.
        found: Of :func:`conclude`.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> plain = analyze(lrs, losses)
    >>> result = with_factors(plain, GroupTrials((2.0, 8.0), {}))
    >>> round(result.suggestion / plain.suggestion, 6), result.group_factors
    (2.0, (1.0, 4.0))
    """
    first = found.factors[0]
    ratios = tuple(factor / first for factor in found.factors)
    count = f"{len(found.trials)} trials ({found.steps} steps)"
    words = ", ".join(f"{factor:.2g}" for factor in found.factors)
    result = replace(
        result, group_factors=ratios, steps=result.steps + found.steps,
        reason=f"{result.reason}; {count} of the groups' ratios chose these factors on their LRs: {words}",
    )  # fmt: skip
    if result.suggestion is None:
        return result
    interval = None if result.interval is None else (result.interval[0] * first, result.interval[1] * first)
    schedules = {name: lr * first for name, lr in result.schedules.items()}
    return replace(result, suggestion=result.suggestion * first, interval=interval, schedules=schedules)


def _stepped(factors: Factors, group: int, step: float = FACTOR) -> Factors:
    return tuple(factor * step if i == group else factor for i, factor in enumerate(factors))


def _score(trials: Mapping[Factors, Sequence[float]], factors: Factors) -> float:
    return score(trials[factors], LENGTH) if factors in trials else math.inf
