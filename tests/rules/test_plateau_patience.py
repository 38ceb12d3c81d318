"""``rule="patience"`` decides as torch's ReduceLROnPlateau does, and better where that one is wrong."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning.plateau_lr import PlateauLR
from lr_lightning.rules.plateau import make_rule

FINITE = st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: round(x, 3))


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(FINITE, min_size=1, max_size=60),
    mode=st.sampled_from(["min", "max"]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    patience=st.integers(0, 5),
    cooldown=st.integers(0, 4),
    cut=st.integers(0, 60),
)
def test_equals_torch_and_resumes(values, mode, threshold_mode, threshold, patience, cooldown, cut):
    """LRs to the bit over random series, through a save and load at a random place."""
    shared = {"patience": patience, "threshold": threshold, "threshold_mode": threshold_mode, "cooldown": cooldown}
    theirs, ours = optimizer(), optimizer()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, mode, 0.5, min_lr=1e-3, **shared)
    plateau = PlateauLR(ours, mode, 0.5, min_lr=1e-3, **shared)
    for i, value in enumerate(values):
        if i == cut:
            saved = plateau.state_dict()
            plateau = PlateauLR(ours, mode, 0.5, min_lr=1e-3, **shared)
            plateau.load_state_dict(saved)
        scheduler.step(value)
        plateau.step(value)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]


def decays(rule, values):
    state, found = rule.start(), []
    for i, value in enumerate(values):
        state, decision = rule.observe(state, value)
        if decision.decays:
            found.append(i)
    return found


def test_constant_negative_metric():
    """Torch's relative threshold never sees a constant -1 as a plateau; the margin does."""
    assert decays(make_rule("patience", patience=3), [-1.0] * 20) == []
    assert decays(make_rule("patience", patience=3, threshold_mode="margin"), [-1.0] * 9) == [4, 8]


def test_nan_is_no_evidence():
    """Six NaNs cut torch's LR; here time passes, nothing else."""
    rule = make_rule("patience", patience=2)
    state = rule.start()
    for value in [1.0, *[math.nan] * 6, math.inf]:
        state, decision = rule.observe(state, value)
        assert not decision.decays
    assert (state.nonfinite, state.nonfinite_row, state.bad) == (7, 7, 0)


def test_reason_tells_the_evidence():
    rule = make_rule("patience", patience=1)
    state = rule.start()
    for value in (0.5, 0.6, 0.7):
        state, decision = rule.observe(state, value)
    assert decision.decays
    assert decision.reason == "2 observations without improvement on the best 0.5 (now 0.7)"
    assert decision.evidence == {"bad": 2.0, "best": 0.5, "value": 0.7}


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("mode", "auto", "mode must be one of min, max, got 'auto'"),
        ("patience", -1, "patience must be an integer of at least 0, got -1"),
        ("patience", 2.5, "patience must be an integer of at least 0, got 2.5"),
        ("threshold", -1.0, "threshold must be a number of at least 0, got -1.0"),
        ("threshold_mode", "relative", "threshold_mode must be one of rel, abs, margin, got 'relative'"),
        ("window", 0.1, "rule 'patience' has no setting 'window'"),
    ],
)
def test_refuses(setting, value, words):
    with pytest.raises(ValueError, match=words):
        make_rule("patience", **{setting: value})
