"""``confirm="probes"``: short trials at constant LR around a sweep's suggestion, by successive halving.

Every trial starts from the same starting weights and sees the same batches in the same order, so that two trials differ
in the LR alone. All candidates run for a while, the better half goes on, and so on (Jamieson & Talwalkar 2016). A
driver owns the weights; this module only says what to run and reads the losses::

    trials = plan(center, budget)
    request = next(trials)
    while True:
        losses = run(request)          # from the starting weights: request.lr for request.num_steps steps
        try:
            request = trials.send(losses)
        except StopIteration as stop:
            return stop.value          # ProbeResult

A trial with ``start_step > 0`` goes on from where it was: the driver keeps weights, optimizer and random numbers of
each living trial (six at first, then three).
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

OFFSETS = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
"""Candidates in decades around the sweep's suggestion. Higher ones outnumber lower ones: they die early if wrong."""

STAGES = ((0.17, 3), (0.43, 2), (1.0, 1))
"""(end of the stage as a share of the longest trial, how many go on)."""

TAIL = 1 / 3
"""A trial is judged by the mean of this last part of its losses."""

SHORT_RUN_SHIFT = -0.25
"""Decades from the best LR of a trial of some 70 steps to that of a run of a few hundred (measured)."""

LEAST_STEPS = 6
"""A first stage shorter than this says nothing."""


@dataclass(frozen=True)
class Trial:
    """A request: run at ``lr`` from step ``start_step`` of the trial for ``num_steps`` steps."""

    lr: float
    start_step: int
    num_steps: int


@dataclass(frozen=True)
class Probe:
    """What became of a candidate.

    Attributes:
        lr: Its LR.
        steps: Steps that it ran.
        loss: Mean loss over the last third of them; infinity if it diverged.
    """

    lr: float
    steps: int
    loss: float


@dataclass(frozen=True)
class ProbeResult:
    """Answer of the trials.

    Attributes:
        suggestion: LR, or None if every candidate diverged.
        interval: LRs that the trials can't tell apart, or None.
        probes: Every candidate, by LR.
        steps: Optimizer steps spent.

    >>> ProbeResult(suggestion=None, interval=None, probes=(), steps=60).suggestion is None
    True
    """

    suggestion: float | None
    interval: tuple[float, float] | None
    probes: tuple[Probe, ...]
    steps: int


def schedule(budget: int, momentum: float = 0.0) -> tuple[tuple[float, ...], tuple[tuple[int, int], ...]]:
    """Offsets and stages ``(end step, survivors)`` that fit into ``budget`` steps.

    The first stage lasts at least as long as momentum needs to unfold, ``1 / (1 - momentum)`` steps, and the longest
    trial three times as long; with too small a budget for that the outermost candidates are left out, down to two.

    Returns:
        Offsets in decades and stages; both empty if not even two candidates can run a first stage.

    >>> schedule(206, momentum=0.9)
    ((-1.0, -0.5, 0.0, 0.5, 1.0, 1.5), ((12, 3), (30, 2), (70, 1)))
    """
    least = max(LEAST_STEPS, math.ceil(1 / (1 - min(momentum, 0.999)) - 1e-9))
    offsets = list(OFFSETS)
    while len(offsets) >= 2:
        stages = _stages(len(offsets), budget, least)
        if stages and stages[-1][0] >= (3 * least if len(offsets) > 2 else least):
            return tuple(offsets), stages
        offsets.remove(max(offsets, key=lambda d: (abs(d - 0.01), d)))
    return (), ()


def _stages(candidates: int, budget: int, least: int) -> tuple[tuple[int, int], ...]:
    """The longest trial that keeps the sum of all stages within the budget."""
    for longest in range(budget, least - 1, -1):
        ends = [(max(least, round(part * longest)), keep) for part, keep in STAGES]
        cost, alive, last = 0, candidates, 0
        for end, keep in ends:
            cost, alive, last = cost + alive * (end - last), min(alive, max(keep, 2)), end
        if cost <= budget:
            return tuple(ends)
    return ()


def plan(
    center: float,
    budget: int,
    *,
    momentum: float = 0.0,
    min_lr: float = 0.0,
    max_lr: float = math.inf,
) -> Generator[Trial, Sequence[float], ProbeResult]:
    """Successive halving around ``center``; yields trials, takes their losses, returns the answer.

    Args:
        center: The sweep's suggestion.
        budget: Optimizer steps that all trials together may take.
        momentum: The optimizer's largest momentum or first beta.
        min_lr: No candidate below (the swept range).
        max_lr: No candidate above.
    """
    offsets, stages = schedule(budget, momentum)
    lrs = sorted({min(max(center * 10**d, min_lr), max_lr) for d in offsets})
    seen: dict[float, list[float]] = {lr: [] for lr in lrs}
    alive, last, spent = lrs, 0, 0
    for end, keep in stages:
        if end == last:
            continue
        for lr in alive:
            losses = [float(loss) for loss in (yield Trial(lr, last, end - last))]
            spent += len(losses)
            seen[lr] = seen[lr][:last] + losses
        alive = sorted(sorted(alive, key=lambda lr: (score(seen[lr], end), lr))[: max(keep, 2)])
        alive = [lr for lr in alive if math.isfinite(score(seen[lr], end))]
        last = end
        if len(alive) < 2:
            break
    return _conclude(seen, alive, last, spent)


def score(losses: Sequence[float], length: int) -> float:
    """Mean of the last third; infinity for a trial that broke off or isn't finite.

    >>> score([2.0, 1.0, 1.0, 1.0], 4)
    1.0
    """
    if len(losses) < length or not all(math.isfinite(loss) for loss in losses):
        return math.inf
    return float(np.mean(losses[length - max(1, round(length * TAIL)) : length]))


def _conclude(seen: dict[float, list[float]], alive: list[float], length: int, spent: int) -> ProbeResult:
    probes = tuple(Probe(lr, len(losses), score(losses, len(losses))) for lr, losses in seen.items())
    if not alive:
        return ProbeResult(None, None, probes, spent)
    best = min(alive, key=lambda lr: (score(seen[lr], length), lr))
    tied = [lr for lr in alive if _tied(seen[lr], seen[best], length)]
    factor = 10**SHORT_RUN_SHIFT
    reach = 10 ** abs(OFFSETS[1] - OFFSETS[0])  # the neighbours bound what candidates can resolve
    return ProbeResult(best * factor, (min(tied) / reach * factor, max(tied) * reach * factor), probes, spent)


def _tied(losses: Sequence[float], best: Sequence[float], length: int) -> bool:
    """Whether two trials on the same batches differ by less than two standard errors of their paired difference."""
    tail = max(1, round(length * TAIL))
    gap = np.asarray(losses[length - tail : length]) - np.asarray(best[length - tail : length])
    error = float(np.std(gap)) / math.sqrt(len(gap))
    return float(np.mean(gap)) <= 2 * error
