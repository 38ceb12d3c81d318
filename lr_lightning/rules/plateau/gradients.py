"""Whether gradients agree: where they do, the weights go somewhere; where they turn back, the weights bounce.

Gradients of mini-batches some steps apart share what the loss pulls at and not the batches' noise, so

    x = <g(t), g(t - k)> / <g(t), g(t)>

has a mean above 0 on ground that the weights still travel over, and at or below 0 where they bounce around one place
(Pflug, "Non-asymptotic confidence bounds for stochastic approximation algorithms with constant step size", 1990). That
holds for k beyond the memory of the momentum only: from one step to the next gradients agree on a noise floor too,
since momentum carries the weights on in slow swings. Measured at the floors of quadratics and small networks under SGD
with momentum .9, x is .10 to .24 at k = 1, 8 to 27 standard errors above 0, and -.06 to -.12 at k = 10, 2 to 7 below;
on the flat start of a deep linear network .2 to .7 at both. Here is what is decided;
:mod:`lr_lightning.optim.gradient_agreement` gathers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_PAIRS = 8
MOST_CHUNKS = 32
LEAST_SPACING, MOST_SPACING = 11, 101
ERRORS = 2.0

Chunk = tuple[float, float, float, float]
"""Of the pairs between two readings: how many, sum of x, of its squares, of the gradients' norms."""


@dataclass(frozen=True)
class Agreement:
    """How much gradients agreed lately.

    Attributes:
        mean: Mean of x.
        error: Its standard error.
        norm: Mean norm of the sampled part of the gradient.

    >>> Agreement(0.3, 0.05, 1.0).verdict, Agreement(-0.3, 0.05, 1.0).verdict, Agreement(0.05, 0.05, 1.0).verdict
    ('moving on', 'bouncing', 'unknown')
    """

    mean: float
    error: float
    norm: float

    @property
    def verdict(self) -> str:
        """``"moving on"``, ``"bouncing"`` or ``"unknown"``."""
        told = moving(self.mean, self.error)
        return "unknown" if told is None else "moving on" if told else "bouncing"

    @property
    def evidence(self) -> dict[str, float]:
        """For a decision."""
        return {"agreement": self.mean, "agreement_error": self.error, "gradient_norm": self.norm}


def moving(mean: float, error: float) -> bool | None:
    """Whether the weights go somewhere: the mean of x is 2 standard errors above 0, or below it; None: neither.

    >>> moving(0.2, 0.05), moving(-0.2, 0.05), moving(0.0, 0.05), moving(float("nan"), 0.1)
    (True, False, None, None)
    """
    if mean > ERRORS * error:
        return True
    return False if mean < -ERRORS * error else None


def spacing(momentum: float) -> int:
    """Steps between the two gradients of a pair: what the momentum remembers, 11 to 101; odd, for what goes to and fro.

    >>> spacing(0.0), spacing(0.95), spacing(1.0)
    (11, 21, 101)
    """
    steps = math.ceil(1.0 / max(1.0 - momentum, 1e-6) - 1e-9) | 1
    return min(MOST_SPACING, max(LEAST_SPACING, steps))


def added(chunks: Sequence[Chunk], chunk: Chunk) -> tuple[Chunk, ...]:
    """The chunks of a stage, oldest first, with one more: neighbours are merged where there are too many.

    >>> added([(1.0, 0.5, 0.25, 1.0)] * 31, (1.0, 0.5, 0.25, 1.0))[0]
    (2.0, 1.0, 0.5, 2.0)
    """
    joined = (*chunks, chunk)
    if len(joined) < MOST_CHUNKS:
        return joined
    return tuple(_sum(joined[i : i + 2]) for i in range(0, len(joined), 2))


def newest(chunks: Sequence[Chunk]) -> Agreement | None:
    """What the newer half of a stage's pairs says: its beginning may have been descent. None: too few pairs.

    >>> newest([(4.0, 0.0, 0.0, 4.0), (4.0, 2.0, 1.0, 4.0), (4.0, 2.0, 1.0, 4.0)])
    Agreement(mean=0.5, error=0.0, norm=1.0)
    """
    least = max(LEAST_PAIRS, 0.5 * sum(chunk[0] for chunk in chunks))
    taken = len(chunks)
    count = 0.0
    while count < least:
        if not taken:
            return None
        taken -= 1
        count += chunks[taken][0]
    count, total, squares, norms = _sum(chunks[taken:])
    mean = total / count
    variance = max(0.0, squares / count - mean * mean)
    return Agreement(mean, math.sqrt(variance / (count - 1.0)), norms / count)


def _sum(chunks: Sequence[Chunk]) -> Chunk:
    count, total, squares, norms = (sum(column) for column in zip(*chunks, strict=True))
    return count, total, squares, norms
