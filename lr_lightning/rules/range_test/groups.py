"""Ratios between param groups, from one sweep of each group alone: ``rule={"groups": "search"}``.

A sweep has one multiplier for all groups, so the group whose LR is too high for its weights ends it, and the others
train too slowly: a pretrained backbone beside a new head, matrices under Muon beside the rest under AdamW. So each
group is swept alone first, with the others' LRs at 0, and read as any sweep is. From these readings come the ratios,
with which the range test then sweeps all groups together: where they started doesn't matter.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from lr_lightning.rules.range_test.curve import stop_index
from lr_lightning.rules.range_test.result import RangeTestResult

WEIGHT = {True: 0.5, False: 1.0}
"""How far from one LR for all groups to the readings' ratios the answer lies, in log LR, for optimizers that divide
gradients by their size and for others. SGD's steps grow with the gradients, so groups differ; Adam's and Muon's don't,
and one LR is a good guess there. On 20 set-ups (``recipes/benchmarks/groups.py`` and 14 more, 300 steps, the better of
all scales at that ratio, over a grid's best): SGD with 0, .5 and 1 1.22, 1.21 and 1.16; Adam, AdamW, RMSprop and Muon
1.08, 1.11 and 1.32 (sweeps of 60 steps 1.07 with .5); a ratio 10 times off costs 1.33, 100 times off 1.88."""

Answer = TypeVar("Answer")

LEAST_GROUPS = 2
"""A ratio takes two."""


@dataclass(frozen=True)
class Ratios:
    """What sweeps of one group at a time say.

    Attributes:
        factors: What the ratio of each group's LR to the first one's is to be multiplied by, over all optimizers in
            order; empty: nothing was found, the ratios stay.
        steps: Optimizer steps that they took.
        words: What was found, or why nothing was.

    >>> Ratios().factors
    ()
    """

    factors: tuple[float, ...] = ()
    steps: int = 0
    words: str = ""


def alone(lrs: Sequence[float]) -> dict[int, tuple[float, ...]]:
    """By group, factors on the groups' LRs for a sweep of it alone over the ladder's LRs; one whose LR is 0 is none.

    >>> alone((0.1, 0.0, 0.2))
    {0: (1.0, 0.0, 0.0), 2: (0.0, 0.0, 0.5)}
    """
    moving = [group for group, lr in enumerate(lrs) if lr > 0]
    return {group: tuple(lrs[moving[0]] / lr if i == group else 0.0 for i, lr in enumerate(lrs)) for group in moving}


def conclude(lrs: Sequence[float], results: Sequence[RangeTestResult], adaptive: bool) -> Ratios:
    """The ratios that sweeps of one group at a time speak for.

    A group that shows no descent alone counts as far below its explosion as the others; without an explosion it keeps
    its ratio to the others' mean. Where the loss falls twice, units die, and a reading tells next to nothing of how
    high a group may go.

    Args:
        lrs: The groups' LRs at the start.
        results: Readings of the sweeps that :func:`alone` asks for.
        adaptive: Whether an optimizer divides gradients by their size, as Adam does.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> ladder = [10 ** (-5 + i / 10) for i in range(51)]
    >>> falls = lambda at: [2 - 1.5 / (1 + math.exp(-8 * math.log10(x / at))) + (x / at) ** 2 / 1e5 for x in ladder]
    >>> found = conclude((0.1, 0.1), [analyze(ladder, falls(at)) for at in (1e-2, 1e-3)], adaptive=False)
    >>> [round(factor, 2) for factor in found.factors]
    [1.0, 0.1]
    """
    steps = sum(result.steps for result in results)
    moving = [group for group, lr in enumerate(lrs) if lr > 0]
    if any(result.second_fall is not None for result in results):
        return Ratios((), steps, "no ratios between groups were found: units die within the sweep of one alone")
    known = dict(zip(moving, _levels(results), strict=True))
    # By how much each group's LR changes, up to what is the same for all of them.
    logs = {
        group: WEIGHT[adaptive] * level - math.log(lrs[group]) for group, level in known.items() if level is not None
    }
    if len(logs) < LEAST_GROUPS:
        return Ratios((), steps, "no ratios between groups were found: the loss is that of fewer than two of them")
    mean = sum(logs.values()) / len(logs)
    base = logs.get(moving[0], mean)
    factors = tuple(math.exp(logs.get(group, mean) - base) for group in range(len(lrs)))
    own = ", ".join(f"{lrs[group] * factor / lrs[moving[0]]:.2g}" for group, factor in enumerate(factors))
    words = f"{len(results)} sweeps of one group alone ({steps} steps) chose the groups' ratios to the first: {own}"
    if len(logs) < len(moving):
        words += " (those that alone neither lower the loss nor raise it keep theirs)"
    return Ratios(factors, steps, words)


def _levels(results: Sequence[RangeTestResult]) -> list[float | None]:
    """Log LR of each reading; of a group without one as far below its explosion as the others' are below theirs."""
    readings = [math.log(result.schedules["decay"]) if result.ok else None for result in results]
    ends = [stop_index(result.losses, planned=result.num_steps) for result in results]
    edges = [None if end is None else math.log(result.lrs[end]) for end, result in zip(ends, results, strict=True)]
    below = [edge - lr for edge, lr in zip(edges, readings, strict=True) if edge is not None and lr is not None]
    usual = sum(below) / len(below) if below else 0.0
    apart = [None if edge is None else edge - usual for edge in edges]
    return [lr if lr is not None else guess for lr, guess in zip(readings, apart, strict=True)]


def under(
    asks: Generator[Any, Sequence[float], Answer], factors: tuple[float, ...]
) -> Generator[Any, Sequence[float], Answer]:
    """The same requests and the same answer, with these factors on the groups' LRs.

    Args:
        asks: Requests for steps (:class:`~lr_lightning.rules.range_test.protocol.Steps`), which is sent losses.
        factors: One a group; empty: none.

    >>> from lr_lightning.rules.range_test.protocol import SweepSettings, Training, range_test
    >>> next(under(range_test(SweepSettings(), Training()), (1.0, 0.5))).factors
    (1.0, 0.5)
    """
    losses: Sequence[float] | None = None
    while True:
        try:
            steps = next(asks) if losses is None else asks.send(losses)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        losses = yield replace(steps, factors=factors)


def with_ratios(result: RangeTestResult, found: Ratios) -> RangeTestResult:
    """The result of a test at these ratios, with what they are and what they cost.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> result = with_ratios(analyze([1e-3, 1e-2], [1.0, 0.9]), Ratios((1.0, 4.0), 200, "two sweeps"))
    >>> result.group_factors, result.steps
    ((1.0, 4.0), 202)
    """
    return replace(
        result, group_factors=found.factors, steps=result.steps + found.steps, reason=f"{result.reason}; {found.words}"
    )
