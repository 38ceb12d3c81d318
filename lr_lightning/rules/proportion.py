"""How an LR follows another one that it is a multiple or a share of, to the last bit of a user's own arithmetic.

``lr * 0.1``, ``lr / 25`` and ``lr * (1 / 3)`` round once each. Taking the ratio of two LRs first and multiplying by it
rounds twice, which shows in the last bit of every third LR, and from there in the weights.

LRs may be held coarser than Python's floats: a tensor of 32 bits has some 7 digits of the LR that was written. ``eps``
is the relative distance of such numbers; a ratio is then recognized by fewer digits, and within that distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import isqrt, log10
from typing import Any

Way = Callable[[float, float, float], Callable[[Any], Any]]
"""(share, whole, eps) -> how the share may have come from the whole, as a function of the whole."""

_DIGITS = 9
"""Digits of a ratio that somebody wrote down; from 16 on every ratio would look like one."""
_MOST_PARTS = 10_000
"""Greatest denominator of a ratio such as 1/3 or 1/500 (a warm-up's first step): their distances are 1e-8, so that no
other float within an ulp of one is taken for it."""


def _written(ratio: float, eps: float) -> float:
    """The short decimal next to a ratio: one digit less than is held, or 1/11 would look like .0909091."""
    digits = min(_DIGITS, max(1, int(-log10(eps)) - 1)) if eps else _DIGITS
    return float(f"{ratio:.{digits}g}")


def multiple(share: float, whole: float, eps: float = 0.0) -> Callable[[Any], Any]:
    """The share as the whole times a short decimal.

    >>> multiple(0.03, 0.1)(0.2)
    0.06
    """
    times = _written(share / whole, eps)
    return lambda lr: lr * times


def quotient(share: float, whole: float, eps: float = 0.0) -> Callable[[Any], Any]:
    """The share as the whole over a short decimal.

    >>> quotient(0.004, 0.1)(0.2)
    0.008
    """
    over = _written(whole / share, eps)
    return lambda lr: lr / over


def part(share: float, whole: float, eps: float = 0.0) -> Callable[[Any], Any]:
    """The share as the whole times a fraction of whole numbers.

    >>> part(0.1 * (1 / 3), 0.1)(0.3) == 0.3 * (1 / 3)
    True
    """
    # Fractions of denominators up to n are 1/n² apart, which is to be a multiple of eps.
    most = min(_MOST_PARTS, max(1, isqrt(int(1 / (8 * eps))))) if eps else _MOST_PARTS
    fraction = float(Fraction(share / whole).limit_denominator(most))
    return lambda lr: lr * fraction


BY_USERS: Sequence[Way] = (multiple, quotient, part)
"""The order in which people write ratios; where two of them explain an LR, nothing in it tells which was meant."""
BY_FACTORS: Sequence[Way] = (multiple, part, quotient)
"""torch's schedulers multiply the initial LR by their first factor."""
BY_DIVISORS: Sequence[Way] = (quotient, multiple, part)
"""OneCycleLR divides: by ``div_factor``, and that again by ``final_div_factor``."""


def proportional(share: Any, new: Any, old: Any, ways: Sequence[Way] = BY_USERS, eps: float = 0.0) -> Any:
    """``new * share / old``, to the bit as the first way that explains ``share`` gives it.

    A ratio that no way explains is taken exactly and rounded once.

    Args:
        share: An LR; a float, or a tensor of one element, whose own arithmetic is followed then.
        new: The LR that takes the place of ``old``, of the same kind.
        old: The LR, not 0, that ``share`` was set in proportion to, of the same kind.
        ways: How it may have been, the most likely first.
        eps: Relative distance of the numbers that ``share`` and ``old`` are rounded to; 0: they are as written.

    >>> proportional(1.0, 0.2, 0.1), proportional(0.1 / 25, 0.2, 0.1, BY_DIVISORS) == 0.2 / 25
    (2.0, True)
    >>> proportional(0.009999999776482582, 0.3, 0.0010000000474974513, eps=2.0**-23)  # .01 and .001 in 32 bits
    3.0
    """
    if share == 0:
        return share
    for way in ways:
        follow = way(float(share), float(old), eps)
        if abs(follow(old) - share) <= eps * abs(share):
            return follow(new)
    return float(Fraction(float(new)) * Fraction(float(share)) / Fraction(float(old)))
