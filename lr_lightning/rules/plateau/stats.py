"""What block means tell: trend, spread, the correlation of their noise, the gain that going on would bring."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

Block = tuple[float, int, float]
"""Mean, number of observations, position of the newest."""

Swings = tuple[float, float, float, float]
"""Running sums over neighbouring differences of block means: of them, squares, products of two in a row, weights."""

STILL: Swings = (0.0, 0.0, 0.0, 0.0)
_MEMORY = 0.98  # some fifty differences: those of an earlier LR fade; a choice
_PRIOR = 6.0  # so many differences of uncorrelated noise are believed in beforehand; a choice
_MOST = 0.95  # correlation that is believed: beyond it a window would never be long enough; a choice
_ENOUGH = 25.0  # differences from which correlation is told: 40 series each of white and AR(1) noise, test_trend.py
_POOLED = 16  # means that all pairs are compared of, in place of more: the plateau rule's cost; a choice


def halve(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """Merge neighbours: half as many blocks, twice as wide; their number must be even."""
    merged = []
    for (m1, n1, _), (m2, n2, at) in zip(blocks[::2], blocks[1::2], strict=True):
        merged.append(((m1 * n1 + m2 * n2) / (n1 + n2), n1 + n2, at))
    return tuple(merged)


def newest(blocks: Sequence[Block], begin: float, positions: float, least: int) -> Sequence[Block] | None:
    """The fewest newest blocks that cover ``positions`` and hold ``least`` observations; ``None`` if all do not."""
    if not blocks:
        return None
    end, count = blocks[-1][2], 0
    for i in range(len(blocks) - 1, -1, -1):
        count += blocks[i][1]
        start = blocks[i - 1][2] if i else begin
        if count >= least and end - start >= positions * (1 - 1e-9):
            return blocks[i:]
    return None


def means_of(blocks: Sequence[Block]) -> list[float]:
    """Their means, pooled to 16 runs where there are many: a test of all pairs costs the same at any cadence."""
    values = [block[0] for block in blocks]
    return values if len(values) <= 20 else pool(values, _POOLED)


def pool(values: Sequence[float], parts: int) -> list[float]:
    """Means of ``parts`` nearly equal runs of values."""
    n = len(values)
    edges = [round(i * n / parts) for i in range(parts + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges) if b > a]


def mann_kendall(values: Sequence[float]) -> tuple[int, float]:
    """Mann-Kendall's S, and the one-sided p-value of a downward trend (small: it goes down; independent noise).

    S is the number of pairs that rise less those that fall (Mann, Econometrica 13, 1945).

    >>> mann_kendall([4.0, 3.0, 2.0, 1.0])[0]
    -6
    """
    n = len(values)
    s = 0
    for i in range(n - 1):
        a = values[i]
        for b in values[i + 1 :]:
            s += (b > a) - (b < a)
    if n < 2 or s == 0:
        return s, 0.5
    sd = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    z = (s + 1 if s < 0 else s - 1) / sd
    return s, 0.5 * math.erfc(-z / math.sqrt(2))


def residuals(values: Sequence[float]) -> list[float]:
    """What is left of the values around the straight line through them (least squares)."""
    n = len(values)
    if n < 2:
        return [0.0] * n
    mid, mean = (n - 1) / 2, sum(values) / n
    slope = sum((i - mid) * (v - mean) for i, v in enumerate(values)) / (n * (n * n - 1) / 12)
    return [v - mean - slope * (i - mid) for i, v in enumerate(values)]


def spread(values: Sequence[float]) -> float:
    """Standard deviation around the straight line through the values."""
    if len(values) < 3:
        return 0.0
    return math.sqrt(sum(x * x for x in residuals(values)) / (len(values) - 2))


def change_error(blocks: Sequence[Block]) -> float:
    """Standard error of the change along the line through blocks, of independent noise.

    >>> change_error([(float(i), 1, float(i)) for i in range(8)])
    0.0
    """
    means = means_of(blocks)
    return spread(means) * math.sqrt(12 / len(means))


def fall(values: Sequence[float]) -> float:
    """By how much the values fall from the first to the last, by the medians of their first and last thirds.

    >>> fall([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    5.0
    """
    n = len(values)
    third = max(1, n // 3)
    first, last = sorted(values[:third]), sorted(values[n - third :])
    middle, other = third // 2, (third - 1) // 2
    drop = (first[middle] + first[other] - last[middle] - last[other]) / 2
    return drop * (n - 1) / max(1, n - third)


def rise(values: Sequence[float]) -> float:
    """By how many standard deviations around their line the values rise from the first to the last, at most 99.

    >>> rise([1.0, 2.0, 3.0]), rise([3.0, 2.0, 1.0])
    (99.0, 0.0)
    """
    up, noise = max(0.0, -fall(values)), spread(values)
    return min(99.0, up / noise) if noise > 0 else 99.0 * (up > 0)


def lag_one(values: Sequence[float]) -> float:
    """Lag-1 correlation of the residuals around a line, corrected for the bias of short series; 0 if undefined."""
    rest = residuals(values)
    power = sum(x * x for x in rest)
    n = len(rest)
    if n < 5 or power <= 0:
        return 0.0
    raw = sum(a * b for a, b in pairwise(rest)) / power
    # A line takes two degrees of freedom: white noise shows about -2/n; AR(1) is shrunk by about (1 - 4/n).
    return max(-1.0, min(1.0, (raw + 2.0 / n) / max(1.0 - 4.0 / n, 0.2)))


def swing(swings: Swings, blocks: Sequence[Block], mean: float) -> Swings:
    """Take in the block mean that follows ``blocks``.

    >>> swing(STILL, [(3.0, 1, 1.0), (2.0, 1, 2.0)], 2.5)
    (-0.25, 0.625, -0.5, 1.0)
    """
    if len(blocks) < 2:
        return swings
    now, before = mean - blocks[-1][0], blocks[-1][0] - blocks[-2][0]
    total, squares, products, weight = swings
    return (
        _MEMORY * total + 0.5 * (now + before),
        _MEMORY * squares + 0.5 * (now * now + before * before),
        _MEMORY * products + now * before,
        _MEMORY * weight + 1.0,
    )


def swings_of(blocks: Sequence[Block]) -> Swings:
    """The sums over all of ``blocks``.

    >>> swings_of([(3.0, 1, 1.0), (2.0, 1, 2.0), (2.5, 1, 3.0)])
    (-0.25, 0.625, -0.5, 1.0)
    """
    swings = STILL
    for i in range(2, len(blocks)):
        swings = swing(swings, blocks[i - 2 : i], blocks[i][0])
    return swings


def correlation(swings: Swings) -> float:
    """Lag-1 correlation of the noise, 0 to .95, from neighbouring differences less their mean: trends don't count.

    The differences of AR(1) noise have the lag-1 correlation -(1 - rho) / 2. Drawn towards 0 while there are few.

    >>> correlation((0.0, 2.0, -1.0, 94.0))
    0.0
    >>> round(correlation((0.0, 2.0, -0.2, 94.0)), 3)
    0.752
    """
    total, squares, products, weight = swings
    trend = total * total / weight if weight else 0.0
    if squares - trend <= 1e-9 * squares:
        return 0.0
    raw = 1.0 + 2.0 * (products - trend) / (squares - trend)
    return min(_MOST, max(0.0, raw * weight / (weight + _PRIOR)))


def lasting(swings: Swings, stage: Sequence[Block], window: Sequence[Block]) -> float:
    """Correlation that is there in the long run, in the stage and in the newest window alike; 0 while little is known.

    To be told, so a false one is worse than a late one: each alone is misled, by a steep fall long ago or by chance.

    >>> lasting((0.0, 2.0, -0.2, 94.0), [], [(float(i % 2), 1, float(i)) for i in range(30)])
    0.0
    """
    long_run = correlation(swings) if swings[3] >= _ENOUGH else 0.0
    return min(long_run, _tamed(stage), _tamed(window)) if long_run else 0.0


def _tamed(blocks: Sequence[Block]) -> float:
    """The correlation where a difference counts for at most four times their median size: no fall dominates."""
    if len(blocks) < 3:
        return 0.0
    steps = [new[0] - old[0] for old, new in pairwise(blocks)]
    most = 4.0 * _median([abs(step) for step in steps])
    levels = accumulate((max(-most, min(most, step)) for step in steps), initial=0.0)
    return correlation(swings_of([(level, 1, 0.0) for level in levels]))


def inflation(rho: float) -> float:
    """By how much AR(1) noise widens the standard error of a mean: sqrt((1 + rho) / (1 - rho)).

    >>> inflation(0.6)
    2.0
    """
    return float(((1.0 + rho) / (1.0 - rho)) ** 0.5)


def promise(blocks: Sequence[Block], begin: float) -> float:
    """C / t of a decay A + C / t that gained what this stage gained from about a quarter to half of its time.

    No power law t ** -b with b up to 1 gains less from there on, so it is the least that going on would bring. Medians:
    a spike makes no promise.

    Args:
        blocks: The stage, oldest first.
        begin: Position where it begins.

    >>> decay = [(1 + 1 / t, 1, t) for t in range(1, 101)]
    >>> round(promise(decay, 0.0), 2)  # 1 / t, with t in hundredths of the stage
    0.01
    """
    time = blocks[-1][2] - begin
    a, b, c = (bisect_right(blocks, begin + share * time, key=_position) for share in (0.1, 0.4, 0.7))
    early, late = [block[0] for block in blocks[a:b]], [block[0] for block in blocks[b:c]]
    if len(early) < 3 or len(late) < 3:
        return 0.0
    return (_median(early) - _median(late)) / (1 / 0.25 - 1 / 0.55)


def gain(promised: float, share: float) -> float:
    """What that decay gains over the last ``share`` of its time.

    >>> gain(1.0, 0.5)
    1.0
    """
    share = min(share, 0.9)
    return promised * share / (1.0 - share)


def _position(block: Block) -> float:
    return block[2]


def _median(values: Sequence[float]) -> float:
    ordered, n = sorted(values), len(values)
    return (ordered[n // 2] + ordered[(n - 1) // 2]) / 2
