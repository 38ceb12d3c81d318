"""Where a curve stops being that of the network that descended: explosions, and falls to what dead units reach."""

import math
from dataclasses import dataclass

import numpy as np

from lr_lightning.rules.range_test.smoothing import RESOLUTION, Array, run_lengths, smooth

RETURN_SHARE = 0.5
"""A curve that gives back this share of its descent for a while has exploded; what follows is another network. A
choice, halfway between no return and a whole one."""

STEEPEST_SHARE = 0.25
"""A descent that an explosion ends must be this share of the whole one: an early wiggle isn't. A choice."""

RISE_SHARE = 0.15
"""A rise between two falls is this share of the first one, or of its logarithm. On sweeps of 25 networks with raw
features it was more in most; on those of some forty other tasks, with as deep a second fall, at most .13."""

DEEPER = 2.0
"""The second fall ends at this fraction of where the first one ended. A choice: what a network learns after a rise is
some percent more, what a constant predicts instead of an output of the wrong scale is a multiple."""

FAR = 5.0
"""The starting loss is so many times the lowest one. A choice: outputs of a right scale begin near what a constant
reaches, and few networks get to a fifth of that within a sweep."""


@dataclass(frozen=True)
class SecondFall:
    """A curve that falls, rises, and falls far below.

    Attributes:
        valley: Index of the loss at the end of the first fall.
        fall: Index of the loss at which the second one has come below that.

    >>> SecondFall(40, 60).fall
    60
    """

    valley: int
    fall: int


def explosion(x: Array, y: Array, start: float, sigma: float, run: int, clear: float, cycle: int = 1) -> int | None:
    """Number of losses up to where a curve has given back half of its descent for ``run`` steps; None if it doesn't.

    What comes after is no longer the network that descended: weights blown up, units dead, and their plateau (the best
    constant prediction) may lie below the descent's end when the starting loss is huge. It must not count as minimum.
    A descent counts if it exceeds ``clear`` (noise doesn't), twice what the curve rises by while the first two cycles
    of batches go round (their differences don't) and a quarter of the whole one (an early wiggle doesn't).
    """
    calm = smooth(x, np.minimum(y, 2 * start - float(y.min())), sigma)
    lowest = np.minimum.accumulate(calm)
    descent, whole = start - lowest, start - float(calm.min())
    # At its end a wide average holds a part of a cycle: it wiggles for as long as it is wide.
    edge = 2 * cycle if cycle == 1 else max(2 * cycle, math.ceil(2 * sigma / float(x[1] - x[0])))
    wiggle = 2 * float((calm - lowest)[:edge].max())
    back = (calm > start - (1 - RETURN_SHARE) * descent) & (descent > max(STEEPEST_SHARE * whole, clear, wiggle))
    hits = np.flatnonzero(run_lengths(back) >= run)
    return int(hits[0]) + 1 if len(hits) and whole > RESOLUTION * abs(start) else None


def second_falls(y: Array, start: float, window: int) -> list[SecondFall]:
    """Rises between two falls, the second of which ends far below: the first such rise, and the steepest for its place.

    Raw, unscaled features give outputs of a wrong scale, and a huge loss. A network first learns the scale; at higher
    LRs its loss explodes, units die, and what is left predicts a constant, far better than the network that was alive
    at that place: neither that plateau nor the fall to it says anything of a good LR.

    Args:
        y: Losses, without spikes.
        start: The loss at the flat beginning.
        window: Losses whose mean is looked at: a cycle of batches, so that their differences don't count.

    >>> two = [9.0] * 10 + [3.0] * 10 + [5.0] * 10 + [1.0] * 10
    >>> second_falls(np.array(two), 9.0, 5)
    [SecondFall(valley=12, fall=30)]
    >>> second_falls(np.array(two[:30]), 9.0, 5)
    []
    """
    if len(y) < 2 * window:
        return []
    means = np.convolve(np.minimum(y, 2 * start - float(y.min())), np.full(window, 1 / window), "valid")
    lowest = np.minimum.accumulate(means)
    ends = np.flatnonzero(means < np.append(math.inf, lowest[:-1]))  # each is lower than all before
    level, peaks, bottom = means[ends], np.maximum.reduceat(means, ends), float(lowest[-1])
    if bottom <= 0 or start < FAR * bottom:
        return []
    counts = (start - level > STEEPEST_SHARE * (start - bottom)) & (level >= DEEPER * bottom) & (ends >= window)
    level, peaks, places = level[counts], peaks[counts], np.flatnonzero(counts)
    rises = np.maximum((peaks - level) / (start - level), np.log(peaks / level) / np.log(start / level))
    if not (rises >= RISE_SHARE).any():
        return []
    half = window // 2
    chosen = sorted({int(places[np.argmax(rises >= RISE_SHARE)]), int(places[np.argmax(rises)])})
    return [SecondFall(int(ends[i]) + half, int(ends[i + 1]) + half) for i in chosen]
