"""Short constant-LR trials inside of a sandbox, stopped early when they diverge or fall behind."""

import math
from dataclasses import dataclass, field
from statistics import fmean

from lr_lightning.callbacks._sandbox.sandbox import Sandbox
from lr_lightning.callbacks._sandbox.steps import Probe, take_steps
from lr_lightning.rules.search.halving import diverged, finished, judge, rungs


@dataclass
class ShortTrial:
    """What a trial showed: its losses around the rungs, its end.

    Attributes:
        status: ``completed``, ``pruned`` or ``diverged``.
        steps: Optimizer steps taken.
        score: Mean loss of the last quarter of its steps; None if that is not finite.
        at: Mean loss around each rung that it reached.
    """

    status: str = "completed"
    steps: int = 0
    score: float | None = None
    at: dict[int, float] = field(default_factory=dict)


class ShortTrials:
    """Runs trials and compares them at the rungs.

    Args:
        steps: Optimizer steps of a trial.
        window: Steps between two reads of the losses; each read is a host sync.
        eta: See :func:`lr_lightning.rules.search.halving.judge`; None: nobody is stopped but for divergence.
    """

    def __init__(self, steps: int, window: int, eta: float | None) -> None:
        self.steps, self.eta = steps, eta
        self.window = max(1, min(window, steps // 4))
        self.rungs = rungs(max(steps // 8, 1), eta, steps * 3 // 4) if eta is not None else ()
        self.trials: list[ShortTrial] = []

    def begin(self) -> None:
        """Forget earlier trials."""
        self.trials = []

    def run(self, box: Sandbox, probe: Probe, lr: float) -> ShortTrial:
        """One trial from the sandbox's present state."""
        one = ShortTrial()

        losses: list[float] = []
        while len(losses) < self.steps and one.status == "completed":
            first, asked = len(losses), min(self.window, self.steps - len(losses))
            found = take_steps(box, probe, [lr] * asked)
            losses += found
            if not found or (len(found) < asked and probe.lrs.suspected):
                break
            one.status = self._verdict(one, first, losses)
        one.steps = len(losses)
        tail = losses[-max(len(losses) // 4, 1) :]
        if one.status != "diverged" and all(map(math.isfinite, tail)):
            one.score = fmean(tail)
        self.trials.append(one)
        return one

    def scores(self) -> list[float | None]:
        """The trials' scores, those of stopped ones as they would have been: all comparable."""
        whole = [t for t in self.trials if t.status == "completed" and t.score is not None]
        found: list[float | None] = []
        for one in self.trials:
            if one.status == "pruned":
                rung = max(one.at)
                found.append(finished(one.at[rung], [(t.at[rung], t.score or 0.0) for t in whole if rung in t.at]))
            else:
                found.append(one.score)
        return found

    def _verdict(self, one: ShortTrial, first: int, losses: list[float]) -> str:
        start, now = fmean(losses[: self.window]), fmean(losses[first:])
        means = [fmean(losses[i : i + self.window]) for i in range(0, len(losses), self.window)]
        best = min((m for m in means if math.isfinite(m)), default=start)
        if not math.isfinite(start) or diverged(now, start, best):
            return "diverged"
        for rung in self.rungs:
            if first < rung <= len(losses):
                peers = [t.at[rung] for t in self.trials if rung in t.at]
                one.at[rung] = now
                if self.eta is not None and judge(now, peers, self.eta):
                    return "pruned"
        return "completed"
