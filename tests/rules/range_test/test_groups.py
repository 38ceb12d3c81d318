"""The search for ratios between param groups, on a quadratic whose best ratio is known."""

import math

import numpy as np
import pytest

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.groups import WEIGHT, alone
from lr_lightning.rules.range_test.protocol import START, SweepSettings, Training, carry_out, range_test
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.shallow import ABOVE, RISE
from lr_lightning.rules.range_test.trials import LENGTH, tail_length, trial_lrs

WIDE = {"min_lr": 1e-5, "max_lr": 1e4}
SEARCH = SweepSettings(rule={"groups": "search"}, budget=0, **WIDE)


class Quadratic:
    """Gradient descent on ``sum(h x^2) / 2``, each coordinate a param group with an LR of its own."""

    def __init__(self, curvatures, lrs):
        self.h, self.shares = np.asarray(curvatures, dtype=float), np.asarray(lrs, dtype=float)
        self.shares = self.shares / self.shares[self.shares > 0][0]
        self.x, self.asked = np.ones(len(self.h)), []

    def take(self, steps):
        self.asked.append(steps)
        if steps.origin == START:
            self.x = np.ones(len(self.h)) / np.sqrt(self.h)  # each has the same share of the loss
        losses = []
        for lr in steps.lrs:
            losses.append(float(min((self.h * self.x**2).sum() / 2, 1e30)))
            factors = np.asarray(steps.factors or np.ones(len(self.h)))
            self.x = np.clip(self.x * (1 - lr * self.shares * factors * self.h), -1e20, 1e20)
        return losses


def reached(rates, length=LENGTH):
    """Judged loss of a trial whose coordinates shrink at ``lr * h = rates`` under a linear decay: products."""
    shrinks = np.cumprod([1 - np.asarray(rates) * share for share in trial_lrs(1.0, length)], axis=0)
    losses = np.concatenate([[len(rates) / 2], (shrinks**2).sum(1) / 2])
    return float(losses[length - tail_length(length) : length].mean())


def found(curvatures, lrs, settings=SEARCH, **training):
    driver = Quadratic(curvatures, lrs)
    known = Training(**{"batches": 100, "train_steps": 600, "adaptive": False, "lrs": tuple(lrs), **training})
    result = carry_out(range_test(settings, known), driver.take)
    rates = result.suggestion * np.asarray(result.group_factors or 1.0) * driver.shares * driver.h
    return driver, result, rates


@pytest.mark.parametrize("ratio", [1e-2, 1e-1, 10.0, 100.0])
@pytest.mark.parametrize("scale", [0.1, 1.0])
@pytest.mark.parametrize("start", [(1.0, 1.0), (0.1, 7.0)])
def test_the_gap_to_the_best_of_a_grid_is_closed_in_three_hundred_steps(ratio, scale, start):
    """Alone, each coordinate's curve is the other one's, moved by the ratio of the curvatures."""
    curvatures = scale, scale * ratio
    driver, result, rates = found(curvatures, start)
    grid = np.geomspace(1e-3, 4, 60)
    best = min(reached((a, b)) for a in grid for b in grid)
    swept = found(curvatures, start, SweepSettings(budget=0, **WIDE))[2]
    assert reached(rates) <= best + 0.1 * (reached(swept) - best)
    assert result.steps == sum(len(steps.lrs) for steps in driver.asked) <= 300
    assert rates[1] == pytest.approx(rates[0], rel=0.2)  # the ladder's step is 1.3
    assert result.group_factors[0] == 1
    assert result.interval[0] <= result.suggestion <= result.interval[1]
    own = result.group_factors[1] * start[1] / start[0]
    assert f"2 sweeps of one group alone ({result.steps - result.coverage.visited} steps) chose" in result.reason
    assert f"groups' ratios to the first: 1, {own:.2g}" in result.reason
    assert RangeTestResult.from_dict(result.to_dict()) == result


@pytest.mark.parametrize("start", [(1.0, 1.0), (0.1, 7.0), (2.0, 1e-3)])
def test_under_adam_and_its_kin_the_answer_lies_halfway_to_one_lr_for_all(start):
    _, result, _ = found((1.0, 0.01), start, adaptive=True)
    lrs = np.asarray(result.group_factors) * start / start[0]
    assert WEIGHT[True] == 0.5
    assert lrs[1] / lrs[0] == pytest.approx(math.sqrt(100), rel=0.1)


def test_each_sweep_starts_anew_with_the_other_groups_at_rest_and_what_follows_has_the_ratios():
    budget = SweepSettings(rule={"groups": "search"}, budget=500, **WIDE)
    driver, result, _ = found((1.0, 0.01, 0.1), (1.0, 1.0, 3.0), budget)
    series = {}
    for steps in driver.asked:
        series.setdefault(steps.series, []).append(steps)
    assert list(series)[:5] == ["group 0", "group 1", "group 2", "sweep 0", "trial 0"]
    for i, name in enumerate(["group 0", "group 1", "group 2"]):
        own = driver.shares[i] * np.asarray(series[name][0].factors)[i]
        assert own == pytest.approx(1), "the ladder's LRs are its own"
        assert {tuple(map(bool, steps.factors)) for steps in series[name]} == {tuple(i == j for j in range(3))}
    for name, parts in series.items():
        assert [steps.origin for steps in parts] == [START] + [None] * (len(parts) - 1)
        assert name.startswith("group") or {steps.factors for steps in parts} == {result.group_factors}
    assert result.trials
    assert result.steps == sum(len(steps.lrs) for steps in driver.asked) <= 500


