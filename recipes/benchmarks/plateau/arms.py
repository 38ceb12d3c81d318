"""The rules of the plateau benchmark: ours, torch's and Keras's, dlib's, and schedules that know the run's length."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lr_lightning.optim.motion import WeightPath
from lr_lightning.rules.plateau.configure import configure, follows_weights
from recipes.benchmarks.plateau.dlib import DlibRule
from recipes.benchmarks.plateau.runs import CADENCES, Arm, Observe, Weights


def cosine(progress: float) -> float:
    """Cosine to zero at the end of the run: the reference."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """Linear to zero at the end of the run."""
    return 1.0 - progress


def steps(progress: float) -> float:
    """A tenth at 50 % and another at 75 %."""
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def ruled(factor: float = 0.5, known: bool = True, rule: Any = None, **settings: Any) -> Callable[[str], Observe]:
    """A rule by its settings, fed at a cadence; ``known``: it is told how long the run is."""

    def make(cadence: str) -> Observe:
        fed = rule
        if not isinstance(rule, DlibRule):
            fed = configure(rule, factor=factor, interval="step" if cadence == "step" else "epoch", **settings)
        gated, state, path = follows_weights(fed, known), fed.start(), WeightPath()
        seen = 0

        def observe(value: float, progress: float, weights: Weights) -> float:
            nonlocal state, seen
            seen += 1
            at, horizon = (progress, 1.0) if known else (None, None)
            evidence = {}
            if gated:
                if path.is_due(progress if known else float(seen), horizon):
                    path.add(weights(), progress if known else float(seen))
                evidence["drift"] = path.drift
            state, decision = fed.observe(state, value, at, horizon, **evidence)
            if decision.decays and decision.cause != "endgame":
                path.clear()
            return factor**decision.cuts if decision.decays else 1.0

        return observe

    return make


RULES: dict[str, Callable[[str], Observe]] = {
    "PlateauDecay, length known": ruled(),
    "length known, gate=False": ruled(rule={"gate": False}),
    "PlateauDecay, endgame=0": ruled(rule={"endgame": 0.0}),
    "PlateauDecay, length unknown": ruled(known=False),
    "length unknown, TailAverage()": ruled(known=False),
    "length unknown, gated": ruled(known=False, rule={"gate": True}),
    "torch patience 10, x0.1": ruled(0.1, patience=10),
    "torch patience 10, x0.5": ruled(0.5, patience=10),
    # Keras acts at the 10th bad observation, and its threshold is absolute.
    "Keras patience 10, x0.1": ruled(0.1, patience=9, threshold=1e-4, threshold_mode="abs"),
    "dlib N/10, x0.5": ruled(0.5, rule=DlibRule(window=0.1)),
}
# As TailAverage() has it: the share of the newest weights.
AVERAGES: dict[str, Callable[[int], float]] = {"length unknown, TailAverage()": lambda step: 10.0 / (step + 10.0)}
SCHEDULES = {"cosine": cosine, "linear to zero": linear, "step decay 50/75 %": steps, "constant": None}


def arms() -> list[Arm]:
    """One row for each schedule, and for each rule and cadence."""
    rows = [Arm(name, schedule=schedule) for name, schedule in SCHEDULES.items()]
    for name, make in RULES.items():
        rows += [Arm(name, cadence, observe=make(cadence), average=AVERAGES.get(name)) for cadence in CADENCES]
    return rows
