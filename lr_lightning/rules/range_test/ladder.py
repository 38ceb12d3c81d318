"""Learning-rate ladders: the LRs that a range test visits, in order."""

import itertools
import math
import random
from typing import Literal

from lr_lightning.rules.checks import MOST_STEPS, check_choice, check_count, check_range

Spacing = Literal["exponential", "linear"]
SPACINGS: tuple[str, ...] = ("exponential", "linear")


def ladder(min_lr: float, max_lr: float, num_steps: int, spacing: str = "exponential") -> tuple[float, ...]:
    """LRs from ``min_lr`` to ``max_lr``, both exact, in ``num_steps`` even steps.

    Exponential: ``lr_i = min_lr * (max_lr / min_lr) ** (i / (num_steps - 1))``, even in log LR
    (Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3, on a log axis as in fast.ai).
    Linear: ``lr_i = min_lr + (max_lr - min_lr) * i / (num_steps - 1)``, as in the paper.

    Args:
        min_lr: First LR.
        max_lr: Last LR.
        num_steps: How many LRs, at least 2.
        spacing: ``"exponential"`` or ``"linear"``.

    Returns:
        ``num_steps`` strictly increasing LRs.

    Raises:
        ValueError: If the range is empty, ``num_steps < 2`` or ``spacing`` is unknown.

    >>> [round(lr, 9) for lr in ladder(1e-3, 1.0, 4)]
    [0.001, 0.01, 0.1, 1.0]
    """
    check_range(min_lr, max_lr)
    check_count("num_steps", num_steps, 2, MOST_STEPS)
    check_choice("spacing", spacing, SPACINGS)
    last = num_steps - 1
    if spacing == "linear":
        inner = [min_lr + (max_lr - min_lr) * i / last for i in range(1, last)]
    else:
        low, high = math.log(min_lr), math.log(max_lr)
        inner = [math.exp(low + (high - low) * i / last) for i in range(1, last)]
    lrs = (float(min_lr), *inner, float(max_lr))
    if any(low >= high for low, high in itertools.pairwise(lrs)):
        raise ValueError(f"min_lr={min_lr!r} and max_lr={max_lr!r} are too near for {num_steps} different LRs between")
    return lrs


def log_uniform(min_lr: float, max_lr: float, count: int, seed: int) -> tuple[float, ...]:
    """Random LRs, uniform in log LR.

    (Bergstra & Bengio, "Random Search for Hyper-Parameter Optimization", 2012.)

    Args:
        min_lr: Lower end of the range.
        max_lr: Upper end of the range.
        count: How many LRs, at least 1.
        seed: The same seed gives the same LRs.

    Returns:
        LRs in the order in which they were drawn.

    Raises:
        ValueError: If the range is empty or ``count < 1``.

    >>> all(1e-4 <= lr <= 1 for lr in log_uniform(1e-4, 1.0, 5, seed=0))
    True
    """
    draw = random.Random(seed)
    return tuple(_at(min_lr, max_lr, [draw.random() for _ in range(check_count("count", count, 1))]))


def _at(min_lr: float, max_lr: float, fractions: list[float]) -> list[float]:
    """LRs at fractions (0 to 1) of the range in log LR, kept inside of it against rounding."""
    check_range(min_lr, max_lr)
    low, high = math.log(min_lr), math.log(max_lr)
    return [min(max(math.exp(low + (high - low) * f), min_lr), max_lr) for f in fractions]
