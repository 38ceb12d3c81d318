"""The range test's protocol: what it asks for, and what it makes of the losses."""

import math

import pytest

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.protocol import (
    JUDGED_BATCHES,
    MAX_LR,
    MIN_LR,
    START,
    TRIAL_BATCHES,
    WINDOW,
    SweepSettings,
    Training,
    carry_out,
    range_test,
)
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.second_look import SECOND_LOOK
from lr_lightning.rules.range_test.trials import headroom, tail_length, trial_lrs
from tests.helpers.curves import bowl


def asked(settings, losses, training=Training(batches=20)):  # noqa: B008  (frozen)
    """All requests of a test whose step ``i`` of sweep ``k`` has the loss ``losses(k, i)``, and its result."""
    requests = []

    def take(steps):
        requests.append(steps)
        sweep = int(steps.series.split()[1])
        return [losses(sweep, steps.index + i) for i in range(len(steps.lrs))]

    return requests, carry_out(range_test(settings, training), take)


def test_a_sweep_asks_for_the_ladder_in_windows_on_cycled_batches_from_the_start():
    settings = SweepSettings(min_lr=1e-7, max_lr=1e-4, num_steps=25, num_batches=8)
    requests, result = asked(settings, lambda sweep, i: 1.0)
    assert [lr for steps in requests for lr in steps.lrs] == list(settings.lrs)
    assert [len(steps.lrs) for steps in requests] == [WINDOW, WINDOW, 5]
    assert [steps.origin for steps in requests] == [START, None, None]
    assert [number for steps in requests for number in steps.batches] == [i % 8 for i in range(25)]
    assert (result.coverage.visited, result.coverage.planned, result.steps, result.cycle) == (25, 25, 25, 8)


def test_each_repeat_starts_anew_on_the_next_batches():
    settings = SweepSettings(num_steps=10, repeats=3, num_batches=4)
    requests, result = asked(settings, lambda sweep, i: 1.0)
    assert [(steps.series, steps.origin, steps.first) for steps in requests] == [
        ("sweep 0", START, 0), ("sweep 1", START, 4), ("sweep 2", START, 8),
    ]  # fmt: skip
    assert result.steps == 30


def test_without_cycling_the_data_go_on():
    requests, result = asked(SweepSettings(num_steps=12, num_batches=None), lambda sweep, i: 1.0)
    assert [(steps.cycle, steps.batches) for steps in requests] == [(None, None)] * 2
    assert result.cycle == 1


def test_more_batches_than_there_are_cycle_through_all():
    _, result = asked(SweepSettings(num_steps=10), lambda sweep, i: 1.0, Training(batches=3))
    assert result.cycle == 3


@pytest.mark.parametrize("end", [math.nan, 1e6], ids=["nan", "diverging"])
def test_a_sweep_ends_in_the_window_in_which_it_diverges_and_is_read_like_the_curve(end):
    settings = SweepSettings()
    curve = [loss if i < 72 else end for i, loss in enumerate(bowl(settings.lrs))]
    requests, result = asked(settings, lambda sweep, i: curve[i], Training(batches=20, decays=False))
    assert result.coverage.visited == 80
    assert len(requests) == 8
    whole = analyze(settings.lrs, curve, planned=100, cycle=8)
    assert result.suggestion == pytest.approx(whole.suggestion, rel=1e-12)
    assert result.interval == pytest.approx(whole.interval, rel=1e-12)


def test_a_short_reply_ends_the_sweep():
    replies = iter([[2.0] * 10, [2.0, 1.9]])
    result = carry_out(range_test(SweepSettings(), Training()), lambda steps: next(replies))
    assert result.coverage.visited == 12
    assert isinstance(result, RangeTestResult)


@pytest.mark.parametrize(
    ("rule", "decays", "kind"),
    [("share", True, "decay"), ("share", False, "constant"), ({"schedule": "constant"}, True, "constant"),
     ({"schedule": "decay"}, False, "decay")],
)  # fmt: skip
def test_the_suggestion_is_for_the_schedule_of_the_training_unless_the_rule_says_otherwise(rule, decays, kind):
    settings = SweepSettings(rule=rule, budget=0)
    curve = bowl(settings.lrs)
    training = Training(batches=20, train_steps=4800, decays=decays)
    _, result = asked(settings, lambda sweep, i: curve[i], training)
    reading = analyze(settings.lrs, curve, planned=100, cycle=8).suggestion
    assert result.schedules == pytest.approx({"decay": reading * headroom(True, 4800), "constant": reading / 2})
    assert result.suggestion == result.schedules[kind]


