"""Trials after a sweep: what they ask for, what they may cost, and that they find the best LR of a decayed run."""

import math

import numpy as np
import pytest

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.interval import constant_factor
from lr_lightning.rules.range_test.protocol import (
    JUDGED_BATCHES,
    START,
    TRIAL_BATCHES,
    SweepSettings,
    Training,
    carry_out,
    range_test,
)
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.shallow import BELOW_RISE
from lr_lightning.rules.range_test.trials import (
    HEADROOM,
    LEAST,
    LEAST_TRIALS,
    LENGTH,
    WEIGHT,
    conclude,
    for_decay,
    headroom,
    horizon,
    next_lr,
)

CURVATURES = np.array([1.0, 0.1])
DECAYING = Training(train_steps=100_000, decays=True, adaptive=False)


class Quadratic:
    """Takes the steps that are asked for on ``sum(h x^2) / 2``: plain gradient descent, each loss in closed form."""

    def __init__(self, scale=1.0, floor=0.0):
        self.scale, self.floor, self.x, self.asked = scale, floor, np.ones(2), []

    def take(self, steps):
        self.asked.append(steps)
        if steps.origin == START:
            self.x = np.ones(2)
        losses = []
        for lr in steps.lrs:
            loss = float(np.minimum(self.scale * (CURVATURES * self.x**2).sum() / 2, 1e30))
            losses.append(self.floor + loss)
            self.x = np.clip(self.x - lr * self.scale * CURVATURES * self.x, -1e20, 1e20)
        return losses

    def trials(self):
        return [s for s in self.asked if s.series.startswith("trial")]


def run(driver, training=DECAYING, **settings):
    return carry_out(range_test(SweepSettings(**settings), training), driver.take)


def reached(lr, length=LENGTH):
    """Mean loss in the last quarter of a run on the quadratic under a linear decay from ``lr``: products."""
    shrinks = np.cumprod([1 - lr * (1 - i / length) * CURVATURES for i in range(length)], axis=0)
    losses = (CURVATURES * shrinks**2).sum(1) / 2
    return float(losses[length - round(length / 4) - 1 : -1].mean())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_best_of_the_trials_is_the_best_of_all_decayed_runs_to_a_step(scale):
    result = run(Quadratic(scale), min_lr=1e-6 / scale, max_lr=100 / scale)
    tried = {trial["lr"]: trial["loss"] for trial in result.trials}
    best = min(tried, key=tried.get)
    grid = np.geomspace(1e-3, 100, 400)
    oracle = grid[np.argmin([reached(lr) for lr in grid])] / scale
    assert 1 / 2 <= best / oracle <= 2
    assert best / 3 <= result.suggestion <= best * 3
    assert result.interval[0] <= best <= result.interval[1]
    assert "trials" in result.reason


def test_every_trial_starts_anew_and_is_judged_on_batches_it_has_not_trained_on():
    driver = Quadratic()
    run(driver)
    by_name = {}
    for steps in driver.trials():
        by_name.setdefault(steps.series, []).append(steps)
    assert len(by_name) >= 3
    for parts in by_name.values():
        assert [s.origin for s in parts] == [START] + [None] * (len(parts) - 1)
        assert [s.index for s in parts] == list(np.cumsum([0] + [len(s.lrs) for s in parts[:-1]]))
        last, lrs = parts[-1], [lr for s in parts for lr in s.lrs]
        assert (last.first, last.cycle) == (TRIAL_BATCHES, JUDGED_BATCHES)
        trained_on = {b for s in parts for b in s.batches if s.first == 0}
        assert trained_on.isdisjoint(last.batches)
        assert lrs == pytest.approx([lrs[0] * (1 - i / len(lrs)) for i in range(len(lrs))])
    assert len({tuple(tuple(s.batches) for s in parts) for parts in by_name.values()}) == 1


