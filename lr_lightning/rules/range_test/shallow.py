"""How far a suggestion lies below the LR at which the loss rises: not too near under SGD, and not too far after a bias.

Deep nets without normalization have small gradients at first, and under SGD with them small steps: within a sweep the
loss falls only at LRs so high that it explodes next to them. A training has the time to leave the plateau at lower
ones, and its curvature has grown by then: the LR that the sweep survived for a few steps kills it.

What a network learns first is its output's bias. Where a sweep shows little more, as those of vision transformers do,
the reading is the bias's LR, ten times too low and worse, and the rise is the better guide.
"""

import math
from dataclasses import replace

from lr_lightning.rules.range_test.curve import head_length
from lr_lightning.rules.range_test.result import RangeTestResult

SHALLOW = 0.05
"""A descent of less than this share of the starting loss hasn't left the plateau. The hands-off benchmark's SGD tasks
that rules are chosen on fall by .09 and more; nets that such LRs killed by .002 to .03."""

BIAS = 0.12
"""A descent of less than this share of the starting loss may be that of the output's bias alone. So small are those of
the five vision transformers of the hands-off benchmark's tasks, under SGD and Adam: of their 15 sweeps 14 are raised,
with .05 six. With .2 one other suggestion changes on its 107 tasks."""

ABOVE = 50.0
"""How many times lower than the first rise the reading is at most after so small a descent. On the 28 tasks under Adam
and its kin that it was chosen on, factors from 40 to 100 cost the same: 1.17 times the grid's best loss at 600 steps,
1.19 without; on 27 under SGD 1.50 and 1.56. No task loses by it."""

RISE = 0.05
"""Share of the starting loss by which a loss must lie above what its batch began with to count as a rise. With twice as
much the rise came later, and more nets died."""

BELOW_RISE = {True: 8.0, False: 4.0}
"""How many times lower than the first rise the suggestion is at most, under SGD, after a shallow descent and another
one, with and without trials. The second: on 26 tasks of those that ``HEADROOM`` was measured on (600 steps, without
ratings and lines) the loss over the grid's best is 1.53 without it, 1.49 with a third, 1.45 with a quarter, 1.41 with a
fifth or a sixth, on the choosing half's five 1.16, 1.14, 1.14, 1.16 and 1.17; no task loses by a quarter. Trials, short
as they are, like LRs that kill a training later on: on 35 tasks with grids of 4,000 steps 1.86 after trials without a
bound, 1.71, 1.61, 1.58 and 1.61 with a half, a third, a quarter and a sixth, the sweep alone 1.66. The first was chosen
on grids of eight nets (convolutional, residual, recurrent, sigmoid; 3 seeds, 400 steps under a cosine): a sixth kills
one of 18 trainings, an eighth and a tenth none. Trained with what is suggested, 6 of those nets' 19 trainings that
learn at some LR end where they began, and 12 without the bound; of eleven other nets' 27, 6 and 8. It costs where the
first descent is that of the output's bias: a sigmoid net learns slower."""

BEYOND = 2.0
"""Interval and trials end so many times above that bound. A choice: most of those nets died from twice to four times
it."""


def is_shallow(result: RangeTestResult, share: float = SHALLOW) -> bool:
    """Whether the loss falls by less than ``share`` of what it starts with.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> falls = [1 / (1 + math.exp(-8 * (math.log10(x) + 2))) - x ** 3 / 10 for x in lrs]
    >>> [is_shallow(analyze(lrs, [2 - drop * fall for fall in falls])) for drop in (0.05, 0.5)]
    [True, False]
    """
    if not result.smoothed:
        return False
    start = result.smoothed[0]
    return start - min(result.smoothed) < share * abs(start)


