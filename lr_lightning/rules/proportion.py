"""How an LR follows another one that it is a multiple or a share of, to the last bit of a user's own arithmetic.

``lr * 0.1``, ``lr / 25`` and ``lr * (1 / 3)`` round once each. Taking the ratio of two LRs first and multiplying by it
rounds twice, which shows in the last bit of every third LR, and from there in the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

Way = Callable[[float, float], Callable[[float], float]]
"""(share, whole) -> how the share may have come from the whole, as a function of the whole."""

_DIGITS = 9
"""Digits of a ratio that somebody wrote down; from 16 on every ratio would look like one."""
_MOST_PARTS = 10_000
"""Greatest denominator of a ratio such as 1/3 or 1/500 (a warm-up's first step): their distances are 1e-8, so that no
other float within an ulp of one is taken for it."""


def multiple(share: float, whole: float) -> Callable[[float], float]:
    """The share as the whole times a short decimal.

    >>> multiple(0.03, 0.1)(0.2)
    0.06
    """
    times = float(f"{share / whole:.{_DIGITS}g}")
    return lambda lr: lr * times


def quotient(share: float, whole: float) -> Callable[[float], float]:
    """The share as the whole over a short decimal.

    >>> quotient(0.004, 0.1)(0.2)
    0.008
    """
    over = float(f"{whole / share:.{_DIGITS}g}")
    return lambda lr: lr / over


def part(share: float, whole: float) -> Callable[[float], float]:
    """The share as the whole times a fraction of whole numbers.

    >>> part(0.1 * (1 / 3), 0.1)(0.3) == 0.3 * (1 / 3)
    True
    """
    fraction = float(Fraction(share / whole).limit_denominator(_MOST_PARTS))
    return lambda lr: lr * fraction


BY_USERS: Sequence[Way] = (multiple, quotient, part)
"""The order in which people write ratios; where two of them explain an LR, nothing in it tells which was meant."""
BY_FACTORS: Sequence[Way] = (multiple, part, quotient)
"""torch's schedulers multiply the initial LR by their first factor."""
BY_DIVISORS: Sequence[Way] = (quotient, multiple, part)
"""OneCycleLR divides: by ``div_factor``, and that again by ``final_div_factor``."""


def proportional(share: float, new: float, old: float, ways: Sequence[Way] = BY_USERS) -> float:
    """``new * share / old``, to the bit as the first way that explains ``share`` gives it.

    A ratio that no way explains is taken exactly and rounded once.

    Args:
        share: An LR.
        new: The LR that takes the place of ``old``.
        old: The LR, not 0, that ``share`` was set in proportion to.
        ways: How it may have been, the most likely first.

    >>> proportional(1.0, 0.2, 0.1), proportional(0.1 / 25, 0.2, 0.1, BY_DIVISORS) == 0.2 / 25
    (2.0, True)
    """
    if share == 0:
        return share
    for way in ways:
        follow = way(share, old)
        if follow(old) == share:
            return follow(new)
    return float(Fraction(new) * Fraction(share) / Fraction(old))
