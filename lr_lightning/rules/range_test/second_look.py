"""When a sweep is taken again, slower: it showed no descent, or one so small that no plateau was left."""

from lr_lightning.rules.range_test.curve import stop_index
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.shallow import is_shallow

SECOND_LOOK = 3
"""A sweep that shows no descent is taken again with so many times its steps: three times as many found one on each of
the benchmark's tasks (``recipes/benchmarks/handsoff``) where a first one didn't."""


def why_again(result: RangeTestResult, adaptive: bool, left: int) -> str:
    """Why a sweep is to be taken again, in words; empty if it isn't.

    Where the loss falls by some percent alone, a network under Adam has learnt little more than its output's bias: on
    a vision transformer and an MLP (three seeds) a sweep of three times the steps saw three to nine times the descent,
    and its LR cost a factor of 1.08 in final loss at 600 steps, the first one's 1.48. Under SGD it reads too high an
    LR: there the distance to the explosion counts (:mod:`~lr_lightning.rules.range_test.shallow`).

    Args:
        result: Of the sweep.
        adaptive: Whether the optimizer divides gradients by their size, as Adam does.
        left: Steps that the budget allows for; a sweep without a descent is taken again in any case.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (i / 10 - 5) for i in range(51)]
    >>> result = analyze(lrs, [2 - 0.08 / (1 + (0.01 / lr) ** 3) + lr**2 for lr in lrs])
    >>> why_again(result, adaptive=True, left=153), why_again(result, adaptive=True, left=152)
    ('a sweep of 51 steps fell by 3.5 % alone, as on a plateau', '')
    """
    if _is_open(result):
        return f"a sweep of {result.num_steps} steps showed no descent"
    if not adaptive or not is_shallow(result) or left < SECOND_LOOK * result.num_steps:
        return ""
    fall = 1 - min(result.smoothed) / result.smoothed[0]
    return f"a sweep of {result.num_steps} steps fell by {abs(100 * fall):.1f} % alone, as on a plateau"


def _is_open(result: RangeTestResult) -> bool:
    """Whether a slower sweep may show what this one doesn't."""
    if result.suggestion is not None or result.status == "too_few_points" or not result.smoothed:
        return False
    # Where no loss differs from another, the LR has no effect; where the driver stopped, it could go no further.
    ended = result.coverage.share == 1 or stop_index(result.losses, planned=result.num_steps) is not None
    return ended and len(set(result.losses)) > 1
