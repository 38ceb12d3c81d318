"""The shapes that mislead range tests, each with its right answer."""

import math

import numpy as np
import pytest

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.curve import stop_index
from lr_lightning.rules.range_test.ladder import ladder
from tests.helpers.curves import LRS, bowl, descent, explosion

# The descent of `bowl` lies around 1e-2 and its minimum near 1e-1: within half a decade of 3e-2 is right.
RIGHT = (1e-2, 1e-1)


def suggestion(losses, lrs=LRS, **options):
    result = analyze(lrs[: len(losses)], losses, planned=len(lrs), **options)
    assert result.status == "ok", result.reason
    return result.suggestion


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_a_classic_bowl(noise):
    assert RIGHT[0] < suggestion(bowl(noise=noise)) < RIGHT[1]


@pytest.mark.parametrize("shift", [-1000.0, -2.0, -0.5, 0.0, 1e4])
def test_negative_losses_and_losses_near_zero(shift):
    assert suggestion([v + shift for v in bowl()]) == pytest.approx(suggestion(bowl()), rel=1e-4)


def test_the_plateau_of_a_dead_network_is_not_the_minimum():
    # A huge start, a descent to 5, an explosion back to 80, then dead units: the constant prediction's loss, 1.
    alive = 50 - 45 * descent(LRS, 1e-4) + 30 * explosion(LRS, 1e-3)
    dead = np.asarray(LRS) > 1e-2
    losses = np.where(dead, 1.0, np.minimum(alive, 80)).tolist()
    result = analyze(LRS, losses)
    assert 1e-4 < result.suggestion < 5e-3
    assert result.zones.diverging[0] < 1e-3


def test_a_curve_without_any_descent_keeps_the_lr():
    flat = (1 + 0.05 * np.random.default_rng(0).normal(size=100)).tolist()
    result = analyze(LRS, flat)
    assert (result.status, result.suggestion) == ("no_descent", None)
    assert "raise max_lr" in result.reason


def test_a_curve_that_only_grows_says_to_lower_min_lr():
    result = analyze(LRS, (1 + explosion(LRS, 1e-5)).tolist())
    assert (result.status, result.suggestion) == ("no_descent", None)
    assert "lower min_lr" in result.reason


def test_a_curve_without_divergence_suggests_and_names_the_bound():
    lrs = ladder(1e-7, 1e-2, 100)
    result = analyze(lrs, bowl(lrs))
    assert result.status == "no_divergence"
    assert "raise max_lr" in result.reason
    assert 1e-3 < result.suggestion <= 1e-2
    assert result.zones.diverging is None


def test_a_huge_starting_loss_hides_nothing_right_of_the_first_descent():
    losses = (26000 * (1 - descent(LRS, 1e-3)) + 3000 + 26000 * explosion(LRS, 1e-1)).tolist()
    assert 1e-3 < suggestion(losses) < 2e-2


def test_of_two_descents_the_deeper_counts_if_the_bump_between_is_low():
    bump = np.exp(-((np.log10(np.asarray(LRS)) + 3) ** 2) / 0.1)
    losses = (2 - 0.6 * descent(LRS, 1e-4) + 0.2 * bump - 0.9 * descent(LRS, 1e-2) + 1.5 * explosion(LRS, 1.0)).tolist()
    assert RIGHT[0] / 2 < suggestion(losses) < RIGHT[1]


def test_of_two_descents_the_first_counts_if_the_curve_came_back_between():
    bump = np.exp(-((np.log10(np.asarray(LRS)) + 2.5) ** 2) / 0.2)
    losses = (2 - descent(LRS, 1e-4) + 1.2 * bump - 0.4 * descent(LRS, 1e-1) + 1.5 * explosion(LRS, 3.0)).tolist()
    assert 5e-5 < suggestion(losses) < 1e-3


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("place", [15, 40, 60, 68])
def test_a_spike_of_either_sign_moves_little(sign, place):
    losses = bowl(noise=0.01)
    clean = suggestion(losses)
    losses[place] += sign * 20
    assert abs(math.log10(suggestion(losses) / clean)) < 0.1
    assert stop_index(losses[:80]) == stop_index(bowl(noise=0.01)[:80])


