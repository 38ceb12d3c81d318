"""The drift of known paths, and what the trend rule does with it."""

import doctest
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from lr_lightning.optim.motion import WeightPath
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau import diagnosis as plateau_diagnosis
from lr_lightning.rules.plateau import motion as plateau_drift
from lr_lightning.rules.plateau.cuts import due_cuts
from lr_lightning.rules.plateau.motion import Drift
from lr_lightning.rules.plateau.trend import TrendRule


def drift_of(points, at=None):
    path = WeightPath()
    for i, point in enumerate(points):
        if path.is_due(float(i)):
            path.add(point, float(i))
    return path.drift.ratio


def walk(steps, size=400, seed=0):
    return torch.randn(steps, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_doctests():
    for module in (plateau_drift, plateau, plateau_diagnosis):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("steps", [5, 17, 23])
def test_known_paths(steps):
    line = torch.arange(steps, dtype=torch.float64)[:, None] * torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert drift_of(line) == pytest.approx(2.0, rel=1e-12)
    assert drift_of(walk(steps).cumsum(0)) == pytest.approx(1.0, abs=0.12)
    assert drift_of(walk(steps)) == pytest.approx(0.5, abs=0.05)
    assert drift_of(torch.ones(steps, 3)) == 0.0


def test_there_and_back():
    """Odd lags see the swing, twice as long ones none of it: weights that jump to and fro don't move on."""
    swing = torch.tensor([1.0, -1.0] * 3)[:5, None]
    assert drift_of(swing) == 0.0


def test_a_walk_with_a_drift():
    """Per step of variance v and mean m: (2kv + 4k²m²) / (2kv + 2k²m²), here with k = 3 and 23 samples."""
    m = 0.5
    expected = (6 + 36 * m * m) / (6 + 18 * m * m)
    assert drift_of((walk(23, 20000) + m).cumsum(0)) == pytest.approx(expected, rel=0.02)


def test_a_long_stage_is_thinned():
    path = WeightPath()
    taken = 0
    points = walk(3000, 50).cumsum(0)
    for i, point in enumerate(points):
        if path.is_due(float(i)):
            path.add(point, float(i))
            taken += 1
    assert taken < 24 + 12 * math.log2(3000 / 24) + 12
    assert len(path.positions) < plateau_drift.MOST_SAMPLES
    gaps = {b - a for a, b in zip(path.positions, path.positions[1:], strict=False)}
    assert len(gaps) == 1
    assert gaps.pop() == path.spacing
    assert path.drift.ratio == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("observations", [25, 75, 225, 10_000])
def test_a_planned_run_is_sampled_fifty_times(observations):
    path, taken = WeightPath(), 0
    for i in range(1, observations + 1):
        if path.is_due(i / observations, 1.0):
            path.add(torch.zeros(2), i / observations)
            taken += 1
    assert 24 <= taken <= plateau_drift.A_RUN


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 60), st.sampled_from([1e-6, 0.25, 3.0, 1e6]), st.integers(0, 9))
def test_scaling_and_shifting_the_weights_changes_nothing(steps, scale, seed):
    points = walk(steps, 20, seed).cumsum(0)
    moved = drift_of(points * scale + 7.0 * scale)
    assert drift_of(points) == pytest.approx(moved, rel=1e-9)
    assert 0.0 <= moved <= 2.0 + 1e-9


def test_too_few_samples_and_broken_weights():
    assert drift_of(walk(4)) is None
    assert Drift().verdict == "unknown"
    assert Drift().holds
    broken = Drift(drift_of(walk(9).log()))
    assert math.isnan(broken.ratio)
    assert broken.verdict == "unknown"
    assert not broken.holds
    assert [Drift(x).verdict for x in (1.2, 0.6)] == ["moving on", "bouncing"]


def flat_run(drift, horizon=400.0, endgame=0.0):
    rule, cuts, words = TrendRule(endgame=endgame), [], set()
    state = rule.start()
    for i in range(1, 401):
        seen = drift(i / 400) if callable(drift) else drift
        state, decision = rule.observe(state, 1.0 + 0.01 * math.sin(i * i), float(i), horizon, seen)
        if decision.decays:
            cuts.append((i, decision.cause, dict(decision.evidence)))
        words.add((decision.action, decision.cause, decision.reason.split("; ")[-1]))
    return cuts, words


def test_a_plateau_waits_while_the_weights_move_on():
    free, _ = flat_run(None)
    held, words = flat_run(Drift(1.5))
    bouncing, _ = flat_run(Drift(0.6))
    assert free
    assert held == []
    assert ("keep", "flat", "the weights are moving on (drift 1.50)") in words
    assert [(at, cause) for at, cause, _ in bouncing] == [(at, cause) for at, cause, _ in free]
    assert all(evidence["drift"] == 0.6 for _, _, evidence in bouncing)
    assert ("keep", "flat", "too early to tell whether the weights move on") in flat_run(Drift())[1]


@pytest.mark.parametrize("drift", [None, Drift(), Drift(1.5), Drift(0.6)])
def test_the_endgame_asks_no_weights(drift):
    cuts, _ = flat_run(drift, endgame=0.8)
    ends = [at for at, cause, _ in cuts if cause == "endgame"]
    plateaus = [at for at, cause, _ in cuts if cause != "endgame"]
    made, wanted = len([at for at in plateaus if at <= 80]), []
    for i in range(81, 400):
        made += i in plateaus
        due = due_cuts((i / 400 - 0.2) / 0.8, 1 / 400 / 0.8, 0.5)
        wanted += [i] * (due > made)
        made = max(made, due)
    assert ends == wanted
    assert len(cuts) >= 8


def test_the_diagnosis_believes_the_weights():
    assert plateau_diagnosis.diagnose("flat", {"drift": 0.6}) == "noise floor"
    assert plateau_diagnosis.diagnose("plateau", {"drift": 1.4}) == "flat region"
    assert plateau_diagnosis.diagnose("flat", {"drift": math.nan}) == "flat region"
    assert plateau_diagnosis.diagnose("plateau", {}) == "noise floor"
