"""A third set of signals, of other shapes and noise than both earlier ones and with a seed of its own. Looked at once.

Plateaus after a sigmoid, a bell, half a cosine, a damped swing, a pause half-way, or with overfitting after them;
endless single, summed, late and slowed power laws, fractional powers of the time, inverse logarithms, slow
exponentials. Noise: uniform, Student's t, skewed, in bouts, alternating, a bootstrapped batch's mean, a factor on the
level; and AR(1).
"""

from __future__ import annotations

import numpy as np

from recipes.benchmarks import plateau_signals_fresh as fresh
from recipes.benchmarks.plateau_signals import Array

SEED = 4093
PLATEAUS = ("sigmoid", "bell", "half cosine", "damped swing", "pause", "overfitting")
ENDLESS = ("power", "power sum", "late power", "slowed power", "fraction", "inverse logarithm", "slow exponential")
KINDS = ("gauss", "uniform", "t", "skewed", "bouts", "alternating", "batch", "factor")


def noise(kind: str, count: int, rng: np.random.Generator) -> Array:
    """A series of noise of standard deviation 1; ``ar.7`` is AR(1) with coefficient .7."""
    if kind == "uniform":
        return rng.uniform(-np.sqrt(3), np.sqrt(3), count)
    if kind == "t":
        return rng.standard_t(4, count) / np.sqrt(2)
    if kind == "skewed":
        return rng.gamma(2.0, size=count) / np.sqrt(2) - np.sqrt(2)
    if kind == "bouts":
        loud = np.repeat(rng.random(-(-count // 5)) < 0.25, 5)[:count]
        return rng.standard_normal(count) * np.where(loud, 1.75, 0.56)
    if kind == "alternating":
        white = rng.standard_normal(count + 1)
        return (white[1:] - 0.5 * white[:-1]) / np.sqrt(1.25)
    if kind == "batch":
        pool = rng.exponential(size=64)
        return 4 * (rng.choice(pool, (count, 16)).mean(1) - pool.mean()) / pool.std()
    return fresh.noise(kind, count, rng) if kind.startswith("ar") else rng.standard_normal(count)


def plateau(shape: str, t: Array, onset: float, rng: np.random.Generator) -> Array:
    """A decay from about 1 to 0 of which at most some 3 % are left at ``onset``."""
    u = t / onset
    if shape == "sigmoid":
        middle = rng.uniform(0.3, 0.7)
        return 1 / (1 + np.exp(3.5 * (u - middle) / (1 - middle)))
    if shape == "bell":
        return np.exp(-3.5 * u**2)
    if shape == "half cosine":
        return 0.5 + 0.5 * np.cos(np.pi * np.minimum(u, 1.0))
    if shape == "damped swing":
        return np.exp(-4 * u) * (1 + rng.uniform(0.3, 0.8) * np.cos(2 * np.pi * rng.uniform(2, 4) * u)) / 1.5
    if shape == "pause":
        at = rng.uniform(0.3, 0.45)
        return 0.6 * np.exp(-u / 0.06) + 0.4 * np.exp(-np.maximum(0.0, u - at) * 3 / (1 - at))
    return np.exp(-3.5 * u) + rng.uniform(0.05, 0.4) * np.maximum(0.0, t - onset)


def endless(shape: str, t: Array, rng: np.random.Generator) -> Array:
    """A decay by at most 1 that never ends, towards a level of up to 0.5."""
    floor, bend, slope = rng.uniform(0, 0.5), 10 ** rng.uniform(-2, -0.7), rng.uniform(0.2, 1.0)
    if shape == "power":
        y = (1 + t / bend) ** -slope
    elif shape == "power sum":
        y = 0.5 * (1 + t / bend) ** -slope + 0.5 * (1 + t / 10 ** rng.uniform(-2, -0.7)) ** -rng.uniform(0.2, 1.0)
    elif shape == "late power":
        y = (1 + (t / bend) ** 2) ** (-slope / 2)
    elif shape == "slowed power":
        y = 0.7 * (1 + t / bend) ** -slope + 0.3 * (1 - t)
    elif shape == "fraction":
        y = 1 - t ** rng.uniform(0.3, 0.8)
    elif shape == "inverse logarithm":
        y = 1 / (1 + np.log1p(t / bend))
    else:
        y = np.exp(-t * rng.uniform(0.7, 2.0))
    return floor + y


def signal(count: int, rng: np.random.Generator, kind: str | None = None) -> tuple[str, Array, float | None]:
    """Shape, values and onset; ``kind`` fixes the noise."""
    t = (np.arange(count) + 1) / count
    shape = str(rng.choice(PLATEAUS + ENDLESS))
    onset = None if shape in ENDLESS else float(rng.uniform(0.15, 0.65))
    y = endless(shape, t, rng) if onset is None else plateau(shape, t, onset, rng)
    kind = kind or str(rng.choice(KINDS))
    size = 10 ** rng.uniform(-2.7, -1.2)
    level = 0.2 + np.abs(y) if kind == "factor" else 1.0
    return shape, y + size * noise(kind, count, rng) * level, onset
