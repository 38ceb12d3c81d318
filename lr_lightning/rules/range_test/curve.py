"""What is read off losses over LRs before a rule speaks: stop, spikes, explosion, smoothing without lag, noise."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lr_lightning.rules.range_test.explosion import explosion, second_falls
from lr_lightning.rules.range_test.smoothing import RESOLUTION, Array, despike, noise_level, run_lengths, smooth

HEAD_SHARE = 0.1
"""Share of the planned steps whose losses stand for the start of the curve: fast.ai's finder drops the same share."""

STOP_RUN = 5
"""So many losses in a row beyond the bound end a sweep; fewer are spikes. A choice: of 100 curves of pure noise none
stops (tests), and a loss that diverges stays above for good, so five steps are all that it costs."""

MIN_POINTS = 8
"""Fewer finite losses than this are no curve: the noise level takes differences of differences of the first few."""

SMOOTHING_SHARE = 0.06
"""Gaussian width (one sigma) as a share of the planned ladder: 6 steps of 100, half a decade of eight. A choice:
wide enough to average a cycle of eight batches, narrower than the usual descent of a decade or two."""

LIGHT_SHARE = 0.02
"""The same for a first look that only searches the explosion, which a wide average would blur over the minimum. A third
of :data:`SMOOTHING_SHARE`, a choice."""

CAP_SHARE = 0.5
"""Losses count up to start + this share of the descent: beyond it a smoothed explosion would hide the minimum. A
choice: readings lie left of the minimum, where few losses exceed it."""

SIGNIFICANCE = 5.0
"""A descent counts when it exceeds so many standard errors of the smoothed curve. Not 2: the smallest of some hundred
smoothed values is compared, and of 100 curves of pure noise at most 5 may look like a descent (tests)."""

EXTREME_GROWTH = 1000.0
"""A step that raises when the weights have grown so many times raises because they have. A choice: trainings that work
stay below ten."""

FIRST, EXTREME_RISE = 10, 10.0
"""Until there are so many losses, one must rise so many times to explain that a step raises. A choice."""


def stop_index(losses: Sequence[float], *, planned: int | None = None) -> int | None:
    """Index of the loss at which a sweep stops, or None if it goes on.

    It stops at the first NaN or infinity, and at the fifth loss in a row above ``top + (top - min)``, where ``top`` is
    the largest of the first losses (a tenth of the plan) and ``min`` the smallest so far. The bound is relative to the
    curve's own spread, so negative losses and losses near zero stop where shifted ones do, and one spike stops nothing.

    Args:
        losses: Raw training losses in the order of the ladder, without the ones not yet measured.
        planned: Steps in the whole ladder; by default the number of losses, at least 100.

    >>> stop_index([1.0, 0.9, float("nan")])
    2
    >>> stop_index([1.0] * 20 + [0.5] + [1.4] * 9), stop_index([-1.0] * 20 + [-1.5] + [0.0] * 5)
    (None, 25)
    """
    values = np.asarray(losses, dtype=np.float64)
    head = head_length(max(100, len(values)) if planned is None else planned)
    finite = np.isfinite(values)
    bad = int(np.argmin(finite)) if not finite.all() else len(values)
    values = values[:bad]
    if len(values) > head:
        top = float(values[:head].max())
        spread = top - np.minimum.accumulate(values)
        slack = 1e-6 * max(abs(top), float(spread.max()))  # float32 losses differ in the seventh digit
        above = values > top + np.maximum(spread, slack)
        above[:head] = False
        hits = np.flatnonzero(run_lengths(above) >= STOP_RUN)
        if len(hits):
            return int(hits[0])
    return bad if bad < len(finite) else None


def breaks_off(losses: Sequence[float], growth: float, bug: bool = False) -> bool:
    """Whether a training step that raised did so because the training had diverged, as a sweep's end does.

    Args:
        losses: The losses up to that step, its own too if it is known. As at a sweep's end, the first ten are what
            later ones are compared with; one of these must be ten times too high.
        growth: The largest weight, in units of the largest before the sweep.
        bug: The error is of a kind that no check of values raises (a missing key): a loss that has risen is no reason
            for it, only one that is not finite, or such weights.

    >>> start = [2.0] * 10
    >>> breaks_off([*start, 1.9, 80.0], 1.0), breaks_off([*start, 1.9, 2.05], 1.0), breaks_off([2.0, 80.0], 1.0)
    (True, False, True)
    >>> breaks_off([2.0, 1.9], float("nan")), breaks_off([2.0, 1.9], 1000.0), breaks_off([2.0, 1.9], 1.5)
    (True, True, False)
    >>> risen = [1.0] * 10 + [0.8, 1.3]
    >>> breaks_off(risen, 1.0), breaks_off(risen, 1.0, bug=True), breaks_off([1.0, 0.8, 1.3], 1.0)
    (True, False, False)
    """
    if not losses or not math.isfinite(losses[0]):
        return False
    if not (math.isfinite(growth) and growth < EXTREME_GROWTH and math.isfinite(losses[-1])):
        return True
    if bug:
        return False
    top = max(losses[: min(FIRST, len(losses) - 1)] or losses)
    margin = max(top - min(losses), 1e-6 * abs(top))
    if len(losses) <= FIRST:  # the spread of so few is luck
        margin = EXTREME_RISE * max(margin, abs(top))
    return losses[-1] > top + margin


