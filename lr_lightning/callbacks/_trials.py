"""Short constant-LR trials inside of a sandbox, stopped early when they diverge or fall behind."""

import math
from statistics import fmean

from lr_lightning.callbacks._sandbox import Sandbox
from lr_lightning.callbacks._sweep import Probe, take_steps
from lr_lightning.rules.halving import diverged, judge, rungs


class ShortTrials:
    """Runs trials and remembers their losses at the rungs.

    Args:
        steps: Optimizer steps of a trial.
        window: Steps between two reads of the losses: rungs are multiples of it.
        eta: See :func:`lr_lightning.rules.halving.judge`; None: nobody is stopped but for divergence.
    """

    def __init__(self, steps: int, window: int, eta: float | None) -> None:
        self.steps, self.eta = steps, eta
        self.window = max(1, min(window, steps // 4))
        self.rungs = rungs(max(steps // 8, 1), eta, steps * 3 // 4) if eta is not None else ()
        self._seen: dict[int, list[float]] = {}

    def begin(self) -> None:
        """Forget earlier trials."""
        self._seen = {}

    def run(self, box: Sandbox, probe: Probe, lr: float) -> tuple[float | None, str, int]:
        """One trial from the sandbox's present state.

        Returns:
            Its score (mean loss of its last quarter; None if not finite), its status and the steps that it took.
        """
        status = "completed"

        def on_window(first: int, losses: list[float]) -> bool:
            nonlocal status
            status = self._verdict(first, losses)
            return status == "completed"

        losses = take_steps(box, probe, [lr] * self.steps, self.window, on_window)
        tail = losses[-max(len(losses) // 4, 1) :]
        score = fmean(tail) if all(map(math.isfinite, tail)) else None
        return (score if status != "diverged" else None), status, len(losses)

    def _verdict(self, first: int, losses: list[float]) -> str:
        start = fmean(losses[: self.window])
        means = [fmean(losses[i : i + self.window]) for i in range(0, len(losses), self.window)]
        best = min((m for m in means if math.isfinite(m)), default=start)
        if not math.isfinite(start) or diverged(means[-1], start, best):
            return "diverged"
        for rung in self.rungs:
            if first < rung <= len(losses):
                peers = self._seen.setdefault(rung, [])
                reason = judge(means[-1], peers, self.eta or 2.0)
                peers.append(means[-1])
                if reason:
                    return "pruned"
        return "completed"
