"""Successive halving over short trials, driven by closed-form losses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_lightning.rules.range_test.analyze import analyze, confirm
from lr_lightning.rules.range_test.probes import OFFSETS, SHORT_RUN_SHIFT, Trial, plan, schedule, score
from tests.helpers.curves import LRS, bowl


def drive(trials, loss):
    """Run a plan on ``loss(lr, step)``; returns the answer and the trials asked for."""
    asked = []
    try:
        request = next(trials)
        while True:
            asked.append(request)
            steps = range(request.start_step, request.start_step + request.num_steps)
            request = trials.send([loss(request.lr, step) for step in steps])
    except StopIteration as stop:
        return stop.value, asked


def quadratic(best):
    """Progress is fastest at ``best``."""

    def loss(lr, step):
        return math.exp(-step / 20 / (1 + math.log10(lr / best) ** 2))

    return loss


@given(st.integers(1, 2000), st.floats(0, 0.999))
def test_trials_never_cost_more_than_the_budget(budget, momentum):
    offsets, stages = schedule(budget, momentum)
    if not offsets:
        assert stages == ()
        return
    result, asked = drive(plan(1e-2, budget, momentum=momentum), quadratic(1e-2))
    assert result.steps == sum(trial.num_steps for trial in asked) <= budget
    assert stages[0][0] >= 1 / (1 - momentum) - 1e-6
    assert {round(math.log10(trial.lr / 1e-2), 6) for trial in asked} <= set(OFFSETS)


def test_more_momentum_means_longer_and_fewer_trials():
    assert [end for end, _ in schedule(206, 0.9)[1]] == [12, 30, 70]
    assert schedule(206, 0.95)[1][0][0] == 20
    assert len(schedule(206, 0.98)[0]) < 6
    assert len(schedule(206, 0.99)[0]) == 2
    assert schedule(150, 0.99) == ((), ())


@pytest.mark.parametrize("offset", [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
def test_the_best_candidate_wins_wherever_it_is(offset):
    best = 1e-2 * 10**offset
    result, _ = drive(plan(1e-2, 206, momentum=0.9), quadratic(best))
    assert result.suggestion == pytest.approx(best * 10**SHORT_RUN_SHIFT)
    assert result.interval[0] < result.suggestion < result.interval[1]


def test_every_trial_of_a_stage_sees_the_same_steps_and_goes_on_where_it_was():
    _, asked = drive(plan(1e-2, 206), quadratic(1e-2))
    spans = [(trial.start_step, trial.num_steps) for trial in asked]
    assert spans == [(0, 12)] * 6 + [(12, 18)] * 3 + [(30, 40)] * 2


def test_diverging_trials_drop_out_and_nothing_left_gives_no_answer():
    def explodes(limit):
        return lambda lr, step: math.nan if lr > limit else 1 / (1 + step * lr)

    some, _ = drive(plan(1e-2, 206), explodes(2e-2))
    assert some.suggestion == pytest.approx(1e-2 * 10**SHORT_RUN_SHIFT)
    none, asked = drive(plan(1e-2, 206), explodes(0.0))
    assert none.suggestion is None
    assert len(asked) == 6
    assert all(probe.loss == math.inf for probe in none.probes)


def test_candidates_stay_inside_of_the_swept_range():
    _, asked = drive(plan(1e-2, 206, min_lr=5e-3, max_lr=5e-2), quadratic(1e-2))
    assert {trial.lr for trial in asked} == {5e-3, 1e-2, 1e-2 * 10**0.5, 5e-2}


def test_a_broken_trial_scores_infinity():
    assert score([1.0, 2.0, 3.0], 3) == 3.0
    assert score([1.0, 2.0], 3) == math.inf
    assert score([1.0, math.nan, 1.0], 3) == math.inf


def test_a_confirmed_result_carries_the_trials_and_their_cost():
    sweep = analyze(LRS, bowl(), momentum=0.9)
    trials, _ = drive(plan(sweep.suggestion, 200, momentum=0.9), quadratic(sweep.suggestion * 10**0.5))
    result = confirm(sweep, trials)
    assert result.suggestion == pytest.approx(sweep.suggestion * 10 ** (0.5 + SHORT_RUN_SHIFT))
    assert result.steps == sweep.steps + trials.steps
    assert "trials at constant LR" in result.reason
    assert len(result.probes) == 6
    assert repr(type(result).from_dict(result.to_dict())) == repr(result)


def test_when_every_trial_diverges_the_sweep_stands_and_says_so():
    sweep = analyze(LRS, bowl())
    trials, _ = drive(plan(sweep.suggestion, 200), lambda lr, step: math.inf)
    result = confirm(sweep, trials)
    assert result.suggestion == sweep.suggestion
    assert "no trial" in result.reason


def test_a_trial_is_a_plain_record():
    assert Trial(1e-3, 0, 5) == Trial(lr=1e-3, start_step=0, num_steps=5)
