"""Detection alone: synthetic series with a known onset, or none, at three cadences; three sets of them.

A series is a shape, a noise and its size. Shapes end on a plateau at an onset, or decay for ever. The sets differ in
shapes, noise and seed: a rule was chosen on ``choose`` (whose noise was sized so that torch's patience 10 fires on
about a third of the endless decays at the epoch cadence); ``report`` and ``check`` were looked at once each, after the
rule was finished.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.rules.plateau.decision import PlateauRule
from recipes.benchmarks.plateau.dlib import DlibRule

COUNT = 300
Array = np.ndarray[Any, np.dtype[np.float64]]
Rng = np.random.Generator


def _ar(rho: float) -> Callable[[int, Rng], Array]:
    def series(count: int, rng: Rng) -> Array:
        out = rng.standard_normal(count)
        for i in range(1, count):
            out[i] = rho * out[i - 1] + np.sqrt(1 - rho**2) * out[i]
        return out

    return series


def _moving(weight: float) -> Callable[[int, Rng], Array]:
    def series(count: int, rng: Rng) -> Array:
        white = rng.standard_normal(count + 1)
        return (white[1:] + weight * white[:-1]) / np.sqrt(1.25)

    return series


def _spikes(count: int, rng: Rng) -> Array:
    white = rng.standard_normal(count)
    white[rng.random(count) < 0.04] += 8.0
    return white


def _bouts(count: int, rng: Rng) -> Array:
    loud = np.repeat(rng.random(-(-count // 5)) < 0.25, 5)[:count]
    return rng.standard_normal(count) * np.where(loud, 1.75, 0.56)


def _batch(count: int, rng: Rng) -> Array:
    """The mean of a bootstrapped batch."""
    pool = rng.exponential(size=64)
    return 4 * (rng.choice(pool, (count, 16)).mean(1) - pool.mean()) / pool.std()


# Of a standard deviation of about 1; kinds that aren't here are Gaussian, and the signal does the rest.
NOISE: dict[str, Callable[[int, Rng], Array]] = {
    "heavy": lambda n, rng: rng.standard_t(2.5, n) / 1.6,
    "spikes": _spikes,
    "growing": lambda n, rng: rng.standard_normal(n) * np.linspace(0.5, 1.5, n),
    "laplace": lambda n, rng: rng.laplace(size=n) / np.sqrt(2),
    "moving": _moving(0.5),
    "uniform": lambda n, rng: rng.uniform(-np.sqrt(3), np.sqrt(3), n),
    "t": lambda n, rng: rng.standard_t(4, n) / np.sqrt(2),
    "skewed": lambda n, rng: rng.gamma(2.0, size=n) / np.sqrt(2) - np.sqrt(2),
    "bouts": _bouts,
    "alternating": _moving(-0.5),
    "batch": _batch,
    **{f"ar.{tenths}": _ar(tenths / 10) for tenths in range(1, 10)},
}


def noise(kind: str, count: int, rng: Rng) -> Array:
    """A series of noise; ``ar.7`` is AR(1) with coefficient .7."""
    return NOISE.get(kind, lambda n, r: r.standard_normal(n))(count, rng)


def _line(t: Array, onset: float) -> Array:
    return np.maximum(0.0, 1 - t / onset)


def _stairs(t: Array, onset: float, rng: Rng) -> Array:
    steps = rng.uniform(0, onset, 3)
    return np.mean([1 / (1 + np.exp((t - s) / 0.012)) for s in [*steps, onset - 0.03]], axis=0)


def _sigmoid(t: Array, onset: float, rng: Rng) -> Array:
    middle = rng.uniform(0.3, 0.7)
    return 1 / (1 + np.exp(3.5 * (t / onset - middle) / (1 - middle)))


def _pause(t: Array, onset: float, rng: Rng) -> Array:
    u, at = t / onset, rng.uniform(0.3, 0.45)
    return 0.6 * np.exp(-u / 0.06) + 0.4 * np.exp(-np.maximum(0.0, u - at) * 3 / (1 - at))


def _swing(t: Array, onset: float, rng: Rng) -> Array:
    u = t / onset
    return np.exp(-4 * u) * (1 + rng.uniform(0.3, 0.8) * np.cos(2 * np.pi * rng.uniform(2, 4) * u)) / 1.5


# A decay from about 1 to 0 of which little is left at ``onset``.
PLATEAUS: dict[str, Callable[[Array, float, Rng], Array]] = {
    "exponential": lambda t, o, rng: np.exp(-t / (o / 3.5)),
    "line": lambda t, o, rng: _line(t, o) ** 1.5,
    "rise": lambda t, o, rng: _line(t, o) ** 1.5 + np.maximum(0.0, t - o) * rng.uniform(0.2, 1),
    "oscillation": lambda t, o, rng: _line(t, o) ** 1.5 + 0.05 * np.sin(2 * np.pi * t * rng.uniform(8, 20)),
    "stretched": lambda t, o, rng: np.exp(-((t / (o / 4)) ** rng.uniform(0.8, 1.5))),
    "two scales": lambda t, o, rng: 0.7 * np.exp(-t / (o / 12)) + 0.3 * np.exp(-t / (o / 3)),
    "stairs": _stairs,
    "late rise": lambda t, o, rng: _line(t, o) + np.maximum(0.0, t - o) ** 2 * rng.uniform(0.5, 2),
    "sigmoid": _sigmoid,
    "bell": lambda t, o, rng: np.exp(-3.5 * (t / o) ** 2),
    "half cosine": lambda t, o, rng: 0.5 + 0.5 * np.cos(np.pi * np.minimum(t / o, 1.0)),
    "damped swing": _swing,
    "pause": _pause,
    "overfitting": lambda t, o, rng: np.exp(-3.5 * (t / o)) + rng.uniform(0.05, 0.4) * np.maximum(0.0, t - o),
}


def _broken(t: Array, rng: Rng) -> Array:
    bend = rng.uniform(0.1, 0.4)
    return (1 + t / 0.03) ** -0.7 * (1 + (t / bend) ** 4) ** (rng.uniform(0.05, 0.1))


def _bent(shape: Callable[[Array, float, float, Rng], Array]) -> Callable[[Array, Rng], Array]:
    """A decay by at most 1 towards a level of up to 0.5, with a bend and a slope of its own."""

    def decay(t: Array, rng: Rng) -> Array:
        floor, bend, slope = rng.uniform(0, 0.5), 10 ** rng.uniform(-2, -0.7), rng.uniform(0.2, 1.0)
        return floor + shape(t, bend, slope, rng)

    return decay


def _sum(t: Array, bend: float, slope: float, rng: Rng) -> Array:
    other = (1 + t / 10 ** rng.uniform(-2, -0.7)) ** -rng.uniform(0.2, 1.0)
    return 0.5 * (1 + t / bend) ** -slope + 0.5 * other


# A decay that never ends.
ENDLESS: dict[str, Callable[[Array, Rng], Array]] = {
    "steep power": lambda t, rng: (1 + t / rng.uniform(0.02, 0.1)) ** -rng.uniform(0.3, 1.0),
    "straight": lambda t, rng: 1.2 - t,
    "logarithm": lambda t, rng: 1 - 0.2 * np.log(t * 100 + 1),
    "raised power": lambda t, rng: 0.3 + 0.7 * (1 + t / rng.uniform(0.01, 0.1)) ** -rng.uniform(0.25, 1.1),
    "broken power": _broken,
    "root": lambda t, rng: 1 - 0.8 * np.sqrt(t),
    "power": _bent(lambda t, bend, slope, rng: (1 + t / bend) ** -slope),
    "power sum": _bent(_sum),
    "late power": _bent(lambda t, bend, slope, rng: (1 + (t / bend) ** 2) ** (-slope / 2)),
    "slowed power": _bent(lambda t, bend, slope, rng: 0.7 * (1 + t / bend) ** -slope + 0.3 * (1 - t)),
    "fraction": _bent(lambda t, bend, slope, rng: 1 - t ** rng.uniform(0.3, 0.8)),
    "inverse logarithm": _bent(lambda t, bend, slope, rng: 1 / (1 + np.log1p(t / bend))),
    "slow exponential": _bent(lambda t, bend, slope, rng: np.exp(-t * rng.uniform(0.7, 2.0))),
}


@dataclass(frozen=True)
class Signals:
    """A set of signals: names from the tables above, drawn evenly.

    Attributes:
        seed: Of the draws.
        shapes: Names of shapes.
        kinds: Names of noises; ``"level"`` and ``"factor"`` grow with the value, ``"rounded"`` rounds to hundredths.
        onsets: Range of the onset, as shares of the run.
        holes: Share of series with a stretch of NaN.
    """

    seed: int
    shapes: tuple[str, ...]
    kinds: tuple[str, ...]
    onsets: tuple[float, float]
    holes: float = 0.0

    def signal(self, count: int, rng: Rng, kind: str | None = None) -> tuple[str, Array, float | None]:
        """Shape, values, and the onset of the plateau as a share of the run (``None``: it never comes)."""
        t = (np.arange(count) + 1) / count
        shape = str(rng.choice(self.shapes))
        onset = None if shape in ENDLESS else float(rng.uniform(*self.onsets))
        y = ENDLESS[shape](t, rng) if onset is None else PLATEAUS[shape](t, onset, rng)
        kind = kind or str(rng.choice(self.kinds))
        size = 10 ** rng.uniform(-2.7, -1.2)
        level = {"level": 0.3 + y, "factor": 0.2 + np.abs(y)}.get(kind, 1.0)
        y = y + size * noise(kind, count, rng) * level
        y = np.round(y, 2) if kind == "rounded" else y
        if self.holes and rng.random() < self.holes:
            hole = int(rng.integers(0, count))
            y[hole : hole + count // 20] = math.nan
        return shape, y, onset


SETS = {
    "choose": Signals(
        11,
        ("exponential", "line", "rise", "oscillation", "steep power", "steep power", "straight", "logarithm"),
        ("gauss", "heavy", "ar.6", "spikes", "growing"),
        (0.15, 0.6),
        holes=0.2,
    ),
    "report": Signals(
        2611,
        ("stretched", "two scales", "stairs", "late rise", "raised power", "broken power", "root"),
        ("gauss", "laplace", "moving", "level", "rounded"),
        (0.2, 0.6),
    ),
    "check": Signals(
        4093,
        (
            *("sigmoid", "bell", "half cosine", "damped swing", "pause", "overfitting"),
            *("power", "power sum", "late power", "slowed power", "fraction", "inverse logarithm", "slow exponential"),
        ),
        ("gauss", "uniform", "t", "skewed", "bouts", "alternating", "batch", "factor"),
        (0.15, 0.65),
    ),
}
RULES: dict[str, tuple[PlateauRule, bool]] = {
    "PlateauDecay, length known": (make_rule("trend", endgame=0.0), True),
    "PlateauDecay, length unknown": (make_rule("trend", endgame=0.0), False),
    "torch patience 10": (make_rule("patience", patience=10), True),
    "torch patience 3": (make_rule("patience", patience=3), True),
    "dlib N/10": (DlibRule(window=0.1), True),
}


def first_decay(rule: PlateauRule, values: Array, known: bool) -> float | None:
    """Where the rule first decays, as a share of the run."""
    state, end = rule.start(), len(values)
    for i, value in enumerate(values):
        state, decision = rule.observe(state, float(value), i + 1, end if known else None)
        if decision.decays:
            return (i + 1) / end
    return None


def score(rule: PlateauRule, known: bool, half: str, count: int, kind: str | None = None) -> str:
    """False alarms on endless decays, in the first half of power laws, and the delay on plateaus."""
    signals = SETS[half]
    rng = np.random.default_rng(signals.seed)
    alarms, halves, delays = [], [], []
    for _ in range(COUNT):
        shape, values, onset = signals.signal(count, rng, kind)
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


def report(half: str = "check") -> str:
    """The table, at three cadences, and on AR(1) noise of three strengths."""
    lines = [f"{'rule':34s} observations  alarms  first half  median delay  too early  missed"]
    for count in (25, 100, 225):
        for name, (rule, known) in RULES.items():
            lines.append(f"{name:34s} {count:12d}  {score(rule, known, half, count)}")
    for kind in ("ar.3", "ar.6", "ar.9"):
        for name in ("PlateauDecay, length known", "torch patience 10", "dlib N/10"):
            rule, known = RULES[name]
            lines.append(f"{f'{name}, AR(1) {kind[2:]}':38s} {100:8d}  {score(rule, known, half, 100, kind)}")
    return "\n".join(lines)
