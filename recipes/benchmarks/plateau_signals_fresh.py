"""Other signals than those the rule was chosen on: other shapes, other noise, another seed. Looked at once.

Plateaus after a stretched exponential, two time scales, stairs, or with a rise after them; endless power laws with an
offset, broken power laws, roots. Noise: Laplace, moving average, proportional to the level, rounded as an accuracy
is; and AR(1) at three strengths, reported on its own.
"""

from __future__ import annotations

import numpy as np

from recipes.benchmarks.plateau_signals import Array

SEED = 2611
SHAPES = ("stretched", "two scales", "stairs", "late rise", "power", "broken power", "root")
KINDS = ("gauss", "laplace", "moving", "level", "rounded")


def noise(kind: str, count: int, rng: np.random.Generator) -> Array:
    """A series of noise of standard deviation 1; ``ar.7`` is AR(1) with coefficient .7."""
    if kind.startswith("ar"):
        rho = float(kind[2:])
        out = rng.standard_normal(count)
        for i in range(1, count):
            out[i] = rho * out[i - 1] + np.sqrt(1 - rho**2) * out[i]
        return out
    if kind == "laplace":
        return rng.laplace(size=count) / np.sqrt(2)
    if kind == "moving":
        white = rng.standard_normal(count + 1)
        return (white[1:] + 0.5 * white[:-1]) / np.sqrt(1.25)
    return rng.standard_normal(count)


def plateau(shape: str, t: Array, onset: float, rng: np.random.Generator) -> Array:
    """A decay from 1 to 0 that is over at ``onset``."""
    if shape == "stretched":
        return np.exp(-((t / (onset / 4)) ** rng.uniform(0.8, 1.5)))
    if shape == "two scales":
        return 0.7 * np.exp(-t / (onset / 12)) + 0.3 * np.exp(-t / (onset / 3))
    if shape == "stairs":
        steps = rng.uniform(0, onset, 3)
        return np.mean([1 / (1 + np.exp((t - s) / 0.012)) for s in [*steps, onset - 0.03]], axis=0)
    return np.maximum(0.0, 1 - t / onset) + np.maximum(0.0, t - onset) ** 2 * rng.uniform(0.5, 2)


def endless(shape: str, t: Array, rng: np.random.Generator) -> Array:
    """A decay from 1 that never ends."""
    if shape == "power":
        return 0.3 + 0.7 * (1 + t / rng.uniform(0.01, 0.1)) ** -rng.uniform(0.25, 1.1)
    if shape == "broken power":
        bend = rng.uniform(0.1, 0.4)
        return (1 + t / 0.03) ** -0.7 * (1 + (t / bend) ** 4) ** (rng.uniform(0.05, 0.1))
    return 1 - 0.8 * np.sqrt(t)


def signal(count: int, rng: np.random.Generator, kind: str | None = None) -> tuple[str, Array, float | None]:
    """Shape, values and onset; ``kind`` fixes the noise."""
    t = (np.arange(count) + 1) / count
    shape = str(rng.choice(SHAPES))
    onset = None if shape in ("power", "broken power", "root") else float(rng.uniform(0.2, 0.6))
    y = endless(shape, t, rng) if onset is None else plateau(shape, t, onset, rng)
    kind = kind or str(rng.choice(KINDS))
    size = 10 ** rng.uniform(-2.7, -1.2)
    noisy = y + size * noise(kind, count, rng) * (0.3 + y if kind == "level" else 1.0)
    return shape, np.round(noisy, 2) if kind == "rounded" else noisy, onset
