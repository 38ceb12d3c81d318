"""Readings of a sweep: one function a rule, from a prepared curve to an LR."""

import math
from collections.abc import Callable

import numpy as np

from lr_lightning.rules.curve import Curve

Reading = Callable[[Curve], float]


def share(curve: Curve, part: float) -> float:
    """LR at which ``part`` of the whole drop is reached for the first time, interpolated in log LR."""
    values = np.minimum.accumulate(curve.smooth[: curve.low + 1])
    top = float(values[0])
    target = top - part * (top - float(values[-1]))
    index = int(np.argmax(values <= target))
    if index == 0:
        return math.exp(curve.x[0])
    before, after = float(values[index - 1]), float(values[index])
    fraction = (before - target) / (before - after) if before > after else 1.0
    return float(math.exp(curve.x[index - 1] + fraction * (curve.x[index] - curve.x[index - 1])))


def midpoint(curve: Curve) -> float:
    """Middle, in log LR, of the descent: between 10 % of the drop and the minimum.

    The classic reading of the range test's picture: a value well inside of the falling part (Smith 2017, section 3.3).
    """
    return math.sqrt(share(curve, 0.1) * math.exp(curve.x[curve.low]))


def steepest(curve: Curve) -> float:
    """LR of the steepest descent of the smoothed loss over log LR, left of the minimum.

    fast.ai's "steep" (``argmin`` of the slope over log LR), without the lag and without a look right of the minimum.
    """
    if curve.low < 2:
        return math.exp(curve.x[curve.low])
    slope = np.gradient(curve.smooth, curve.x)[: curve.low + 1]
    return math.exp(curve.x[int(np.argmin(slope))])


def minimum(curve: Curve) -> float:
    """Half of the LR at the minimum. fast.ai's "minimum" divides by 10, of which a factor 4-5 only undoes its lag."""
    return math.exp(curve.x[curve.low]) / 2


def valley(curve: Curve) -> float:
    """Middle of the longest decreasing subsequence of the smoothed losses, as fast.ai's "valley" (without the lag)."""
    values = [float(v) for v in curve.smooth[: curve.low + 1]]
    length, before = [1] * len(values), [-1] * len(values)
    for i in range(1, len(values)):
        for j in range(i):
            if values[j] > values[i] and length[j] + 1 > length[i]:
                length[i], before[i] = length[j] + 1, j
    end = max(range(len(values)), key=length.__getitem__)
    chain = [end]
    while before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return math.exp(curve.x[chain[len(chain) // 2]])


def consensus(curve: Curve) -> float:
    """Median of several readings of the same curve: shares of the drop and the minimum."""
    readings = sorted([share(curve, 0.8), share(curve, 0.9) * 0.75, minimum(curve)])
    return readings[1]


DEFAULT_RULE = "consensus"

RULES: dict[str, Reading] = {
    "consensus": consensus,
    "midpoint": midpoint,
    "steepest": steepest,
    "valley": valley,
    "minimum": minimum,
}
"""Every rule by the name that ``rule=`` takes."""


def check_rule(rule: str) -> str:
    """Return ``rule`` if it is known.

    Raises:
        ValueError: If it isn't; the message lists the valid ones.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    return rule