def above_bias(result: RangeTestResult) -> RangeTestResult:
    """The result with a reading that isn't far below the first rise, where little more than a bias was learnt.

    Args:
        result: As read, with or without a suggestion.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> result = analyze(lrs, [2 - 0.1 / (1 + (1e-4 / x) ** 2) + (x * 3) ** 3 for x in lrs])
    >>> [f"{one.suggestion:.2g}" for one in (result, above_bias(result))]
    ['0.00024', '0.004']
    """
    if result.status != "ok" or result.second_fall is not None or not is_shallow(result, BIAS):
        return result
    bound = _first_rise(result, own=False) / ABOVE
    factor = bound / result.schedules["decay"]
    if result.suggestion is None or not 1 < factor < math.inf:
        return result
    suggestion = result.suggestion * factor
    low, high = result.interval or (suggestion, suggestion)
    return replace(
        result,
        suggestion=suggestion,
        schedules={name: lr * factor for name, lr in result.schedules.items()},
        interval=(min(low, suggestion), max(high, suggestion)),
        reason=f"{result.reason}; raised to {bound:.2g}, 1/{ABOVE:g} of the LR at which the loss rises: a fall of "
        f"{100 * _fall(result):.1f} % may be the output's bias alone",
    )


def ceiling(result: RangeTestResult, adaptive: bool) -> float:
    """The highest LR that keeps its distance from the first rise; infinity where none has to be kept.

    Where the loss falls twice, the place of the suggestion is another matter.

    Args:
        result: With or without a suggestion.
        adaptive: Whether the optimizer divides gradients by their size, as Adam does: its steps aren't small on a
            plateau.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> result = analyze(lrs, [2 - 0.05 / (1 + math.exp(-8 * (math.log10(x) + 2))) + (x * 15) ** 3 for x in lrs])
    >>> f"{ceiling(result, False):.2g}", ceiling(result, True)
    ('0.005', inf)
    """
    if adaptive or result.status != "ok" or result.second_fall is not None:
        return math.inf
    shallow = is_shallow(result)
    return max(_first_rise(result, own=shallow) / BELOW_RISE[shallow], result.lrs[0])


def below_rise(result: RangeTestResult, adaptive: bool) -> RangeTestResult:
    """The result with a suggestion that is no higher than :func:`ceiling`.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 0.05 / (1 + math.exp(-8 * (math.log10(x) + 2))) + (x * 15) ** 3 for x in lrs]
    >>> result = analyze(lrs, losses)
    >>> [f"{one.suggestion:.2g}" for one in (result, below_rise(result, False), below_rise(result, True))]
    ['0.0063', '0.005', '0.0063']
    """
    bound = ceiling(result, adaptive)
    if result.suggestion is None or result.suggestion <= bound:
        return result
    shallow = is_shallow(result)
    reason = f"{result.reason}; lowered to {bound:.2g}, 1/{BELOW_RISE[shallow]:g} of the LR at which the loss rises"
    if shallow:
        fall = f"{100 * _fall(result):.1f} %"
        reason += f": it has fallen by {fall} before, as on a plateau, and beyond one a training bears less"
    low, high = result.interval or (bound, bound)
    return replace(
        result,
        suggestion=bound,
        schedules={name: min(lr, bound) for name, lr in result.schedules.items()},
        interval=(min(low, bound), max(bound, min(high, BEYOND * bound))),
        reason=reason,
    )


def _fall(result: RangeTestResult) -> float:
    """Share of the starting loss by which the loss falls."""
    start = result.smoothed[0]
    return (start - min(result.smoothed)) / abs(start)


def _first_rise(result: RangeTestResult, own: bool) -> float:
    """LR of the first loss, at or beyond the minimum, above what the losses began with; infinity without one.

    With ``own`` each batch's losses are compared with what that batch began with, without with the worst batch.
    """
    cycle, low = result.cycle, result.smoothed.index(min(result.smoothed))
    head = result.losses[: max(cycle, head_length(result.num_steps))]
    # Losses differ by batch, by more than they rise where targets are noisy. Without a cycle the worst batch counts,
    # and after a deep descent too (by its own batches a denoiser's LR costs 1.5 times the best loss, not 1.3).
    each = [head[i::cycle] for i in range(cycle)] if own and cycle > 1 else []
    begun = [sum(one) / len(one) for one in each] or [max(head)]
    margin = RISE * abs(result.smoothed[0])
    places = range(low, len(result.losses))
    return next((result.lrs[i] for i in places if not result.losses[i] <= begun[i % len(begun)] + margin), math.inf)
