"""Detection alone: synthetic series with a known onset, or none, at three cadences.

Shapes: exponential and linear approaches to a plateau, a rise after it, oscillation on it; decays that never end (power
laws, linear, logarithmic). Noise: Gaussian, heavy-tailed, AR(1), spikes, growing; holes of NaN. The noise's size was
set so that torch's patience 10 fires on about a third of the endless decays at the epoch cadence.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.rules.plateau.decision import PlateauRule

KINDS = ("gauss", "heavy", "ar", "spikes", "growing")
SHAPES = ("exponential", "line", "rise", "oscillation", "power", "power", "endless line", "logarithm")
COUNT = 300
Array = np.ndarray[Any, np.dtype[np.float64]]


def noise(kind: str, count: int, size: float, rng: np.random.Generator) -> Array:
    """A series of noise."""
    white = rng.standard_normal(count)
    if kind == "heavy":
        white = rng.standard_t(2.5, count) / 1.6
    elif kind == "ar":
        for i in range(1, count):
            white[i] = 0.6 * white[i - 1] + 0.8 * white[i]
    elif kind == "spikes":
        white[rng.random(count) < 0.04] += 8.0
    elif kind == "growing":
        white *= np.linspace(0.5, 1.5, count)
    return size * white


def signal(count: int, rng: np.random.Generator) -> tuple[str, Array, float | None]:
    """Shape, values, and the onset of the plateau as a share of the run (``None``: it never comes)."""
    t = (np.arange(count) + 1) / count
    shape = str(rng.choice(SHAPES))
    onset: float | None = rng.uniform(0.15, 0.6)
    if shape == "power":
        y, onset = (1 + t / rng.uniform(0.02, 0.1)) ** -rng.uniform(0.3, 1.0), None
    elif shape == "endless line":
        y, onset = 1.2 - t, None
    elif shape == "logarithm":
        y, onset = 1 - 0.2 * np.log(t * 100 + 1), None
    else:
        y = np.exp(-t / (onset / 3.5)) if shape == "exponential" else np.maximum(0.0, 1 - t / onset) ** 1.5
        y = y + (np.maximum(0.0, t - onset) * rng.uniform(0.2, 1) if shape == "rise" else 0.0)
        y = y + (0.05 * np.sin(2 * np.pi * t * rng.uniform(8, 20)) if shape == "oscillation" else 0.0)
    y = y + noise(str(rng.choice(KINDS)), count, 10 ** rng.uniform(-2.7, -1.2), rng)
    if rng.random() < 0.2:
        hole = int(rng.integers(0, count))
        y[hole : hole + count // 20] = math.nan
    return shape, y, onset


def first_decay(rule: PlateauRule, values: Array, known: bool) -> float | None:
    """Where the rule first decays, as a share of the run."""
    state, end = rule.start(), len(values)
    for i, value in enumerate(values):
        state, decision = rule.observe(state, float(value), i + 1, end if known else None)
        if decision.decays:
            return (i + 1) / end
    return None


def score(rule: PlateauRule, count: int, known: bool = True, make: Any = signal, seed: int = 11) -> str:
    """False alarms on endless decays, in the first half of power laws, and the delay on plateaus."""
    rng = np.random.default_rng(seed)
    alarms, halves, delays = [], [], []
    for _ in range(COUNT):
        shape, values, onset = make(count, rng)
        found = first_decay(rule, values, known)
        if onset is not None:
            delays.append(math.inf if found is None else (found - onset) / onset)
            continue
        alarms.append(found is not None)
        if "power" in shape:
            halves.append(found is not None and found <= 0.5)
    early = float(np.mean(np.array(delays) < -0.2))
    return (
        f"{np.mean(alarms):6.0%} {np.mean(halves):12.0%} {np.median(delays):13.0%} {early:8.0%} "
        f"{np.mean(np.isinf(delays)):8.0%}"
    )


def report(half: str = "report") -> str:
    """The table, on the signals that the rule was chosen on, on the fresh ones, or on those of the last check."""
    from recipes.benchmarks import plateau_signals_check as check
    from recipes.benchmarks import plateau_signals_fresh as fresh

    correlated = check.signal if half == "check" else fresh.signal  # those of ``choose`` have no AR(1) of their own
    seeds = {"choose": 11, "report": fresh.SEED, "check": check.SEED}
    make, seed = (signal if half == "choose" else correlated), seeds[half]
    lines = [f"{'rule':34s} observations  alarms  first half  median delay  too early  missed"]
    rules = {
        "PlateauDecay, length known": (make_rule("trend", endgame=0.0), True),
        "PlateauDecay, length unknown": (make_rule("trend", endgame=0.0), False),
        "torch patience 10": (make_rule("patience", patience=10), True),
        "torch patience 3": (make_rule("patience", patience=3), True),
        "dlib N/10": (make_rule("dlib", window=0.1), True),
    }
    for count in (25, 100, 225):
        for name, (rule, known) in rules.items():
            lines.append(f"{name:34s} {count:12d}  {score(rule, count, known, make, seed)}")
    for kind in ("ar.3", "ar.6", "ar.9"):
        for name in ("PlateauDecay, length known", "torch patience 10", "dlib N/10"):
            rule, known = rules[name]
            result = score(rule, 100, known, lambda n, rng, kind=kind: correlated(n, rng, kind), seed)
            lines.append(f"{f'{name}, AR(1) {kind[2:]}':38s} {100:8d}  {result}")
    return "\n".join(lines)
