"""Losses without their noise: averages without lag, spikes, and how large the noise is."""

import functools
import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.float64]"

RESOLUTION = 1e-5
"""Relative changes below this are no descent: a mean over a batch in float32 has about a hundred roundings of 6e-8."""

_MOST_SMOOTHED = (
    1000  # points pooled for the kernel: its square is then 8 MB, and the answer moves by a fifth of its error
)


def run_lengths(flags: "npt.NDArray[np.bool_]") -> "npt.NDArray[np.int64]":
    """Length of the run of True that ends at each place.

    >>> run_lengths(np.array([True, True, False, True])).tolist()
    [1, 2, 0, 1]
    """
    count = np.arange(1, len(flags) + 1)
    return np.asarray(count - np.maximum.accumulate(np.where(flags, 0, count)), dtype=np.int64)


def smooth(x: Array, y: Array, sigma: float) -> Array:
    """Centred Gaussian average of ``y`` over ``x`` (Nadaraya-Watson): no lag, unlike a moving average of the past.

    Args:
        x: Increasing positions, shape (n,).
        y: Values, shape (n,).
        sigma: Width in the unit of ``x``; 0 returns ``y``.

    >>> import numpy as np
    >>> smooth(np.arange(3.0), np.array([1.0, 2.0, 3.0]), 1.0).round(2)
    array([1.5, 2. , 2.5])
    """
    if sigma <= 0 or len(y) < 2:
        return y.copy()
    if len(y) > 2 * _MOST_SMOOTHED:
        # All pairs of 100,000 losses would take 80 GB; next to a width of hundreds of points, pooled ones say the same.
        edges = np.linspace(0, len(y), _MOST_SMOOTHED + 1).astype(np.int64)[:-1]
        size: Array = np.diff(np.append(edges, len(y))).astype(np.float64)
        centres, means = np.add.reduceat(x, edges) / size, np.add.reduceat(y, edges) / size
        return np.interp(x, centres, _kernel(centres.tobytes(), sigma) @ means)
    return np.asarray(_kernel(x.tobytes(), sigma) @ y, dtype=np.float64)


@functools.lru_cache(maxsize=8)
def _kernel(positions: bytes, sigma: float) -> Array:
    """Normalised weights; cached, because resampled curves share their positions."""
    x = np.frombuffer(positions, dtype=np.float64)
    weights = np.exp(-0.5 * ((x[:, None] - x[None, :]) / sigma) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def despike(y: Array, reach: int = 3, limit: float = 4.0) -> Array:
    """Replace lone outliers by the median of their neighbours, upwards and downwards alike (Hampel 1974).

    Hampel's identifier is used with limits of 3 to 5; 4 leaves one normal value in 16,000 to be taken for a spike.

    Args:
        y: Values, shape (n,).
        reach: Neighbours on each side.
        limit: Distance from the median, in robust standard deviations of the neighbourhood, beyond which a value goes.

    >>> import numpy as np
    >>> float(despike(np.array([1.0] * 5 + [9.0] + [1.0] * 5)).max())
    1.0
    """
    if len(y) < 2 * reach + 1:
        return y.copy()
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(y, reach, mode="reflect"), 2 * reach + 1)
    middle = np.median(windows, axis=1)
    spread = 1.4826 * np.median(np.abs(windows - middle[:, None]), axis=1)
    return np.where(np.abs(y - middle) > limit * spread, middle, y)


def noise_level(losses: Array, cycle: int = 1) -> float:
    """Robust standard deviation of the noise of one loss, from differences, so that a trend doesn't count.

    Args:
        losses: Losses in order.
        cycle: Period of the cycled batches; differences are taken between visits of the same batch.
    """
    lag = cycle if len(losses) > 4 * cycle else 1
    steps = losses[lag:] - losses[:-lag]
    bends = steps[lag:] - steps[:-lag]
    if len(steps) < 3:
        return 0.0
    # A difference has sqrt(2) of one value's spread, a second difference sqrt(6). The second one also takes out a slope
    # that changes, which on a short ladder is half of the curve.
    levels = [_robust(steps) / math.sqrt(2)] + ([_robust(bends) / math.sqrt(6)] if len(bends) >= 5 else [])
    return min(levels)


def _robust(values: Array) -> float:
    """Standard deviation from the median absolute deviation: 1.4826 times it for a normal law."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
