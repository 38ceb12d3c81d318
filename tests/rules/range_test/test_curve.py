"""What is read off losses before a rule speaks, against closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lr_lightning.rules.range_test.curve import head_length, prepare, stop_index
from lr_lightning.rules.range_test.interval import constant_factor, resampled_readings, width
from lr_lightning.rules.range_test.readings import read
from lr_lightning.rules.range_test.smoothing import despike, noise_level, run_lengths, smooth
from tests.helpers.curves import LRS, bowl

FLAT = [1.0] * 20


@pytest.mark.parametrize(
    ("losses", "stop"),
    [
        ([*FLAT, 0.5], None),
        ([*FLAT, 0.5, 1.51, 1.51, 1.51, 1.51], None),  # four above 1 + (1 - 0.5)
        ([*FLAT, 0.5, 1.51, 1.51, 1.51, 1.51, 1.51], 25),
        ([*FLAT, 0.5, 1.49, 1.49, 1.49, 1.49, 1.49, 1.49], None),
        ([*FLAT, 0.5, 9.0, 9.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0], 28),
        ([*FLAT, 0.5, 9.0, 9.0, math.inf], 23),
        ([math.nan, 1.0], 0),
        ([*FLAT, *[1.0 + 1e-7] * 9], None),  # float32's last digit
        ([*FLAT, *[1.0 + 1e-5] * 9], 24),
        ([9.0] * 9 + [1.0] * 11 + [8.0] * 9, None),  # the start counts as it is
    ],
)
@pytest.mark.parametrize("shift", [0.0, -3.0])
def test_where_a_sweep_stops(losses, stop, shift):
    assert stop_index([loss + shift for loss in losses], planned=100) == stop


def test_the_start_is_a_tenth_of_the_plan():
    losses = [*[1.0] * 30, 0.5, *[9.0] * 9]
    assert stop_index(losses, planned=100) == 35
    assert stop_index(losses, planned=310) == 35
    assert stop_index(losses, planned=350) is None  # 35 of them are the start: the bound is far above
    assert [head_length(planned) for planned in (1, 2, 9, 29, 30, 99, 100, 105, 106, 1000)] == [
        *(1, 1, 3, 9, 10, 10, 10, 10, 11, 100)
    ]


def test_runs_are_counted_to_each_place():
    assert run_lengths(np.array([False, True, True, False, True])).tolist() == [0, 1, 2, 0, 1]
    assert run_lengths(np.array([], dtype=bool)).tolist() == []


def test_smoothing_is_the_mean_under_a_gaussian():
    x, y = np.linspace(0.0, 4.0, 41), np.sin(np.linspace(0.0, 9.0, 41))
    weights = np.exp(-0.5 * ((x[:, None] - x) / 0.3) ** 2)
    exact = weights @ y / weights.sum(1)
    # What smoothing does besides at the ends is its own affair; a constant stays one everywhere.
    np.testing.assert_allclose(smooth(x, y, 0.3)[12:-12], exact[12:-12], atol=0.02)
    np.testing.assert_allclose(smooth(x, np.full(41, 2.5), 0.3), 2.5, rtol=1e-12)


def test_constant_lrs_over_long_runs_are_lower():
    assert [constant_factor(steps) for steps in (None, 1, 300)] == [1.0] * 3
    assert constant_factor(301) == pytest.approx((300 / 301) ** 0.25)
    assert constant_factor(2400) == pytest.approx(8**-0.25)
    assert constant_factor(300 * 10**4) == pytest.approx(0.1)
    assert constant_factor(10**9) == 0.1
    assert width((0.01, 0.1)) == pytest.approx(1.0)


def test_resampled_readings_are_reproducible_and_centred():
    x = np.log(np.asarray(LRS))
    found = prepare(x, np.asarray(bowl(noise=0.02)), False, float(x[1] - x[0]), 100, 1)
    readings = resampled_readings(found, "share", 40)
    assert readings == resampled_readings(found, "share", 40)
    assert len(set(readings)) > 20
    assert float(np.median(readings)) == pytest.approx(read(found, "share"), rel=0.3)


@pytest.mark.parametrize("trend", [0.0, 0.01, "bent"])
def test_the_noise_of_one_loss_whatever_the_trend(trend):
    noise = np.random.default_rng(0).normal(0.0, 0.3, 4000)
    place = np.arange(4000.0)
    bend = 5.0 * (place / 1000) ** 2 if trend == "bent" else trend * place
    assert noise_level(noise + bend) == pytest.approx(0.3, rel=0.05)
    # Batches that differ by far more than the noise, each met every eighth step.
    uneven = noise + bend + 5.0 * np.random.default_rng(1).normal(size=8)[np.arange(4000) % 8]
    assert noise_level(uneven, cycle=8) == pytest.approx(0.3, rel=0.06)
    assert noise_level(uneven) > 1.0


def test_the_noise_of_next_to_nothing():
    assert noise_level(np.array([1.0, 2.0, 3.0])) == 0.0
    assert noise_level(np.arange(20.0)) == 0.0


def test_single_spikes_go_and_steps_stay():
    quiet = np.where(np.arange(40) < 20, 2.0, 1.0) + 0.001 * np.sin(np.arange(40.0) * 7)
    spiked = quiet.copy()
    spiked[[5, 30]] = [9.0, -9.0]
    np.testing.assert_allclose(despike(spiked), quiet, atol=0.01)
    np.testing.assert_allclose(despike(quiet), quiet, atol=0.01)
    short = np.array([1.0, 9.0, 1.0, 1.0])
    np.testing.assert_array_equal(despike(short), short)
    assert despike(short) is not short
    just = np.array([1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0])
    assert float(despike(just, reach=3).max()) == 1.0
    assert float(despike(just[:6], reach=3).max()) == 9.0


def straight(stopped="range"):
    """A curve that falls by 1 from 2 over 100 steps, as read."""
    x = np.log(np.asarray(LRS))
    return prepare(x, np.linspace(2.0, 1.0, 100), stopped, float(x[1] - x[0]), 100, 1)


@pytest.mark.parametrize(("errors", "descends"), [(5.0005, True), (4.9995, False)])
@pytest.mark.parametrize("which", ["error", "light_error"])
def test_a_descent_is_five_standard_errors_of_a_difference(errors, descends, which):
    drop = straight().drop
    quiet = {"error": math.inf, "light_error": math.inf, "light_drop": drop}
    error = drop / (math.sqrt(2) * errors)
    assert replace(straight(), **quiet | {which: error}).descends is descends


def test_a_descent_beyond_the_last_digit_of_float32():
    small = {"error": 0.0, "light_error": 0.0, "light_drop": 1.0}
    smoothed = np.linspace(1.0, 1.0 - 1.1e-5, 100)
    assert replace(straight(), smooth=smoothed, start=1.0, low=99, **small).descends
    smoothed = np.linspace(1.0, 1.0 - 9e-6, 100)
    assert not replace(straight(), smooth=smoothed, start=1.0, low=99, **small).descends


def test_a_curve_that_rises_before_it_falls_back_descends_by_what_it_fell():
    risen = np.concatenate([np.linspace(1.0, 2.0, 50), np.linspace(2.0, 1.5, 50)])
    small = {"error": 0.0, "light_error": 0.0, "light_drop": 1.0}
    assert replace(straight(), smooth=risen, start=2.4, low=99, **small).descends  # .5 of .9
    assert not replace(straight(), smooth=risen, start=2.6, low=99, **small).descends  # .5 of 1.1


def test_an_explosion_is_capped_at_half_of_the_descent_and_goes_on_for_three_widths():
    x = np.log(np.asarray(LRS))[:60]
    losses = np.concatenate([np.full(20, 2.0), np.linspace(2.0, 1.0, 35), [2.0, 9.0, 9.0, 9.0, 9.0]])
    spacing = float(x[1] - x[0])
    found = prepare(x, losses, "diverged", spacing, 100, 1)
    cleaned = despike(losses)[: len(found.x)]
    sigma = 6 * spacing
    assert found.sigma == pytest.approx(sigma)
    cap = 2.0 + 0.5 * (2.0 - float(smooth(found.x, np.minimum(cleaned, 2.0), sigma).min()))
    longer = np.concatenate([found.x, found.x[-1] + spacing * np.arange(1, 19)])
    oracle = smooth(longer, np.concatenate([np.minimum(cleaned, cap), np.full(18, cap)]), sigma)
    np.testing.assert_allclose(found.smooth, oracle[: len(found.x)], rtol=1e-9)
    open_end = prepare(x[:55], losses[:55], "range", spacing, 100, 1)
    np.testing.assert_allclose(open_end.smooth, smooth(x[:55], despike(losses[:55]), sigma), rtol=1e-9)
