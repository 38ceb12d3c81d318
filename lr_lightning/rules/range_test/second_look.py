"""When a sweep is taken again, slower: it showed no descent."""

from lr_lightning.rules.range_test.curve import stop_index
from lr_lightning.rules.range_test.result import RangeTestResult

SECOND_LOOK = 3
"""A sweep that shows no descent is taken again with so many times its steps: three times as many found one on each of
the benchmark's tasks (``recipes/benchmarks/handsoff``) where a first one didn't."""


def is_open(result: RangeTestResult) -> bool:
    """Whether a slower sweep may show what this one doesn't.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> lrs = [10 ** (i / 10 - 5) for i in range(51)]
    >>> is_open(analyze(lrs, [2 + (i % 2) / 9 for i in range(51)])), is_open(analyze(lrs, [2.0] * 51))
    (True, False)
    """
    if result.suggestion is not None or result.status == "too_few_points" or not result.smoothed:
        return False
    # Where no loss differs from another, the LR has no effect; where the driver stopped, it could go no further.
    ended = result.coverage.share == 1 or stop_index(result.losses, planned=result.num_steps) is not None
    return ended and len(set(result.losses)) > 1
