"""The search for ratios between param groups, on a quadratic whose best ratio is known."""

import math

import numpy as np
import pytest

from lr_lightning.rules.range_test.groups import FACTOR, LENGTH, MOST_STEPS, conclude, next_factors
from lr_lightning.rules.range_test.protocol import START, SweepSettings, Training, carry_out, range_test
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.trials import tail_length, trial_lrs

SEARCH = SweepSettings(rule={"groups": "search"}, min_lr=1e-6, max_lr=1e3)


class Quadratic:
    """Gradient descent on ``sum(h x^2) / 2``, each coordinate a param group with an LR ratio of its own."""

    def __init__(self, curvatures, ratios):
        self.h, self.ratios = np.asarray(curvatures, dtype=float), np.asarray(ratios, dtype=float)
        self.x, self.asked = np.ones(len(self.h)), []

    def take(self, steps):
        self.asked.append(steps)
        if steps.origin == START:
            self.x = np.ones(len(self.h)) / np.sqrt(self.h)  # each has the same share of the loss
        losses = []
        for lr in steps.lrs:
            losses.append(float(min((self.h * self.x**2).sum() / 2, 1e30)))
            factors = np.asarray(steps.factors or np.ones(len(self.h)))
            self.x = np.clip(self.x * (1 - lr * self.ratios * factors * self.h), -1e20, 1e20)
        return losses


def reached(rates, length=LENGTH):
    """Judged loss of a trial whose coordinates shrink at ``lr * h = rates`` under a linear decay: products."""
    shrinks = np.cumprod([1 - np.asarray(rates) * share for share in trial_lrs(1.0, length)], axis=0)
    losses = np.concatenate([[len(rates) / 2], (shrinks**2).sum(1) / 2])
    return float(losses[length - tail_length(length) : length].mean())


def found(curvatures, ratios, settings=SEARCH):
    driver = Quadratic(curvatures, ratios)
    training = Training(batches=100, train_steps=600, adaptive=False, groups=len(curvatures))
    result = carry_out(range_test(settings, training), driver.take)
    rates = result.suggestion * np.asarray(result.group_factors or 1.0) * driver.ratios * driver.h
    return driver, result, rates


@pytest.mark.parametrize("ratio", [1e-2, 1e-1, 10.0, 100.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_nine_tenths_of_the_gap_to_the_best_of_a_grid_are_closed_in_three_hundred_steps(ratio, scale):
    curvatures = scale, scale * ratio
    driver, result, rates = found(curvatures, (1.0, 1.0))
    grid = np.geomspace(1e-3, 4, 60)
    best = min(reached((a, b)) for a in grid for b in grid)
    swept = found(curvatures, (1.0, 1.0), SweepSettings(min_lr=1e-6, max_lr=1e3, budget=0))[2]
    assert reached(rates) <= best + 0.1 * (reached(swept) - best)
    assert result.steps == sum(len(steps.lrs) for steps in driver.asked) <= 300
    assert math.log(result.group_factors[1] * ratio, 10) == pytest.approx(0, abs=0.6)
    assert result.group_factors[0] == 1
    assert result.interval[0] <= result.suggestion <= result.interval[1]
    assert "groups' ratios" in result.reason
    assert RangeTestResult.from_dict(result.to_dict()) == result


def test_ratios_given_by_the_user_count():
    plain, skewed = found((1.0, 10.0), (1.0, 1.0)), found((1.0, 10.0), (1.0, 7.0))
    assert skewed[2] == pytest.approx(plain[2], rel=4)
    assert skewed[1].group_factors[1] < plain[1].group_factors[1] / 2


def test_each_trial_starts_anew_with_one_groups_lr_changed():
    driver, result, _ = found((1.0, 0.01, 0.01), (1.0, 1.0, 1.0))
    series = {}
    for steps in driver.asked:
        if steps.series.startswith("group trial"):
            series.setdefault(steps.series, []).append(steps)
    assert 3 < len(series) <= MOST_STEPS // LENGTH
    seen = [parts[0].factors for parts in series.values()]
    for i, factors in enumerate(seen[1:], 1):
        nearest = min(sum(a != b for a, b in zip(factors, other, strict=True)) for other in seen[:i])
        assert nearest == 1
    for parts in series.values():
        assert [steps.origin for steps in parts] == [START] + [None] * (len(parts) - 1)
        assert sum(len(steps.lrs) for steps in parts) == LENGTH
    assert all(not steps.factors for steps in driver.asked if not steps.series.startswith("group trial"))
    assert not result.trials


@pytest.mark.parametrize(("groups", "settings"), [(1, SEARCH), (2, SweepSettings(min_lr=1e-6, max_lr=1e3))])
def test_one_group_or_the_default_has_nothing_to_search(groups, settings):
    driver, result, _ = found((1.0, 0.01)[:groups], (1.0, 1.0)[:groups], settings)
    assert result.group_factors == ()
    assert ("there is one group alone" in result.reason) == (settings is SEARCH), "what was asked for isn't dropped"
    assert {steps.series for steps in driver.asked} == {"sweep 0"}


def test_upwards_first_then_downwards_until_no_group_gets_better():
    trials, asked = {}, []
    while (factors := next_factors(trials, 2)) is not None:
        asked.append(factors)
        off = [math.log(factor / best, FACTOR) for factor, best in zip(factors, (FACTOR, 1 / FACTOR), strict=True)]
        trials[factors] = [1 + sum(x * x for x in off)] * LENGTH
    up, down = [(1, 1), (4, 1), (16, 1), (4, 4)], [(4, 1 / 4), (4, 1 / 16)]
    assert asked[: len(up)] == up
    assert set(asked[len(up) :]) == {*down, (16, 1 / 4), (1, 1 / 4), (1, 1 / 1)} - {(1, 1)}
    assert conclude(trials).factors == (FACTOR, 1 / FACTOR)


def test_the_sweeps_level_stays_where_every_group_would_be_raised():
    """Short trials want more of everything; what the group bears that bears least, the sweep has seen."""
    best = (FACTOR**2, FACTOR)
    trials = {}
    while (factors := next_factors(trials, 2)) is not None:
        off = [math.log(factor / there, FACTOR) for factor, there in zip(factors, best, strict=True)]
        trials[factors] = [1 + sum(x * x for x in off)] * LENGTH
    assert min(trials, key=lambda factors: trials[factors][-1]) == best
    assert conclude(trials).factors == (FACTOR, 1.0)


def test_a_diverging_trial_is_no_better_one():
    trials = {(1.0, 1.0): [1.0] * LENGTH, (4.0, 1.0): [1.0, math.nan]}
    assert next_factors(trials, 2) == (1.0, 4.0)
    assert conclude(trials).factors == (1.0, 1.0)


@pytest.mark.parametrize("groups", ["all", True, None])
def test_another_search_is_refused(groups):
    with pytest.raises(ValueError, match="groups"):
        SweepSettings(rule={"groups": groups})


def test_a_rule_without_trials_is_refused_beside_it():
    with pytest.raises(ValueError, match="groups='search' goes with the rule 'share', got 'valley'"):
        SweepSettings(rule={"name": "valley", "groups": "search"})