def test_no_trial_follows_where_the_sweeps_have_used_the_budget():
    tight = SweepSettings(rule={"groups": "search"}, budget=300, **WIDE)
    driver, result, _ = found((1.0, 0.01), (1.0, 1.0), tight)
    assert not result.trials
    assert result.steps == sum(len(steps.lrs) for steps in driver.asked) <= 300


def test_a_group_at_rest_is_not_swept_and_stays():
    driver, result, _ = found((1.0, 1.0, 0.01), (0.0, 0.1, 0.1))
    assert {steps.series for steps in driver.asked} == {"group 1", "group 2", "sweep 0"}
    assert result.group_factors[1:] == (1.0, pytest.approx(100, rel=0.1))
    assert alone((0.0, 0.1)) == {1: (0.0, 1.0)}


def test_a_group_that_shows_no_descent_alone_keeps_its_ratio():
    class Idle(Quadratic):
        def take(self, steps):
            losses = super().take(steps)
            return [1.0 + 0.0 * loss for loss in losses] if steps.series == "group 1" else losses

    curvatures, start = (1.0, 1.0, 0.01), (0.1, 0.3, 0.1)
    driver = Idle(curvatures, start)
    result = carry_out(range_test(SEARCH, Training(batches=100, adaptive=False, lrs=start)), driver.take)
    first, second, third = result.group_factors
    assert (first, third) == (1.0, pytest.approx(100, rel=0.1))
    assert second == pytest.approx(math.sqrt(third)), "its ratio to the others' mean"
    assert "(those that alone neither lower the loss nor raise it keep theirs)" in result.reason


def test_a_group_that_only_explodes_counts_as_far_below_that_as_the_others():
    class Noisy(Quadratic):
        def take(self, steps):
            return [max(loss, 1.0) if steps.series == "group 1" else loss for loss in super().take(steps)]

    start = (0.1, 0.3, 0.1)
    driver = Noisy((1.0, 0.1, 0.01), start)
    result = carry_out(range_test(SEARCH, Training(batches=100, adaptive=False, lrs=start)), driver.take)
    assert np.asarray(result.group_factors) * start / start[0] == pytest.approx([1, 10, 100], rel=0.3)
    assert "keep theirs" not in result.reason


def test_ratios_stay_where_fewer_than_two_groups_lower_the_loss():
    nothing = carry_out(range_test(SEARCH, Training(batches=100, lrs=(0.1, 0.1))), lambda steps: [1.0] * len(steps.lrs))
    assert (nothing.suggestion, nothing.group_factors) == (None, ())
    assert "no ratios between groups were found: the loss is that of fewer than two of them" in nothing.reason


@pytest.mark.parametrize("lrs", [(1.0,), (0.0, 1.0), (1.0, 1.0)])
def test_one_group_or_the_default_has_nothing_to_search(lrs):
    settings = SweepSettings(budget=0, **WIDE) if lrs == (1.0, 1.0) else SEARCH
    driver, result, _ = found((1.0, 0.01)[: len(lrs)], lrs, settings)
    assert result.group_factors == ()
    assert ("there is one group alone" in result.reason) == (settings is SEARCH), "what was asked for isn't dropped"
    assert {steps.series for steps in driver.asked} == {"sweep 0"}


@pytest.mark.parametrize("groups", ["all", True, None])
def test_another_search_is_refused(groups):
    with pytest.raises(ValueError, match="groups"):
        SweepSettings(rule={"groups": groups})


def test_another_rule_is_refused_beside_it():
    with pytest.raises(ValueError, match="groups='search' goes with the rule 'share', got 'valley'"):
        SweepSettings(rule={"name": "valley", "groups": "search"})


def test_a_group_that_learns_a_bias_alone_is_read_by_where_the_loss_rises():
    lrs = SweepSettings().lrs

    def losses(lr, first):
        deep, at = (0.05, 1e-4) if first else (0.5, 1e-2)
        return 2 * (1 - deep / (1 + (at / lr) ** 2)) + 0.2 * (lr / 0.1) ** 3

    def take(steps):
        return [losses(lr, first=steps.factors == (1.0, 0.0)) for lr in steps.lrs]

    training = Training(batches=100, adaptive=False, lrs=(1.0, 1.0))
    result = carry_out(range_test(SweepSettings(rule={"groups": "search"}, budget=0), training), take)
    rise = next(lr for lr in lrs if losses(lr, first=True) > 2 * (1 + RISE))
    other = analyze(lrs, [losses(lr, first=False) for lr in lrs], planned=100, cycle=8)
    assert result.group_factors[1] == pytest.approx(other.suggestion / (rise / ABOVE), rel=0.05)
