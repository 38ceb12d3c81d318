"""Synthetic range-test curves whose right answer is known."""

import math

import numpy as np

from lr_lightning.rules.range_test.ladder import ladder

LRS = ladder(1e-7, 10.0, 100)


def descent(lrs, centre, steepness=4.0):
    """A logistic from 0 to 1 over log10 LR."""
    x = np.log10(np.asarray(lrs))
    return 1 / (1 + np.exp(-steepness * (x - math.log10(centre))))


def explosion(lrs, limit, pace=12.0):
    """Nothing below ``limit``, exponential growth beyond."""
    x = np.log10(np.asarray(lrs))
    return np.exp(np.minimum(pace * (x - math.log10(limit)), 50.0))


def bowl(lrs=LRS, start=2.0, end=0.5, centre=1e-2, limit=1.0, noise=0.0, seed=0):
    """Flat, a logistic descent around ``centre``, an explosion around ``limit``."""
    height = start - end
    noisy = np.random.default_rng(seed).normal(0, noise, len(lrs)) if noise else 0.0
    return (start - height * descent(lrs, centre) + height * explosion(lrs, limit) + noisy).tolist()