@pytest.mark.parametrize(
    ("budget", "train_steps", "most"),
    [
        (0.1, 600, 0),
        (0.03, 4000, 120),
        (0.1, 3000, 300),
        (0.1, 10**6, 450),
        (1.0, 10**6, 450),
        (500, 600, 500),
        (400, None, 400),
        (0.1, None, 0),
        (0, 10**6, 0),
    ],
)
def test_trials_keep_within_the_budget_and_the_sweep_never_takes_less(budget, train_steps, most):
    driver = Quadratic()
    result = run(driver, Training(train_steps=train_steps, decays=True, adaptive=False), budget=budget)
    swept = sum(len(s.lrs) for s in driver.asked if s.series == "sweep 0")
    assert result.steps == sum(len(s.lrs) for s in driver.asked)
    assert swept <= result.steps <= max(swept, most)
    assert bool(result.trials) == (most - swept >= 2 * LENGTH)


@pytest.mark.parametrize("adaptive", [True, False])
def test_without_trials_the_reading_is_raised_for_a_decay_and_kept_for_a_constant_lr(adaptive):
    decayed = run(Quadratic(), Training(decays=True, adaptive=adaptive))
    constant = run(Quadratic(), Training(decays=False, adaptive=adaptive, train_steps=100_000))
    reading = analyze(constant.lrs, constant.losses, planned=100, cycle=8).suggestion
    assert decayed.suggestion == pytest.approx(HEADROOM[adaptive] * reading)
    assert constant.suggestion == pytest.approx(constant_factor(100_000) * reading)
    assert constant.schedules["decay"] == pytest.approx(headroom(adaptive, 100_000) * reading)
    assert not constant.trials
    assert "peak" in decayed.reason


@pytest.mark.parametrize("train_steps", [None, 100, 1_000, 2_000, 10**8])
def test_a_long_run_lowers_the_peak_of_adaptive_optimizers_alone(train_steps):
    lower = {None: 1.0, 100: 1.0, 1_000: 1.0, 2_000: 0.25 ** (1 / 3), 10**8: LEAST}[train_steps]
    for adaptive, share in ((True, lower), (False, 1.0)):
        training = Training(decays=True, adaptive=adaptive, train_steps=train_steps)
        result = run(Quadratic(), training, budget=0)
        reading = analyze(result.lrs, result.losses, planned=100, cycle=8).suggestion
        assert result.suggestion == pytest.approx(share * HEADROOM[adaptive] * reading)
        assert result.interval[0] <= result.suggestion <= result.interval[1]


class Bowl(Quadratic):
    """Trials whose losses are a parabola in log LR with its lowest point at ``at`` times the first trial's LR."""

    def __init__(self, at, floor=0.0):
        super().__init__(floor=floor)
        self.at, self.first = at, None

    def take(self, steps):
        losses = super().take(steps)
        if not steps.series.startswith("trial"):
            return losses
        self.lr = steps.lrs[0] if steps.origin == START else self.lr
        self.first = self.first or self.lr
        return [1.0 + math.log(self.lr / self.first / self.at) ** 2] * len(losses)


@pytest.mark.parametrize("train_steps", [600, 2_400, 10**8])
@pytest.mark.parametrize(("at", "near"), [(2.0, True), (0.5, True), (16.0, False)])
@pytest.mark.parametrize("adaptive", [True, False])
def test_the_answer_lies_between_sweep_and_trials_and_lower_in_a_long_run(adaptive, at, near, train_steps):
    training = Training(decays=True, adaptive=adaptive, train_steps=train_steps)
    wide, floor = {"max_lr": 1e4, "num_steps": 120}, 10.0 * adaptive  # a small fall: else Adam's sweep is enough
    swept = run(Quadratic(floor=floor), training, budget=0, **wide)
    result = run(Bowl(at, floor), training, budget=1000, **wide)
    lower, losses = horizon(adaptive, train_steps), swept.losses
    rise = next(lr for lr, loss in zip(swept.lrs, losses, strict=True) if loss > 1.05 * losses[0])
    chosen = swept.suggestion * at ** (WEIGHT[adaptive] if near else 1.0)
    bounded = not adaptive and chosen > rise / BELOW_RISE[False]
    assert bounded == (not adaptive and not near)
    assert result.suggestion == pytest.approx(rise / BELOW_RISE[False] if bounded else chosen)
    assert ("1/4 of the LR at which the loss rises" in result.reason) == bounded
    assert result.interval[0] <= result.suggestion <= result.interval[1]
    assert (f"{lower:.2g} times which suits" in result.reason) == (lower < 1)
    short = run(Bowl(at, floor), Training(decays=True, adaptive=adaptive, train_steps=600), budget=1000, **wide)
    assert [trial["lr"] for trial in result.trials] == pytest.approx([trial["lr"] for trial in short.trials])
    assert result.interval == pytest.approx([lower * lr for lr in short.interval])


