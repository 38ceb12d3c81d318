"""Small statistics of the trend rule: pure functions of short sequences of block means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Block = tuple[float, int, float]
"""Mean, number of observations, position of the newest."""

_POOLED = 16


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


def jumped(blocks: Sequence[Block]) -> bool:
    """Whether the newest 3 blocks stand together well above all others: a level shift, not a slow rise."""
    if len(blocks) < 8:
        return False
    new = [block[0] for block in blocks[-3:]]
    old = [block[0] for block in blocks[:-3]]
    gap = min(new) - max(old)
    return gap > 0 and gap > 3 * (max(new) - min(new)) and gap > 6 * spread(old[-8:])
