"""Sweeps that hardly fall before they explode: trainings that start on a plateau, and bear less once they have left it.

Deep nets without normalization have small gradients at first, and under SGD with them small steps: within a sweep the
loss falls only at LRs so high that it explodes next to them. A training has the time to leave the plateau at lower
ones, and its curvature has grown by then: the LR that the sweep survived for a few steps kills it.
"""

import math
from dataclasses import replace

from lr_lightning.rules.range_test.curve import head_length
from lr_lightning.rules.range_test.result import RangeTestResult

SHALLOW = 0.05
"""A descent of less than this share of the starting loss hasn't left the plateau. The hands-off benchmark's SGD tasks
that rules are chosen on fall by .09 and more; nets that such LRs killed by .002 to .03."""

RISE = 0.05
"""Share of the starting loss by which a loss must lie above what its batch began with to count as a rise. With twice as
much the rise came later, and more nets died."""

BELOW_RISE = 8.0
"""How many times lower than the first rise the suggestion is at most, under SGD. Read off grids of 400 steps under a
cosine for eight plateaued nets (convolutional, residual, recurrent, sigmoid; 3 seeds, 18 of them learn at some LR):
without a bound 6 die, with a sixth 1, with an eighth and a tenth none, at 1.43, 1.30, 1.26 and 1.22 times the best
loss; after sweeps of 300 steps 5, 2, 1 and 1 die, at 1.29, 1.19, 1.22 and 1.28."""

BEYOND = 2.0
"""The interval ends so many times above that bound. A choice: most of those nets died from twice to four times it."""


def is_shallow(result: RangeTestResult) -> bool:
    """Whether a descent was seen, and so small a one.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> falls = [1 / (1 + math.exp(-8 * (math.log10(x) + 2))) - x ** 3 / 10 for x in lrs]
    >>> [is_shallow(analyze(lrs, [2 - drop * fall for fall in falls])) for drop in (0.05, 0.5)]
    [True, False]
    """
    if result.status != "ok" or not result.smoothed:
        return False
    start = result.smoothed[0]
    return start - min(result.smoothed) < SHALLOW * abs(start)


def below_rise(result: RangeTestResult, adaptive: bool) -> RangeTestResult:
    """The result, where its descent is shallow with a suggestion that keeps its distance from the first rise.

    Args:
        result: With or without a suggestion.
        adaptive: Whether the optimizer divides gradients by their size, as Adam does: its steps aren't small on a
            plateau.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 0.05 / (1 + math.exp(-8 * (math.log10(x) + 2))) + (x * 15) ** 3 for x in lrs]
    >>> result = analyze(lrs, losses)
    >>> [f"{one.suggestion:.2g}" for one in (result, below_rise(result, False), below_rise(result, True))]
    ['0.0063', '0.005', '0.0063']
    """
    if adaptive or result.suggestion is None or not is_shallow(result):
        return result
    start, rise = result.smoothed[0], _first_rise(result)
    bound = max(rise / BELOW_RISE, result.lrs[0])
    if result.suggestion <= bound:
        return result
    fall = (start - min(result.smoothed)) / abs(start)
    reason = (
        f"{result.reason}; lowered to {bound:.2g}, 1/{BELOW_RISE:g} of the LR at which the loss rises: it has fallen "
        f"by {100 * fall:.1f} % before, as on a plateau, and a training that has left one bears less"
    )
    low, high = result.interval or (bound, bound)
    return replace(
        result,
        suggestion=bound,
        schedules={name: min(lr, bound) for name, lr in result.schedules.items()},
        interval=(min(low, bound), max(bound, min(high, BEYOND * bound))),
        reason=reason,
    )


def _first_rise(result: RangeTestResult) -> float:
    """LR of the first loss at or beyond the minimum that lies above what its batch began with; infinity without one."""
    cycle, low = result.cycle, result.smoothed.index(min(result.smoothed))
    head = result.losses[: max(cycle, head_length(result.num_steps))]
    # Losses differ by batch, by more than they rise where targets are noisy. Without a cycle the worst batch counts.
    begun = [sum(own) / len(own) for own in (head[i::cycle] for i in range(cycle))] if cycle > 1 else [max(head)]
    margin = RISE * abs(result.smoothed[0])
    places = range(low, len(result.losses))
    return next((result.lrs[i] for i in places if not result.losses[i] <= begun[i % cycle] + margin), math.inf)