def test_under_adam_and_its_kin_trials_follow_a_small_fall_alone():
    training = Training(decays=True, adaptive=True, train_steps=10_000)
    deep, small = (run(Quadratic(floor=floor), training, budget=1000) for floor in (0.0, 10.0))
    assert not deep.trials
    assert deep.suggestion == run(Quadratic(), training, budget=0).suggestion
    assert len(small.trials) >= LEAST_TRIALS


@pytest.mark.parametrize(("budget", "most"), [(1.0, 450), (300, 300)])
def test_a_share_of_a_long_run_ends_at_its_cap(budget, most):
    """The trials get better and better towards lower LRs: only the budget ends them."""
    result = run(Bowl(1e-9), DECAYING, budget=budget, min_lr=1e-9)
    assert most - LENGTH < result.steps <= most


def test_the_classic_readings_are_given_as_they_are():
    result = run(Quadratic(), rule="valley")
    assert not result.trials
    assert result.suggestion == result.suggestions()["valley"]


def test_a_sweep_without_a_descent_is_taken_again_more_slowly():
    class Late(Quadratic):
        """Nothing moves on a fast ladder."""

        def take(self, steps):
            losses = super().take(steps)
            return losses if steps.series != "sweep 0" else [1.0 + i % 3 / 100 for i in range(len(losses))]

    driver = Late()
    result = run(driver, Training(decays=True), max_lr=100.0)
    assert result.status == "ok"
    assert result.num_steps == 300
    assert "100 steps showed no descent" in result.reason
    assert result.steps == sum(len(s.lrs) for s in driver.asked)


def test_diverging_trials_leave_the_sweeps_answer():
    class Brittle(Quadratic):
        def take(self, steps):
            losses = super().take(steps)
            return [math.nan] * len(losses) if steps.series.startswith("trial") else losses

    driver = Brittle()
    result = run(driver, budget=300)
    assert result.suggestion == for_decay(run(Quadratic(), budget=0), adaptive=False).suggestion / HEADROOM[False]
    assert all(math.isinf(trial["loss"]) for trial in result.trials)
    assert "diverged" in result.reason
    assert RangeTestResult.from_dict(result.to_dict()) == result


def test_the_search_goes_down_from_a_divergence_and_stops_at_the_bounds():
    assert next_lr({0.1: [math.inf, math.inf]}, 0.1, 2, (1e-3, 1)) == 0.1 / 4
    assert next_lr({0.1: [math.inf, math.inf]}, 0.1, 2, (0.05, 1)) is None
    assert next_lr({0.1: [2.0, 2.0], 0.2: [1.0, 1.0]}, 0.1, 2, (1e-3, 0.3)) is None


def test_a_dead_networks_plateau_is_left_for_lower_lrs():
    class Dead(Quadratic):
        """Beyond LR .01 units die, and all that is left is the constant prediction's loss, better than the start's."""

        def take(self, steps):
            losses = super().take(steps)
            return [0.4 if max(steps.lrs) > 0.01 else loss for loss in losses]

    result = run(Dead(scale=200.0), min_lr=1e-5, max_lr=1.0, budget=600)
    reached = min(result.trials, key=lambda trial: trial["loss"])
    assert reached["lr"] < 0.02
    assert result.suggestion <= 2 * reached["lr"]


def test_a_tie_widens_the_interval():
    noise = np.random.default_rng(0).normal(size=(3, 40))
    clear = conclude({lr: list(v + n) for lr, v, n in zip((1, 2, 4), (9, 0, 9), 0.1 * noise, strict=True)}, 2, 40)
    tied = conclude({lr: list(v + n) for lr, v, n in zip((1, 2, 4), (0, 0, 0), noise, strict=True)}, 2, 40)
    assert clear.interval == pytest.approx((1, 4), rel=1e-2)
    assert tied.interval == pytest.approx((0.5, 8), rel=1e-2)


@pytest.mark.parametrize("budget", [-1, 1.5, True, "0.03", math.nan])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(ValueError, match="budget must be"):
        SweepSettings(budget=budget)
