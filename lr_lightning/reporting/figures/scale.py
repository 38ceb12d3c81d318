"""Which part of the values a panel shows: outliers leave it, and it is logarithmic where that is asked for."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lr_lightning.reporting.figures.style import power_of_ten

TAIL = 0.05
"""Share of a series' values at each end that may leave the picture, as in TensorBoard's Time Series."""
JUMP = 10.0
"""A series whose upper values would stretch the picture by more than this leaves it: the others stay readable."""
MORE_DECADES = 4.0
"""The same on a log axis, in decades added: there the steep start of a training has its place."""
MOST = 1e300
LOG_FROM = 30.0
"""Ratio of largest to smallest value from which positive values are drawn on a log axis."""


def visible(series: Sequence[Any], clip: bool = True, log: bool = False) -> tuple[float, float] | None:
    """Range of the values to show; None without a finite one.

    Each series has a core, from its lower to its upper tail. The range begins with the series that spans least and
    takes in the next as long as that stretches it by less than ``JUMP``. So one run in five, or four in five, may
    diverge, and those that didn't still fill the picture.

    Args:
        series: One array of values a line.
        clip: Whether outliers may leave the picture; otherwise all finite values are shown.
        log: Whether the values are exponents, for a log axis.

    >>> visible([[0.3, 1.0], [0.4, 0.9], [1.0, 6e15]])
    (0.3, 1.0)
    >>> visible([[1.0, 2.0], [1.0, 6e15]], clip=False)
    (1.0, 6000000000000000.0)
    """
    # Twice the largest float is none.
    arrays = (np.asarray(one, dtype=float) for one in series)
    finite = [np.clip(values[np.isfinite(values)], -MOST, MOST) for values in arrays]
    finite = [values for values in finite if len(values)]
    if not finite:
        return None
    if not clip:
        return float(min(v.min() for v in finite)), float(max(v.max() for v in finite))
    low, high = math.inf, -math.inf
    for own in sorted((_core(values, log) for values in finite), key=_extent):
        union = min(low, own[0]), max(high, own[1])
        most = high - low + MORE_DECADES if log else JUMP * _room(low, high)
        if low <= high and union[1] - union[0] > most:
            break
        low, high = union
    return low, high


def _extent(core: tuple[float, float]) -> float:
    """What a line spans; a flat one counts by its height, so that one that stands still at 1e15 comes last."""
    return max(core[1] - core[0], 0.01 * max(abs(core[0]), abs(core[1])))


def _room(low: float, high: float) -> float:
    """Height of the picture so far; flat lines alone count by their level."""
    level = max(abs(low), abs(high), 1e-12)
    return high - low if high - low > 0.01 * level else level


def _core(values: Any, log: bool) -> tuple[float, float]:
    """Lowest and highest value, less tails that would stretch the rest too much."""
    ordered = np.sort(values)
    tail = int(TAIL * (len(ordered) - 1))
    least, low, high, most = (float(ordered[at]) for at in (0, tail, -1 - tail, -1))
    room = high - low + MORE_DECADES if log else JUMP * max(high - low, 1e-12)
    return (least if high - least <= room else low), (most if most - low <= room else high)


def value_axis(series: Sequence[Any], *, clip: bool, scale: str) -> dict[str, Any]:
    """``type`` and ``range`` of the axis of some lines.

    Args:
        series: One array of values a line.
        clip: Whether outliers may leave the picture.
        scale: ``linear``, ``log``, or ``auto``: log where all shown values are positive and reach far.
    """
    shown = visible(series, clip)
    if shown is None:
        return {"type": "linear"}
    low, high = shown
    positive = _least_positive(series, low)
    if positive is not None and (scale == "log" or (scale == "auto" and low > 0 and _far(series, high / low))):
        bottom, top = _decades(series, clip) if low > 0 else (math.log10(positive), math.log10(max(high, positive)))
        margin = max(0.04 * (top - bottom), 0.03)
        return {"type": "log", "range": [bottom - margin, top + margin]}
    # A line that stands still has room for its level, and short labels; one that stands still at 0 any at all.
    level = max(abs(high), abs(low))
    margin = max(0.05 * (high - low), (1e-3 if high > low else 0.05) * level) if level else 1.0
    return {"type": "linear", "range": [low - margin, high + margin]}


def _far(series: Sequence[Any], shown: float) -> bool:
    """Whether a log axis is asked for: by the ratio of what a linear one shows, or by lines that fall so far.

    A line that falls far may leave the linear picture beside a validation loss that begins after an epoch; one that
    rises as far has diverged and says nothing about the axis of the others.
    """
    lows: list[float] = []
    highs: list[float] = []
    for values in (np.asarray(one, dtype=float) for one in series):
        positive = values[np.isfinite(values) & (values > 0)]
        if len(positive) > 1 and positive[-1] < positive[0]:
            ordered, tail = np.sort(positive), int(TAIL * (len(positive) - 1))
            lows.append(float(ordered[tail]))
            highs.append(float(ordered[-1 - tail]))
    return shown >= LOG_FROM or (bool(lows) and max(highs) / min(lows) >= LOG_FROM)


def _decades(series: Sequence[Any], clip: bool) -> tuple[float, float]:
    """Range of the positive values on a log axis, in powers of ten."""
    arrays = [np.asarray(one, dtype=float) for one in series]
    return visible([np.log10(one[np.isfinite(one) & (one > 0)]) for one in arrays], clip, log=True) or (0.0, 0.0)


def _least_positive(series: Sequence[Any], low: float) -> float | None:
    """Lower end of a log axis: ``low``, or the least positive value where that isn't one."""
    if low > 0:
        return low
    arrays = [np.asarray(one, dtype=float) for one in series]
    found = [float(v[np.isfinite(v) & (v > 0)].min()) for v in arrays if np.any(np.isfinite(v) & (v > 0))]
    return min(found, default=None)


def beyond(values: Any, axis: dict[str, Any]) -> bool:
    """Whether a line ends outside of the axis' range, or nowhere."""
    given = np.asarray(values, dtype=float)
    if not len(given) or "range" not in axis:
        return False
    last = given[-1]
    low, high = (power_of_ten(end) if axis["type"] == "log" else end for end in axis["range"])
    return not (math.isfinite(last) and low <= last <= high)
