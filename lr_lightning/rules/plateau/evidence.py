"""How much a window of block means can tell: the gain that going on would bring, and correlated noise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from lr_lightning.rules.plateau.stats import Block

Swings = tuple[float, float, float, float]
"""Running sums over neighbouring differences of block means: of them, squares, products of two in a row, weights."""

STILL: Swings = (0.0, 0.0, 0.0, 0.0)
_MEMORY = 0.98  # some fifty differences: those of an earlier LR fade
_PRIOR = 6.0  # so many differences of uncorrelated noise are believed in beforehand
_MOST = 0.95
_ENOUGH = 25.0


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
