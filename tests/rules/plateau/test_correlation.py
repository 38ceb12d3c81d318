"""What a window can tell: the correlation of noise, and the slowest gain of going on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning.rules.plateau import stats


def blocks_of(values):
    return [(float(v), 1, float(i + 1)) for i, v in enumerate(values)]


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("slope", [0.0, -0.5])
def test_correlation_of_ar1_noise_on_a_trend(rho, slope):
    """Median over 100 series of 100 values; a straight trend plays no part."""
    found = []
    for seed in range(100):
        rng, x, values = np.random.default_rng(seed), 0.0, []
        for i in range(100):
            x = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal()
            values.append(x + slope * i)
        found.append(stats.correlation(stats.swings_of(blocks_of(values))))
    assert np.median(found) == pytest.approx(rho, abs=0.12)


def test_correlation_of_nothing():
    assert stats.correlation(stats.STILL) == 0.0
    assert stats.correlation(stats.swings_of(blocks_of([1.0] * 30))) == 0.0
    assert stats.correlation(stats.swings_of(blocks_of(np.arange(30.0)))) == 0.0


def test_streamed_and_whole_agree():
    values = blocks_of(np.random.default_rng(0).standard_normal(50))
    swings = stats.STILL
    for i, block in enumerate(values):
        swings = stats.swing(swings, values[:i], block[0])
    assert swings == pytest.approx(stats.swings_of(values), abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(exponent=st.floats(0.05, 1.0), count=st.integers(40, 400), share=st.floats(0.05, 0.6))
def test_promise_is_no_more_than_a_power_law_gains(exponent, count, share):
    """A lower bound for every power law from the start of the stage; 10 % for the medians' coarseness."""
    values = np.arange(1, count + 1.0) ** -exponent
    start = round(count * (1 - share))
    promised = stats.gain(stats.promise(blocks_of(values), 0.0), (count - start) / count)
    assert 0 < promised <= 1.1 * (values[start - 1] - values[-1])


def test_a_spike_makes_no_promise():
    values = np.linspace(2.0, 1.0, 40)
    plain = stats.promise(blocks_of(values), 0.0)
    values[[6, 20]] = 50.0
    assert stats.promise(blocks_of(values), 0.0) == pytest.approx(plain, rel=0.1)
