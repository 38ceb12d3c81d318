"""What is left where a sweep shows no descent: the LR at which the loss explodes says how high a training can go."""

import math
from dataclasses import replace

import numpy as np

from lr_lightning.rules.range_test.analyze import for_schedule
from lr_lightning.rules.range_test.curve import SIGNIFICANCE, STOP_RUN, Curve, read_curve
from lr_lightning.rules.range_test.result import RangeTestResult

BELOW_EXPLOSION = 30.0
"""By how much a sweep's reading lies below the LR at which the curve explodes: on 73 sweeps of the suggestion
benchmark's tasks 29 times for SGD (a tenth of them below 13, a tenth above 240), 43 times for adaptive optimizers (15,
380)."""

SPAN = (0.1, 3.0)
"""The interval around that reading, as factors: some eight tenths of those sweeps."""

RISE = 0.01
"""Where the range ends before a loss explodes, a rise of its mean over a cycle by this share of the start, and beyond
noise, stands for the explosion, if it lasts. A choice: batches that differ by more are averaged, and what is measured
against the explosion is an order of magnitude."""


def below_explosion(result: RangeTestResult, train_steps: int | None, schedule: str = "decay") -> RangeTestResult:
    """A result without a suggestion with one that the explosion gives; as it is where none is seen.

    Descents that no sweep shows are those of trainings that cross a plateau of hundreds of steps before they learn, and
    those below the noise of a step.

    Args:
        result: Without a suggestion.
        train_steps: Optimizer steps of the training, if known.
        schedule: As in :func:`~lr_lightning.rules.range_test.analyze.for_schedule`.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (-7 + i / 12) for i in range(97)]
    >>> losses = [1 + math.sin(i * i) / 9 + (lr / 0.1) ** 3 for i, lr in enumerate(lrs)]
    >>> result = below_explosion(analyze(lrs, losses), None)
    >>> result.status, f"{result.suggestion:.2g}", [f"{lr:.2g}" for lr in result.interval]
    ('no_descent', '0.0049', ['0.00049', '0.015'])
    """
    if result.suggestion is not None or result.status not in ("no_descent", "non_finite"):
        return result
    curve = read_curve(result.lrs, result.losses, planned=result.num_steps, cycle=result.cycle)
    edge = None if curve is None else _edge(curve)
    if edge is None:
        return result
    reading = edge / BELOW_EXPLOSION
    if reading * SPAN[0] < result.lrs[0]:  # it explodes at once, or next to it
        return result
    order = f"{reading:.2g}, {BELOW_EXPLOSION:g} times lower"
    reason = f"{result.reason}; where it explodes (LR {edge:.2g}) tells the order of magnitude: {order}"
    result = replace(result, reason=reason, interval=(reading * SPAN[0], reading * SPAN[1]))
    return for_schedule(result, reading, train_steps, schedule)


def _edge(curve: Curve) -> float | None:
    """The LR at which the loss explodes, or from which on it has risen for good; None if it does neither."""
    if curve.stopped != "range":
        return math.exp(curve.x[-1])
    window = max(curve.cycle, STOP_RUN)
    if len(curve.raw) < 2 * window:
        return None
    means = np.convolve(curve.raw, np.full(window, 1 / window), "valid")
    error = SIGNIFICANCE * math.sqrt(2 / window) * curve.noise
    low = np.flatnonzero(means <= curve.start + max(RISE * abs(curve.start), error))
    first = int(low[-1]) + 1 if len(low) else 0
    return math.exp(curve.x[first + window // 2]) if first < len(means) else None