def test_pace_holds_the_suggestion_back():
    curve = bowl(SweepSettings().lrs)
    low, high = (analyze(SweepSettings().lrs, curve, rule={"pace": pace}).suggestion for pace in (10.0, 1.0))
    assert low < analyze(SweepSettings().lrs, curve).suggestion < high


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 0}, "repeats must be an integer of at least 1, got 0"),
        ({"num_batches": 0}, "num_batches must be an integer of at least 1, got 0"),
        ({"budget": -1}, "budget must be a float from 0 to 1 .* or an integer from 0 to 1000000 .*, got -1"),
        ({"budget": 1.5}, "budget must be a float from 0 to 1 .*, got 1.5"),
        ({"budget": 1_000_001}, "budget must be .*, got 1000001"),
        ({"budget": True}, "budget must be .*, got True"),
        ({"num_steps": 1}, "num_steps must be an integer of at least 2, got 1"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        SweepSettings(**options)


@pytest.mark.parametrize("budget", [0, 0.0, 1.0, 1_000_000])
def test_settings_that_can(budget):
    settings = SweepSettings(budget=budget, num_batches=1, repeats=1)
    assert settings.record()["budget"] == budget
    assert "lrs" not in repr(settings)


@pytest.mark.parametrize("flat", [True, False])
def test_a_sweep_without_a_descent_is_looked_at_again_unless_the_lr_has_no_effect(flat):
    seen = []

    def take(steps):
        seen.append(steps)
        return [1.0 if flat else 1.0 + 0.01 * math.sin(7.0 * (steps.index + i)) for i in range(len(steps.lrs))]

    result = carry_out(range_test(SweepSettings(num_steps=30, num_batches=4), Training(batches=9)), take)
    assert result.status == "no_descent"
    names = list(dict.fromkeys(steps.series for steps in seen))
    assert names == ["sweep 0"] if flat else names == ["sweep 0", "second look"]
    if not flat:
        again = [steps for steps in seen if steps.series == "second look"]
        lrs = [lr for steps in again for lr in steps.lrs]
        assert (len(lrs), lrs[0], lrs[-1]) == (30 * SECOND_LOOK, MIN_LR, MAX_LR)
        assert (again[0].first, again[0].cycle, again[0].origin) == (0, 4, START)
        assert result.steps == 30 * (1 + SECOND_LOOK)
        assert "(a sweep of 30 steps showed no descent)" in result.reason


def test_a_trial_is_asked_for_in_windows_that_end_at_its_judged_part_and_ends_where_losses_do():
    settings, seen = SweepSettings(budget=500), []
    curve = bowl(settings.lrs)

    def take(steps):
        seen.append(steps)
        if steps.series.startswith("sweep"):
            return [curve[steps.index + i] for i in range(len(steps.lrs))]
        broken = steps.series == "trial 1" and steps.index >= WINDOW
        return [math.nan if broken else 1.0] * len(steps.lrs)

    carry_out(range_test(settings, Training(batches=20, train_steps=10_000, adaptive=False)), take)
    first, second = ([one for one in seen if one.series == f"trial {k}"] for k in (0, 1))
    length = sum(len(one.lrs) for one in first)
    tail = length - tail_length(length)
    assert [lr for one in first for lr in one.lrs] == pytest.approx(list(trial_lrs(first[0].lrs[0], length)))
    assert [one.index for one in first] == [0, *range(WINDOW, tail, WINDOW), *range(tail, length, WINDOW)]
    assert [one.origin for one in first] == [START] + [None] * (len(first) - 1)
    assert {(one.first, one.cycle) for one in first if one.index < tail} == {(0, TRIAL_BATCHES)}
    assert {(one.first, one.cycle) for one in first if one.index >= tail} == {(TRIAL_BATCHES, JUDGED_BATCHES)}
    assert [one.index for one in second] == [0, WINDOW]