def still_falls(curve: "Curve") -> bool:
    """Whether the range ended in the descent.

    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> curve = read_curve(lrs, [1.0] * 25 + [1.0 - i / 50 for i in range(26)], planned=51)
    >>> still_falls(curve)
    True
    """
    return curve.stopped == "range" and curve.low >= len(curve.x) - 2


def head_length(planned: int) -> int:
    """How many of the first losses stand for the start of a curve of ``planned`` steps.

    At least ten, or a third of a very short ladder: the spread of fewer losses is luck.

    >>> head_length(100), head_length(300), head_length(40), head_length(20)
    (10, 30, 10, 6)
    """
    return max(round(HEAD_SHARE * planned), min(10, planned // 3), 1)


def falling_chains(values: Sequence[float]) -> tuple[list[int], list[int]]:
    """Longest strictly falling subsequences (patience sorting, ``O(n log n)``).

    Returns:
        For each value the length of the longest one that ends there, and the place before it in that one (-1: none; of
        several the leftmost).

    >>> falling_chains([3.0, 2.0, 2.5, 1.0])
    ([1, 2, 2, 3], [-1, 0, 0, 1])
    """
    ends: list[float] = []  # the negated largest value at which a subsequence of each length ends, so far
    lengths, before = [], []
    levels: list[tuple[list[float], list[int]]] = []  # of each length: its values, which never fall, and their places
    for place, value in enumerate(values):
        level = bisect.bisect_left(ends, -value)
        if level == len(ends):
            ends.append(-value)
            levels.append(([], []))
        ends[level] = -value
        levels[level][0].append(value)
        levels[level][1].append(place)
        lengths.append(level + 1)
        above = levels[level - 1]
        before.append(above[1][bisect.bisect_right(above[0], value)] if level else -1)
    return lengths, before


@dataclass(frozen=True)
class Curve:
    """A sweep made ready for reading. All arrays have the length of the losses that count.

    Attributes:
        x: Natural log of the LRs.
        raw: Losses as measured.
        smooth: Capped and smoothed without lag; in the loss's unit.
        start: The loss at the flat beginning.
        low: Index of the smallest smoothed loss.
        noise: Standard deviation of one loss around the smooth curve.
        error: Standard error of ``smooth`` itself.
        stopped: How the curve ends: ``"range"`` (ladder used up), ``"diverged"`` or ``"non_finite"``.
        sigma: Smoothing width in log LR.
        planned: Steps of the whole ladder.
        cycle: Period of the cycled batches.
        light_drop: Descent of the lightly smoothed curve up to the end of this one: a steep short descent shows there.
        light_error: Standard error of that curve.
        second_fall: Log LRs at which the first of two falls ends and the second one begins, at whose end units are
            dead; the curve ends there. None without a second one.

    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> read_curve(lrs, losses, planned=51).descends
    True
    """

    x: Array
    raw: Array
    smooth: Array
    start: float
    low: int
    noise: float
    error: float
    stopped: str
    sigma: float
    planned: int
    cycle: int
    light_drop: float
    light_error: float
    second_fall: tuple[float, float] | None = None

    @property
    def drop(self) -> float:
        """Loss at the start minus the smallest smoothed loss; at least 0."""
        return max(0.0, self.start - float(self.smooth[self.low]))

    @property
    def descends(self) -> bool:
        """Whether the descent is more than noise and float resolution, smoothed well or lightly."""
        resolution = RESOLUTION * max(abs(self.start), abs(float(self.smooth[self.low])))
        limit = SIGNIFICANCE * math.sqrt(2)
        clear = self.drop > limit * self.error or self.light_drop > limit * self.light_error
        # A curve that rises from its first step on is lower there than the median of its first losses.
        fall = float(np.max(self.smooth[: self.low + 1]) - self.smooth[self.low])
        return clear and self.drop > resolution and fall > self.drop / 2


def read_curve(lrs: Sequence[float], losses: Sequence[float], *, planned: int, cycle: int = 1) -> Curve | None:
    """Cut, cap and smooth a sweep; None if fewer than ``MIN_POINTS`` finite losses are left.

    Args:
        lrs: LRs visited, increasing.
        losses: The loss before the step at each LR.
        planned: Steps in the whole ladder.
        cycle: Period of the cycled batches.

    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> curve.stopped, f"{lrs[curve.low]:.2g}"
    ('range', '0.13')
    """
    stop = stop_index(losses, planned=planned)
    n = len(losses) if stop is None else stop
    if n < MIN_POINTS:
        return None
    stopped = "range" if stop is None else "diverged" if math.isfinite(losses[stop]) else "non_finite"
    y = np.asarray(losses, dtype=np.float64)[:n]
    # From the losses that count alone: what a driver measured beyond the stop must not move the last digit.
    x = np.log(np.asarray(lrs, dtype=np.float64)[:n])
    return prepare(x, y, stopped, float(x[-1] - x[0]) / (n - 1), planned, cycle)


def prepare(x: Array, raw: Array, stopped: str, spacing: float, planned: int, cycle: int) -> Curve:
    """The second half of :func:`read_curve`: from losses that are all finite on."""
    y = despike(raw)
    head = max(min(head_length(planned), len(y) // 2), min(cycle, len(y) // 2))
    start = start_loss(y, head, cycle)
    falls = second_falls(y, start, max(cycle, _run(planned)))
    if not falls:
        return _prepared((x, y, raw), start, head, stopped, spacing, planned, cycle)
    # The curve beyond a second fall says nothing: where no first fall is clear, there is no descent.
    for again in falls:
        cut = (x[: again.fall], y[: again.fall], raw[: again.fall])
        curve = _prepared(cut, start, head, "diverged", spacing, planned, cycle)
        if curve.descends:
            break
    return replace(curve, second_fall=(float(x[again.valley]), float(x[again.fall])))


def _prepared(
    columns: tuple[Array, Array, Array], start: float, head: int, stopped: str, spacing: float, planned: int, cycle: int
) -> Curve:
    x, y, raw = columns
    light = max(1.5, LIGHT_SHARE * planned)
    clear = SIGNIFICANCE * math.sqrt(2) * noise_level(y[: 3 * head], cycle) / math.sqrt(_points(light))
    cut = explosion(x, y, start, light * spacing, _run(planned), clear, cycle)
    if cut is not None:
        x, y, raw, stopped = x[:cut], y[:cut], raw[:cut], "diverged"
    sigma = max(1.0, SMOOTHING_SHARE * planned) * spacing
    calm = smooth(x, np.minimum(y, start), sigma)
    cap = start + CAP_SHARE * max(start - float(calm.min()), 0.0)
    smoothed = smooth(*_goes_on(x, y, cap, sigma, spacing, stopped), sigma)[: len(x)]
    low = int(np.argmin(smoothed))
    noise = noise_level(y[: max(low + 1, 2 * head)], cycle)  # beyond the minimum losses jump for another reason
    return Curve(
        x=x,
        raw=raw,
        smooth=smoothed,
        start=start,
        low=low,
        noise=noise,
        error=noise / math.sqrt(_points(sigma / spacing)),
        stopped=stopped,
        sigma=sigma,
        planned=planned,
        cycle=cycle,
        light_drop=start - float(smooth(x, np.minimum(y, cap), light * spacing).min()),
        light_error=noise / math.sqrt(_points(light)),
    )


def start_loss(y: Array, head: int, cycle: int) -> float:
    """The loss at the flat beginning: the mean over whole cycles of batches, without cycles the median.

    The median batch is not the mean one: with few uneven batches all of a flat curve would lie below or above it.

    Args:
        y: Losses, without spikes.
        head: How many of them stand for the beginning.
        cycle: Period of the cycled batches.

    >>> start_loss(np.array([1.0, 1.0, 4.0] * 4), 7, 3), start_loss(np.array([1.0, 1.0, 4.0] * 4), 7, 1)
    (2.0, 1.0)
    """
    whole = head // cycle * cycle
    return float(np.mean(y[:whole])) if cycle > 1 and whole else float(np.median(y[:head]))


def _run(planned: int) -> int:
    """How many losses in a row are no spike."""
    return max(STOP_RUN, planned // 20)


def _points(sigma: float) -> float:
    """Effective number of points under a Gaussian of ``sigma`` steps."""
    return max(1.0, 2 * math.sqrt(math.pi) * sigma)


def _goes_on(x: Array, y: Array, cap: float, sigma: float, spacing: float, stopped: str) -> tuple[Array, Array]:
    """Cap the losses, and let an explosion go on beyond its stop: else the last minimum would look open."""
    y = np.minimum(y, cap)
    if stopped == "range":
        return x, y
    tail = np.arange(1, math.ceil(3 * sigma / spacing - 1e-6) + 1) * spacing
    return np.concatenate([x, x[-1] + tail]), np.concatenate([y, np.full(len(tail), cap)])
