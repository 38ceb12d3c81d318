"""What a plateau factor makes of one LR: not below its floor, and nothing where the change would be too small."""

from __future__ import annotations

from lr_lightning.rules.checks import check_number

OF_TORCH = 1e-8
"""ReduceLROnPlateau's ``eps``."""


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
