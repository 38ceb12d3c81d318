"""What is left where a sweep shows no descent: the LR at which the loss explodes says how high a training can go."""

import math
from dataclasses import replace

from lr_lightning.rules.range_test.analyze import for_schedule
from lr_lightning.rules.range_test.curve import read_curve
from lr_lightning.rules.range_test.result import RangeTestResult

BELOW_EXPLOSION = 30.0
"""By how much a sweep's reading lies below the LR at which the curve explodes: on 73 sweeps of the suggestion
benchmark's tasks 29 times for SGD (a tenth of them below 13, a tenth above 240), 43 times for adaptive optimizers (15,
380)."""

SPAN = (0.1, 3.0)
"""The interval around that reading, as factors: some eight tenths of those sweeps."""


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
    if curve is None or curve.stopped == "range":
        return result
    edge = math.exp(curve.x[-1])
    reading = edge / BELOW_EXPLOSION
    if reading * SPAN[0] < result.lrs[0]:  # it explodes at once, or next to it
        return result
    order = f"{reading:.2g}, {BELOW_EXPLOSION:g} times lower"
    reason = f"{result.reason}; where it explodes tells the order of magnitude: {order}"
    result = replace(result, reason=reason, interval=(reading * SPAN[0], reading * SPAN[1]))
    return for_schedule(result, reading, train_steps, schedule)
