"""Losses that fall, rise, and fall to what dead units reach: where a network learnt no more than its outputs' scale."""

import math

import numpy as np
import pytest

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.explosion import SecondFall, second_falls
from lr_lightning.rules.range_test.protocol import SweepSettings, Training, carry_out, range_test
from lr_lightning.rules.range_test.readings import ON_THE_WAY
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.trials import for_decay
from tests.helpers.curves import LRS, descent, explosion

X = np.asarray(LRS)
LEVELS = np.random.default_rng(0).uniform(0.8, 1.2, 8)[np.arange(100) % 8]


def dying(start=50.0, valley=10.0, rise=25.0, constant=1.0, death=1e-2):
    """A descent around 1e-4, a rise beyond 1e-3, and from ``death`` on the loss of a constant prediction."""
    alive = start - (start - valley) * descent(LRS, 1e-4) + rise * np.minimum(explosion(LRS, 1e-3), 1)
    return np.where(death < X, constant, alive)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("death", [3e-3, 1e-2, 1e-1])
def test_the_suggestion_lies_between_the_first_fall_and_death(scale, death):
    losses = scale * dying(death=death)
    result = analyze(LRS, losses.tolist())
    first, second = result.second_fall
    bottom = X[np.argmin(np.where(death < X, math.inf, losses))]
    assert bottom / 2 < first < bottom * 2
    assert death / 2 < second < death * 2
    assert result.suggestion == pytest.approx(first ** (1 - ON_THE_WAY) * second**ON_THE_WAY)
    assert result.interval[0] < first < result.suggestion < result.interval[1] == second
    assert result.zones.diverging[0] < death
    assert "units have died" in result.reason
    assert (result.status, result.ok) == ("ok", True)


@pytest.mark.parametrize("rise", [8.0, 25.0, 40.0])
def test_batches_of_different_levels_move_it_little(rise):
    even, uneven = (analyze(LRS, (dying(rise=rise) * by).tolist(), cycle=8) for by in (1.0, LEVELS))
    assert abs(math.log10(uneven.suggestion / even.suggestion)) < 0.15
    assert abs(math.log10(uneven.second_fall[1] / even.second_fall[1])) < 0.15


@pytest.mark.parametrize(
    "losses",
    [
        dying(rise=0.0),  # straight down: there is nothing to tell death from learning
        dying(valley=2.0, constant=6.0),  # all but what the constant reaches was learnt before
        dying(start=4.0, valley=2.5, rise=1.0),  # a start at the right scale
        dying() - 30,  # a loss without a natural zero
        dying(constant=20.0),  # no lower than the first fall
        dying(start=50.0, valley=45.0, rise=4.0),  # a wiggle before the fall
    ],
    ids=["no rise", "learnt", "right scale", "negative", "higher", "wiggle"],
)
def test_other_curves_fall_once(losses):
    assert analyze(LRS, losses.tolist()).second_fall is None


def test_a_first_fall_that_is_noise_is_no_descent_and_what_follows_is_none_either():
    noise = np.random.default_rng(1).normal(0, 8, 100) * (X < 1e-2)
    result = analyze(LRS, (dying(start=30, valley=22, rise=60) + noise).tolist())
    assert (result.status, result.suggestion) == ("no_descent", None)


def test_the_first_of_several_rises_counts_and_the_steepest_is_at_hand():
    plain = [20.0] * 10 + [9.0] * 10 + [12.0] * 10 + [8.0] * 10 + [30.0] * 10 + [1.0] * 10
    assert second_falls(np.array(plain), 20.0, 5) == [SecondFall(12, 31), SecondFall(32, 51)]
    assert second_falls(np.array(plain[:9]), 20.0, 5) == []


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("groups", ["keep", "search"])
def test_the_reading_stays_and_no_trial_asks_which_lr_dies_fastest(adaptive, groups):
    losses = dying().tolist()

    def take(steps):
        assert steps.series in (["sweep 0"] if groups == "keep" else ["group 0", "group 1", "sweep 0"])
        return losses[steps.index : steps.index + len(steps.lrs)]

    training = Training(batches=20, train_steps=100_000, adaptive=adaptive, lrs=(0.1, 0.01))
    settings = SweepSettings(min_lr=LRS[0], max_lr=LRS[-1], rule={"groups": groups})
    result = carry_out(range_test(settings, training), take)
    reading = analyze(LRS, losses, planned=100, cycle=8)
    assert result.suggestion == reading.suggestion == for_decay(reading, adaptive).suggestion
    assert not result.trials
    assert result.group_factors == ()
    assert ("no ratios between groups were found: units die" in result.reason) == (groups == "search")
    assert RangeTestResult.from_dict(result.to_dict()) == result


@pytest.mark.parametrize("planned", [100, 300])
def test_uneven_batches_of_a_flat_start_are_no_descent_that_explodes(planned):
    # Seven batches of one level and one far below, or above: the median batch isn't the mean one.
    lrs = np.geomspace(1e-7, 10, planned)
    curve = 1.5 - 0.2 * descent(lrs, 1e-2) + explosion(lrs, 0.5)
    for odd in (-0.3, 0.3):
        uneven = curve + np.where(np.arange(planned) % 8 == 5, odd, 0.0)
        found, plain = (analyze(lrs.tolist(), y.tolist(), cycle=8) for y in (uneven, curve))
        assert found.status == "ok", found.reason
        assert abs(math.log10(found.suggestion / plain.suggestion)) < 0.2
