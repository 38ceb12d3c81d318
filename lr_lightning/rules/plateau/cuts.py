"""Cuts: what one makes of an LR, and how many the endgame of a planned run asks for, to reach low LRs by its end."""

from __future__ import annotations

import math

from lr_lightning.rules.checks import check_number

OF_TORCH = 1e-8
"""ReduceLROnPlateau's ``eps``."""

FLOOR = 1e-3
"""The lowest LR that it asks for, over the highest. A choice: a cosine with 225 observations ends lower still."""
AHEAD = 2.0
"""Power of the curve that plateaus' cuts may not run ahead of: that schedule ends close to cosine's loss (measured)."""


def due_cuts(share_done: float, step: float, factor: float) -> int:
    """How many cuts by ``factor`` the endgame asks for, in all, at a point of it.

    The LR follows half a cosine down to a thousandth, in steps: constant LR with a cool-down does as well as a cosine
    from the start (Hägele et al., arXiv 2405.18392), and this one keeps high LRs long enough for a short run, and low
    ones long enough for a noisy one (measured). Where observations are rare, the LR that is set lasts until the next
    one, so it is the one of the middle of that time: with 25 observations a run, a cosine in such steps ends where the
    smooth one does (measured: a ratio of .996).

    Args:
        share_done: u, the share of the endgame that is over.
        step: Share of the endgame from one observation to the next.
        factor: Multiplier of a cut, below 1.

    >>> [due_cuts(u, 0.0, 0.5) for u in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)]
    [0, 0, 1, 3, 5, 10]
    """
    middle = min(1.0, share_done + 0.5 * min(step, 0.5))
    wanted = math.log(max(FLOOR, 0.5 * (1.0 + math.cos(math.pi * middle)))) / math.log(factor)
    return max(0, math.floor(wanted + 0.5 + 1e-9))


def most_cuts(done: float, factor: float) -> int:
    """How many cuts plateaus may have made at a point of a run that ends with an endgame.

    At most half a cut more than ``(1 - done) ** 2`` asks for: that schedule ends close to cosine's loss, so even cuts
    that are all false lose little. By half there is none before a sixth of the run.

    Args:
        done: Share of the run that is over.
        factor: Multiplier of a cut, below 1.

    >>> [most_cuts(u, 0.5) for u in (0.15, 0.16, 0.5, 0.7, 0.9)]
    [0, 1, 2, 3, 7]
    """
    left = max(1.0 - done, FLOOR)
    return math.floor(0.5 + AHEAD * math.log(left) / math.log(factor))


def least_change(rule: str, eps: float | None = None) -> float:
    """The change of an LR that is too small to be made: ``eps``; by default torch's for the patience rule, else none.

    Raises:
        ValueError: If ``eps`` is negative or no number.

    >>> least_change("patience"), least_change("trend"), least_change("trend", 1e-6)
    (1e-08, 0.0, 1e-06)
    """
    if eps is not None:
        return check_number("eps", eps, 0.0)
    return OF_TORCH if rule == "patience" else 0.0


def changed_lr(lr: float, factor: float, floor: float = 0.0, eps: float = 0.0) -> tuple[float, float]:
    """The new LR, to the bit as torch's ReduceLROnPlateau has it, and what the LR was multiplied by.

    Args:
        lr: The LR.
        factor: Its multiplier.
        floor: Below this it isn't lowered.
        eps: If it would change by no more than this, it stays.

    >>> changed_lr(0.1, 0.5), changed_lr(0.1, 0.5, floor=0.08)[0], changed_lr(1.5e-8, 0.5, eps=1e-8)
    ((0.05, 0.5), 0.08, (1.5e-08, 1.0))
    """
    new = lr * factor
    if factor < 1.0 and lr > 0:
        new = min(lr, max(new, floor))
    if eps > 0 and abs(lr - new) <= eps:
        return lr, 1.0
    return new, factor if new == lr * factor else new / lr