@pytest.mark.parametrize("points", [20, 30, 50, 300, 1000])
def test_short_and_long_ladders_agree_within_a_little_over_half_a_decade(points):
    lrs = ladder(1e-7, 10.0, points)
    assert abs(math.log10(suggestion(bowl(lrs), lrs) / suggestion(bowl()))) < 0.6


def test_a_linear_ladder_is_read_in_log_lr():
    lrs = ladder(1e-4, 1.0, 200, "linear")
    result = analyze(lrs, bowl(lrs, limit=0.5), spacing="linear")
    assert result.status == "ok"
    assert 5e-3 < result.suggestion < 1e-1


def test_batches_of_different_levels_move_nothing_when_they_are_cycled():
    levels = np.tile(np.random.default_rng(0).normal(0, 0.5, 8), 13)[:100]
    uneven = (np.asarray(bowl()) + levels).tolist()
    assert abs(math.log10(suggestion(uneven, cycle=8) / suggestion(bowl(), cycle=8))) < 0.1


# Measured: AdamW on a small network with BatchNorm and dropout, batches of 16, 40 steps from 1e-5 to 10.
MEASURED = {
    "spiky descent": [
        1.115, 1.183, 1.109, 1.186, 1.183, 1.127, 1.077, 1.129, 1.071, 1.174, 1.115, 1.148, 1.157, 1.057, 1.09, 1.095,
        1.006, 1.077, 1.07, 1.026, 0.905, 0.853, 1.689, 1.248, 0.541, 1.348, 0.588, 0.203, 1.309, 1.692, 4.791, 2.432,
        2.691, 1.705, 0.929, 4.407, 2.646, 3.19, 8.891, 16.697,
    ],
    "noisy explosion": [
        1.11, 1.096, 1.104, 1.074, 1.094, 1.115, 1.124, 1.113, 1.103, 1.074, 1.108, 1.089, 1.059, 1.067, 1.149, 1.144,
        1.024, 1.031, 1.018, 0.943, 0.931, 0.923, 1.248, 0.851, 0.776, 1.417, 0.348, 0.317, 1.292, 2.056, 7.86, 12.435,
        14.767, 44.81, 73.453, 72.262, 14.359, 484.326, 1594.117, 39.883,
    ],
}  # fmt: skip


@pytest.mark.parametrize("losses", MEASURED.values(), ids=MEASURED)
def test_a_short_ladder_with_a_noisy_tail_is_read_where_an_eye_reads_it(losses):
    lrs = ladder(1e-5, 10.0, 40)
    assert 1e-2 <= suggestion(losses, lrs, cycle=8) <= 5e-2
    assert 1e-2 <= suggestion(losses, lrs) <= 5e-2


@pytest.mark.parametrize("points", [20, 40, 100])
def test_pure_noise_stops_nothing_and_rarely_looks_like_a_descent(points):
    lrs = ladder(1e-7, 10.0, points)
    curves = [(1 + 0.1 * np.random.default_rng(seed).normal(size=points)).tolist() for seed in range(100)]
    assert not any(stop_index(losses, planned=points) is not None for losses in curves)
    assert sum(analyze(lrs, losses, cycle=8).ok for losses in curves) <= 5


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("shape", [lambda i: 1 + 0.05 * i, lambda i: 1 + (i / 30) ** 3, lambda i: -3 + 0.001 * i])
def test_a_loss_that_only_rises_is_no_descent(shape, noise):
    rng = np.random.default_rng(0)
    lrs = ladder(1e-7, 10.0, 100)
    losses = [shape(i) + noise * rng.standard_normal() for i in range(100)]
    result = analyze(lrs, losses, planned=100)
    assert result.status == "no_descent", result.reason
    assert result.suggestion is None


@pytest.mark.parametrize("shape", [lambda i: 1 + 0.3 * math.sqrt(i), lambda i: 2 - math.exp(-i / 4)])
def test_a_loss_that_rises_at_once_and_ever_slower_is_no_descent(shape):
    # Its smoothed start lies clearly below the median of its first losses: a drop to which nothing ever fell.
    result = analyze(LRS, [shape(i) for i in range(100)])
    assert result.status == "no_descent", result.reason
    assert "lower min_lr" in result.reason or "raise max_lr" in result.reason
