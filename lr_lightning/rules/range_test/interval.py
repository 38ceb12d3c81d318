"""What a suggestion is worth: the LRs that the evidence can't tell apart from it, and its LR for a long training.

A range test sees a few dozen steps and its rules are calibrated on trainings of a few hundred. Trained eight times
longer at constant LR, the best LR of small tasks fell by .5 to 1 decade in one study and by 0 to .5 (median .2) in
another (``recipes/benchmarks/suggestion_horizon.py``); under cosine decay it moved by -.5 to +.75, without a clear
sign. So a decaying training keeps the suggestion and a constant one gets ``(steps / CALIBRATED_STEPS) ** -EXPONENT``,
the weak end of what was measured, and never more than a decade: beyond it the evidence is thin.
"""

import math
from collections.abc import Sequence

import numpy as np

from lr_lightning.rules.range_test.curve import Curve, prepare, still_falls
from lr_lightning.rules.range_test.readings import ReadingRule, read, share_of_drop

DRAWS = 24
"""Resampled curves: enough for the second smallest and largest to stand for 5 % and 95 %.
The seed is fixed, so that every rank and every reading of a saved curve agree."""

QUANTILES = (0.05, 0.95)
"""A choice, the usual nine tenths."""

RULE_ERROR = 0.35
"""Decades on each side that no curve shows: how far a sweep's reading lies from the best LR of a run of a few hundred
steps, for two thirds of the benchmark's ``dev`` runs."""

WIDE = 1.5
"""Decades beyond which an interval is called wide in the reason. A choice: twice what
:data:`RULE_ERROR` alone leaves."""

CALIBRATED_STEPS = 300
"""Length of the trainings that the rules are calibrated on (the benchmark's tasks); shorter ones get no correction."""

EXPONENT = 0.25
"""Eight times longer: a factor of .6 (.23 decades), about the smaller study's median."""

LEAST_FACTOR = 0.1
"""The correction never exceeds a decade, the most that was measured."""


def resampled_readings(curve: Curve, rule: str | ReadingRule, draws: int = DRAWS) -> list[float]:
    """The rule on curves with the same descent and reshuffled noise (block bootstrap, blocks of one cycle).

    Residuals are drawn from the part left of the minimum, where they are noise and not explosion. Where the loss still
    falls at the end of the range they are drawn from left of half of the drop: a smoothed curve lags behind so steep an
    end, and that lag, dealt out over the flat part, would make minima there.
    """
    size = curve.low + 1
    capped = np.minimum(curve.raw, curve.start + curve.drop)
    residuals = (capped - curve.smooth)[: _calm(curve)]
    block = min(max(curve.cycle, 4), len(residuals))
    random = np.random.default_rng(0)
    spacing = float(curve.x[-1] - curve.x[0]) / max(1, len(curve.x) - 1)
    readings = []
    for _ in range(draws):
        starts = random.integers(0, len(residuals) - block + 1, size=-(-size // block))
        noise = np.concatenate([residuals[s : s + block] for s in starts])[:size]
        losses = capped.copy()
        losses[:size] = curve.smooth[:size] + noise
        again = prepare(curve.x, losses, curve.stopped, spacing, curve.planned, curve.cycle)
        readings.append(read(again, rule))
    return readings


def _calm(curve: Curve) -> int:
    """How many of the first points have residuals that are noise."""
    size = curve.low + 1
    if not still_falls(curve):
        return size
    half = int(np.argmax(curve.smooth <= curve.start - curve.drop / 2))
    return max(half, min(size, max(curve.cycle, 4)))


def find_interval(
    curve: Curve, rule: str | ReadingRule, suggestion: float, others: Sequence[float] = ()
) -> tuple[float, float]:
    """LRs that noise, other readings, repeats and the rule's own error can't tell apart from the suggestion.

    The hull of the 5 % and 95 % quantiles over resampled curves, of three readings as defensible as the default (80 %
    and 90 % of the drop, a third of the LR at the minimum), and of the suggestions of ``others`` (repeats),
    widened by ``RULE_ERROR`` and cut to the LRs that the curve covers. Where the loss falls twice, both ends of what
    lies between belong to it.
    """
    low, high = (float(np.quantile(resampled_readings(curve, rule), q)) for q in QUANTILES)
    falls = [math.exp(x) for x in curve.second_fall or ()]
    votes = [share_of_drop(curve, 0.8), share_of_drop(curve, 0.9), read(curve, "minimum"), *others, *falls]
    factor, first, last = 10**RULE_ERROR, math.exp(curve.x[0]), max(math.exp(curve.x[-1]), *falls, 0.0)
    bounds = min(suggestion, low, *votes) / factor, max(suggestion, high, *votes) * factor
    return min(max(bounds[0], first), suggestion), max(min(bounds[1], last), suggestion)


def width(interval: tuple[float, float]) -> float:
    """Width of an interval in decades.

    >>> round(width((1e-3, 1e-2)), 9)
    1.0
    """
    return math.log10(interval[1] / interval[0])


def constant_factor(train_steps: int | None) -> float:
    """Factor on the suggestion for constant LR over ``train_steps`` optimizer steps.

    >>> constant_factor(None), constant_factor(300), round(constant_factor(4800), 6), constant_factor(10**9)
    (1.0, 1.0, 0.5, 0.1)
    """
    if train_steps is None or train_steps <= CALIBRATED_STEPS:
        return 1.0
    return max(LEAST_FACTOR, float((train_steps / CALIBRATED_STEPS) ** -EXPONENT))
