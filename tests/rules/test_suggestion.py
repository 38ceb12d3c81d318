"""The shapes that mislead range tests, each with its right answer."""

import math

import numpy as np
import pytest

from lr_lightning.rules.curve import diverged
from lr_lightning.rules.range_test import analyze
from lr_lightning.rules.sweep import ladder
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
    assert 5e-5 < result.suggestion < 5e-4
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
    assert diverged(losses[:80]) == diverged(bowl(noise=0.01)[:80])


@pytest.mark.parametrize("points", [20, 30, 50, 300, 1000])
def test_short_and_long_ladders_agree_within_a_little_over_half_a_decade(points):
    lrs = ladder(1e-7, 10.0, points)
    assert abs(math.log10(suggestion(bowl(lrs), lrs) / suggestion(bowl()))) < 0.55


def test_a_linear_ladder_is_read_in_log_lr():
    lrs = ladder(1e-4, 1.0, 200, "linear")
    result = analyze(lrs, bowl(lrs, limit=0.5), spacing="linear")
    assert result.status == "ok"
    assert 5e-3 < result.suggestion < 1e-1


def test_batches_of_different_levels_move_nothing_when_they_are_cycled():
    levels = np.tile(np.random.default_rng(0).normal(0, 0.5, 8), 13)[:100]
    uneven = (np.asarray(bowl()) + levels).tolist()
    assert abs(math.log10(suggestion(uneven, cycle=8) / suggestion(bowl(), cycle=8))) < 0.1


def test_a_reference_takes_the_batches_own_level_out():
    levels = np.random.default_rng(0).normal(0, 0.3, 100)
    uneven = (np.asarray(bowl()) + levels).tolist()
    known = suggestion(uneven, reference=levels.tolist())
    assert known == pytest.approx(suggestion((np.asarray(bowl()) + levels.mean()).tolist()), rel=1e-6)
