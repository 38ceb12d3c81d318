"""A small Gaussian process: what the trials so far say of the score at every LR, and where the best one can be.

Neighbours and repeats vote, noise is estimated from the trials themselves, and the posterior over the place of the
minimum is what narrows a search. (Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, chapters 2
and 5; hyperparameters are averaged over a grid by their marginal likelihood instead of being fitted, which is safer
with a handful of trials: section 5.2.)
"""

import itertools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

LENGTHS = (0.12, 0.2, 0.33, 0.55, 0.9, 1.5)
"""Correlation lengths tried, as fractions of the range of an axis: from half of the first round's spacing to beyond the
range, 1.65 apart (a likelihood of five points hardly tells nearer ones apart)."""
NOISES = (1e-4, 1e-3, 1e-2, 0.04, 0.15, 0.5)
"""Noise variances tried, as fractions of the variance of the signal: from none to half as much noise as signal, beyond
which no search of some fifteen trials could find anything."""
_MAX_GRID = 600
"""Fits of the process a round takes at most: one axis has 36 pairs of length and noise, two have 216, three would have
1,296 and so take every second length."""
_MOST_LOG = 709.0
"""Beyond it the exponential is no float."""
_MOST = 16
"""Pairs of the grid that are kept whatever their weight: with several axes many explain the trials nearly alike."""


@dataclass(frozen=True)
class Posterior:
    """What the trials say of the candidates.

    Attributes:
        mean: Expected score of each candidate.
        draws: Joint samples of the scores of all candidates, shape (draws, candidates).
        noise: Standard deviation of one trial's score around its mean.
    """

    mean: Array
    draws: Array
    noise: float


@dataclass(frozen=True)
class Squeezed:
    """Scores squeezed by :func:`squeeze`: the best at 0, ``unit`` above it at log 2."""

    values: Array
    best: float
    unit: float

    def back(self, value: float) -> float:
        """From a squeezed value to the score's own unit."""
        return self.best + self.unit * (math.expm1(min(value, _MOST_LOG)) if value > 0 else value)


def squeeze(scores: Array) -> Squeezed:
    """Squeeze high scores so that the shape of the low region decides; a score of infinity lands beside the worst.

    ``log1p((y - best) / s)`` with s the median of ``y - best``: straight near the best, logarithmic above, so that
    a loss of 1e6 next to the cliff bends the surface no more than it must.

    Args:
        scores: Lower is better, infinity for a bad trial; not all of them infinite. Shape (n,).

    Returns:
        The squeezed scores.
    """
    finite = np.isfinite(scores)
    with np.errstate(over="ignore"):
        above = np.minimum(scores[finite] - scores[finite].min(), np.finfo(float).max)
    unit = float(np.median(above)) or float(above.max()) or 1.0
    values = np.zeros(len(scores))
    with np.errstate(over="ignore", divide="ignore"):  # a loss of 1e308 over one of 1e-3 is no number any more
        ratio = above / unit
        values[finite] = np.where(np.isfinite(ratio), np.log1p(ratio), np.log(above) - np.log(unit))
    values[~finite] = max(float(values.max()), 1.0)
    return Squeezed(values, float(scores[finite].min()), unit)


def posterior(points: Array, values: Array, candidates: Array, count: int, seed: int) -> Posterior:
    """Gaussian-process posterior of ``values`` over ``candidates``, averaged over correlation lengths and noises.

    Args:
        points: Trials, in units of the range of each axis. Shape (n, axes).
        values: Their squeezed scores. Shape (n,).
        candidates: Where to predict. Shape (m, axes).
        count: How many joint samples.
        seed: Of the samples.

    Returns:
        Mean, samples and the noise of one trial.
    """
    trials = len(values)
    points, values = merge(points, values)
    grid = _hyper_grid(points.shape[1])
    logs, fits = zip(*(_fit(points, values, lengths, noise) for lengths, noise in grid), strict=True)
    weights = _likely(np.exp(np.array(logs) - max(logs)))
    random = np.random.default_rng(seed)
    shares = random.multinomial(count, weights)
    mean, draws, noise = np.zeros(len(candidates)), [], 0.0
    for (lengths, ratio), weight, share, (centre, scale, factor, solved) in zip(
        grid, weights, shares, fits, strict=True
    ):
        if weight == 0.0:
            continue
        cross = _kernel(candidates, points, lengths)
        one = centre + cross @ solved
        mean += weight * one
        noise += weight * scale * ratio
        if share:
            draws.append(one + _samples(candidates, cross, lengths, scale, factor, int(share), random))
    # The noise of a mean is less than that of one trial.
    return Posterior(mean, np.concatenate(draws), float(np.sqrt(noise * trials / len(values))))


