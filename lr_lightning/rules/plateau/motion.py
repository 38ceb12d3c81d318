"""Whether the weights move on or bounce around one place: what tells a flat region from a noise floor.

A cut helps where noise keeps the weights from settling, and harms where they still travel over flat ground. Both look
alike in the loss, and differ in how the distance travelled grows with time (Pesme, Dieuleveut & Flammarion, "On
convergence-diagnostic based step sizes for SGD", arXiv 2007.00534): over samples of the weights, evenly spaced,

    drift = sum |w(t) - w(t - 2k)|^2 / sum (|w(t) - w(t - k)|^2 + |w(t - k) - w(t - 2k)|^2)

is 2 on a straight line, 1 in a random walk and 1/2 where each sample is another draw from around the same place. It is
a ratio, so scaling the weights changes nothing. Here is what is decided; :mod:`lr_lightning.optim.motion` gathers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_SAMPLES = 24
"""Held at once, thinned to half beyond it: 0.4 MB. A choice."""
LEAST_SAMPLES = 5
"""From which lags of one and two samples have three pairs. A choice."""
A_RUN = 50
"""Samples a planned run has at most, 0.4 ms each. A choice."""
BORDER = 1.0
"""A random walk's drift (Pesme et al.)."""
MOVING = 1.25
"""Drift above which the weights surely move on; a noise floor shows 1 and a little more while it settles."""


@dataclass(frozen=True)
class Drift:
    """How the weights moved in this stage.

    Attributes:
        ratio: The drift, 0 to 2; ``None`` while there are too few samples, NaN if the weights aren't finite.

    >>> Drift(1.8).verdict, Drift(0.5).holds
    ('moving on', False)
    """

    ratio: float | None = None

    @property
    def verdict(self) -> str:
        """``"moving on"``, ``"bouncing"`` or ``"unknown"``."""
        if self.ratio is None or math.isnan(self.ratio) or self.ratio == 0.0:
            return "unknown"
        return "moving on" if self.ratio > BORDER else "bouncing"

    @property
    def holds(self) -> bool:
        """Whether a cut is to wait: the weights move on, or it is too early to tell. Broken weights hold nothing up."""
        return self.ratio is None or self.ratio > BORDER

    @property
    def words(self) -> str:
        """For a log line."""
        if self.ratio is None:
            return "too early to tell whether the weights move on"
        return f"the weights are {self.verdict} (drift {self.ratio:.2f})"


def is_due(positions: Sequence[float], spacing: float, at: float, horizon: float | None = None) -> bool:
    """Whether to sample the weights now: a 50th of the planned run after the last sample, or ``spacing`` if longer.

    Args:
        positions: Of the samples held, oldest first.
        spacing: What thinning made of the distance between them; 0 before that.
        at: Position of the observation.
        horizon: Planned end of the run on the same clock; ``None``: unknown.

    >>> is_due([], 0.0, 1.0, 100.0), is_due([1.0], 0.0, 2.0, 100.0), is_due([1.0], 0.0, 3.0, 100.0)
    (True, False, True)
    """
    if not positions:
        return True
    least = spacing if horizon is None else max(spacing, horizon / A_RUN)
    return at > positions[-1] and at - positions[-1] >= least * (1.0 - 1e-6)


def thinned_spacing(positions: Sequence[float]) -> float:
    """The distance between samples once every second one is dropped.

    >>> thinned_spacing([1.0, 2.0, 3.0])
    2.0
    """
    return 2.0 * (positions[-1] - positions[0]) / (len(positions) - 1)


def triples(count: int) -> list[tuple[int, int, int]]:
    """Indices of the samples to compare, (t, t - k, t - 2k), with t in the newer half and k a sixth of the stage.

    Short lags would only see the optimizer's momentum; none where there are fewer than 5 samples.

    >>> triples(5)
    [(2, 1, 0), (3, 2, 1), (4, 3, 2)]
    """
    if count < LEAST_SAMPLES:
        return []
    lag = max(1, count // 6)
    return [(t, t - lag, t - 2 * lag) for t in range(max(2 * lag, count // 2 - 1), count)]


def ratio_of(far: float, near: float) -> float:
    """The drift from the two sums of squared distances; weights that stay in one place bounce: 0.

    >>> ratio_of(8.0, 4.0), ratio_of(0.0, 0.0)
    (2.0, 0.0)
    """
    if not (math.isfinite(far) and math.isfinite(near)):
        return math.nan
    return far / near if near > 0 else 0.0


def moving_on(evidence: Mapping[str, float]) -> bool | None:
    """Whether the weights go somewhere, by the ``drift`` of a decision's evidence; None: unknown.

    >>> moving_on({"drift": 1.8}), moving_on({"drift": 1.1}), moving_on({"drift": 0.5})
    (True, None, False)
    """
    drift = evidence.get("drift", math.nan)
    if drift > MOVING:
        return True
    return False if 0.0 < drift <= BORDER else None  # weights that don't move at all tell nothing
