"""Mann-Kendall's p-value against the exact distribution of S that scipy counts out."""

import math

import numpy as np
import pytest
import scipy.stats

from lr_lightning.rules.plateau.stats import mann_kendall


def exact(values):
    """P(S <= s) of independent values in any order: small where they fall."""
    return scipy.stats.kendalltau(np.arange(len(values)), values, method="exact", alternative="less").pvalue


def plain(values):
    """The normal approximation without a continuity correction."""
    n, (s, _) = len(values), mann_kendall(values)
    return scipy.stats.norm.cdf(s / math.sqrt(n * (n - 1) * (2 * n + 5) / 18))


@pytest.mark.parametrize("n", [5, 8, 12, 16, 20])
def test_p_is_the_exact_one_thanks_to_the_continuity_correction(n):
    """P(S <= s) as the correction has it for falls; for rises it is P(S < s), so that both sides ask for as much."""
    rng = np.random.default_rng(n)
    corrected, without = [], []
    for _ in range(60):
        values = (rng.permutation(n) - rng.uniform(0, 2) * np.arange(n)).tolist()
        s, p = mann_kendall(values)
        s_scipy = scipy.stats.kendalltau(np.arange(n), values).statistic * n * (n - 1) / 2
        assert s == round(s_scipy)
        true = exact(values) if s < 0 else 1.0 - exact([-x for x in values])
        if s:
            corrected.append(abs(p - true))
            without.append(abs(plain(values) - true))
    assert max(corrected) < 0.012
    assert np.mean(corrected) < np.mean(without) / 3


def test_a_rise_is_the_mirror_of_a_fall():
    for seed in range(20):
        values = np.random.default_rng(seed).standard_normal(9).tolist()
        (s, p), (t, q) = mann_kendall(values), mann_kendall([-x for x in values])
        assert s == -t
        assert p == pytest.approx(1.0 - q, abs=1e-12)
    assert mann_kendall([1.0, 1.0, 1.0]) == (0, 0.5)
    assert mann_kendall([]) == (0, 0.5)