def _likely(weights: Array) -> Array:
    """The likeliest cells of the grid, at most ``_MOST``, without those that hold under 1 % of their mass; sum 1.

    Shares are of the chosen cells: on several axes hundreds of cells are nearly equal, each below 1 % of them all.
    """
    chosen = np.argsort(-weights, kind="stable")[:_MOST]
    kept = np.zeros(len(weights))
    kept[chosen] = np.where(weights[chosen] < 0.01 * weights[chosen].sum(), 0.0, weights[chosen])
    return np.asarray(kept / kept.sum())


def merge(points: Array, values: Array, most: int = 200) -> tuple[Array, Array]:
    """At most ``most`` trials: where there are more, those in one cell of an ever coarser grid become their mean.

    The cost of a Gaussian process grows with the cube of its points, and a thousand trials say no more of an LR than a
    few hundred. A mean counts as one trial, so the answer is rather less sure of itself than it could be.

    >>> merge(np.array([[0.1], [0.1], [0.9]]), np.array([1.0, 3.0, 5.0]), most=2)[1].tolist()
    [2.0, 5.0]
    """
    parts = 1024
    while len(values) > most:
        _, cell = np.unique(np.round(points * parts), axis=0, return_inverse=True)
        cell = cell.reshape(-1)
        if cell.max() < most:
            counts = np.bincount(cell)
            values = np.bincount(cell, values) / counts
            points = np.stack([np.bincount(cell, column) / counts for column in points.T], axis=1)
        parts //= 2
    return points, values


def _hyper_grid(axes: int) -> list[tuple[tuple[float, ...], float]]:
    """Every combination of lengths and noises; coarser on more axes, a sample of bounded size on many."""
    most = _MAX_GRID // len(NOISES)
    for choice in (LENGTHS, LENGTHS[1::2]):
        if len(choice) ** axes <= most:
            return list(itertools.product(itertools.product(choice, repeat=axes), NOISES))
    alike = [(length,) * axes for length in LENGTHS]
    mixed = np.random.default_rng(axes).choice(LENGTHS, (most - len(alike), axes))
    return list(itertools.product([*alike, *(tuple(row) for row in mixed.tolist())], NOISES))


def _kernel(a: Array, b: Array, lengths: tuple[float, ...]) -> Array:
    """Matérn 5/2: smooth enough to find a vertex from a few points, less sure of itself than the Gaussian kernel."""
    scaled = (a[:, None, :] - b[None, :, :]) / np.asarray(lengths)
    distance = np.sqrt(5.0 * (scaled**2).sum(-1))
    return np.asarray((1.0 + distance + distance**2 / 3.0) * np.exp(-distance))


def _fit(
    points: Array, values: Array, lengths: tuple[float, ...], noise: float
) -> tuple[float, tuple[float, float, Array, Array]]:
    """Log marginal likelihood with mean and amplitude at their best, and what predicting needs."""
    count = len(values)
    factor = np.linalg.cholesky(_kernel(points, points, lengths) + noise * np.eye(count))
    ones = np.linalg.solve(factor, np.ones(count))
    white = np.linalg.solve(factor, values)
    centre = float(ones @ white / (ones @ ones))
    rest = white - centre * ones
    # A weak prior (one pseudo-trial of variance 0.05) keeps a few equal scores from meaning "no signal at all".
    scale = float((rest @ rest + 0.05) / (count + 1.0))
    log = -0.5 * (count + 1.0) * np.log(scale) - float(np.log(np.diag(factor)).sum())
    return float(log), (centre, scale, factor, np.linalg.solve(factor.T, rest))


def _samples(
    candidates: Array,
    cross: Array,
    lengths: tuple[float, ...],
    scale: float,
    factor: Array,
    count: int,
    random: np.random.Generator,
) -> Array:
    """Joint samples of the deviation from the mean at the candidates, shape (count, candidates)."""
    half = np.linalg.solve(factor, cross.T)
    covariance = _kernel(candidates, candidates, lengths) - half.T @ half
    # 1e-6 of the amplitude: neighbours on the grid are so alike that rounding makes their covariance indefinite.
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(candidates)))
    return np.asarray(np.sqrt(scale) * (random.standard_normal((count, len(candidates))) @ root.T))
