"""Kicks of the trend rule: where they begin, and that they always end."""

import doctest
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau import kick as plateau_kick
from lr_lightning.rules.plateau.configure import configure, make_rule
from lr_lightning.rules.plateau.cuts import due_cuts
from lr_lightning.rules.plateau.kick import OVER, TRIAL
from lr_lightning.rules.plateau.motion import Drift


def flat(count, seed=0, size=0.01):
    return 1.0 + size * np.random.default_rng(seed).standard_normal(count)


def run(rule, values, horizon=None, **evidence):
    """State, decision and position at each observation."""
    state = rule.start()
    for i, value in enumerate(values):
        state, decision = rule.observe(state, float(value), i + 1, horizon, **evidence)
        yield i + 1, state, decision


def actions(rule, values, horizon=None, **evidence):
    found = run(rule, values, horizon, **evidence)
    return [(at, d.action, d.reason) for at, _, d in found if d.action != "keep" and d.cause != "endgame"]


def test_doctests():
    assert doctest.testmod(plateau_kick).failed == 0


def test_flat_ground_is_kicked_once_between_two_cuts():
    (began, kick, _), (ended, unkick, why), (_, third, _) = actions(
        make_rule("trend", on_flat_region="kick"), flat(200)
    )[:3]
    assert (kick, unkick, third) == ("kick", "unkick", "decay")
    assert ended - began <= 2 * max(5, math.ceil(0.25 * began))
    assert why.startswith("the raised LR is taken back: ")


def test_what_moves_on_is_flat_ground_and_what_bounces_is_none():
    """By the weights; a fall before it, or none, tells only where they aren't followed."""
    rule = make_rule("trend", on_flat_region="kick")
    fallen, never = np.r_[np.linspace(2, 1, 30), flat(70, 1)], flat(100, 2)

    def kicks(values, **evidence):
        return next((action for _, action, _ in actions(rule, values, 400, **evidence)), None) == "kick"

    assert (kicks(fallen), kicks(never)) == (False, True)
    assert kicks(fallen, drift=Drift(1.9))
    assert not kicks(never, drift=Drift(0.6))
    assert not kicks(never, drift=Drift(None)), "too early to tell: a kick waits as a cut does"


def test_progress_with_it_keeps_it():
    rule = make_rule("trend", on_flat_region="kick", endgame=0.0)
    state, level, told = rule.start(), 1.0, []
    for i in range(60):
        state, decision = rule.observe(state, level + float(flat(1, i)[0]))
        told += [decision] if decision.cause == "kick" or decision.action != "keep" else []
        level -= 0.02 if told else 0.0
    assert [d.action for d in told] == ["kick", "keep"]
    assert told[1].reason.startswith("the raised LR brings progress (p = ")
    assert state.stage.kicked == OVER
    assert state.stage.depth == -1


def in_trial(**rule):
    rule = make_rule("trend", on_flat_region="kick", **{"window": 10, **rule})
    state = rule.start()
    for value in flat(200):
        state, decision = rule.observe(state, float(value))
        if decision.action == "kick":
            return rule, state
    raise AssertionError


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_breaks_the_metric_is_taken_back_at_once(value):
    rule, state = in_trial()
    after, decision = rule.observe(state, value)
    assert (decision.action, after.nonfinite, after.nonfinite_row) == ("unkick", 1, 1)
    assert f"the metric is {value} with it" in decision.reason
    assert after.seen == state.seen + 1
    assert after.stage.depth == state.stage.depth + 1


def test_unclear_progress_is_taken_back_after_two_windows():
    """Two values in turn, each a little better than the one before: a trend, but none that is sure."""
    rule, state = in_trial()
    began = state.at
    for i in range(40):
        state, decision = rule.observe(state, [1.0, 0.7, 1.1, 0.6, 1.05][i % 5] - 0.001 * i)
        if decision.action == "unkick":
            break
    assert state.at - began <= 20


def test_a_schedule_that_raises_the_lr_ends_it():
    rule, state = in_trial()
    after, decision = plateau.restart(rule, state, 1.0, state.at)
    assert decision.reason == "the raised LR is taken back: the schedule raises the LR"
    assert after.stage.kicked == OVER
    assert after.stage.depth == state.stage.depth + 1
    assert plateau.restart(rule, after, 1.0, after.at)[1] is None


SERIES = st.lists(st.integers(-30, 30) | st.just(math.nan), min_size=30, max_size=150)


@settings(max_examples=60, deadline=None)
@given(
    values=SERIES, endgame=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    known=st.booleans(), moving=st.sampled_from([None, Drift(1.9)]), slope=st.sampled_from([0.0, 0.1]),
)  # fmt: skip
def test_every_kick_ends_and_none_meets_the_endgame(values, endgame, known, moving, slope):
    """And the LR is at every moment what the cuts in force say, also after interruptions."""
    rule = configure({"on_flat_region": "kick", "endgame": endgame})
    horizon = float(len(values)) if known else None
    begin = math.inf if horizon is None else horizon * max(0.5, 1 - endgame) if endgame else horizon
    state, cuts, began = rule.start(), 0, None
    for i, value in enumerate(values):
        state = rule.load(json.loads(json.dumps(state.to_dict())))
        state, decision = rule.observe(state, value - slope * i, i + 1, horizon, moving)
        if decision.action == "kick":
            began = i + 1
            assert i + 1 < begin
        cuts += {"keep": 0, "decay": decision.cuts, "kick": -1, "unkick": 1}[decision.action]
        assert state.stage.depth == cuts
        if state.stage.kicked == TRIAL:
            window = 0.08 * horizon if known else 0.25 * began
            assert i + 1 - began <= 2 * max(window, 5) + 1
            assert i + 1 < begin
    if known and endgame:
        assert cuts >= due_cuts(1.0 - 1.0 / (horizon * endgame), 1.0 / (horizon * endgame), 0.5) - 1
