"""``rule="patience"`` decides as torch's ReduceLROnPlateau does, and better where that one is wrong."""

import doctest
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning import PlateauDecay
from lr_lightning.optim.plateau import PlateauLR
from lr_lightning.rules.plateau import cuts as plateau_cut
from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.rules.plateau.cuts import least_change

FINITE = st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: round(x, 3))


def optimizer(*lrs):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs or (1.0,)])


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


LRS = st.floats(-12, 0).map(lambda x: 10**x)


@settings(max_examples=200, deadline=None)
@given(
    lrs=st.lists(LRS, min_size=3, max_size=3),
    floors=st.one_of(st.just(0), LRS, st.lists(st.one_of(st.just(0.0), LRS), min_size=3, max_size=3)),
    eps=st.one_of(st.none(), st.just(0.0), LRS),
    factor=st.sampled_from([0.1, 0.3, 0.5, 0.9, 1 / 3]),
    patience=st.integers(0, 2),
    switch=st.integers(0, 60),
)
def test_equals_torch_at_tiny_lrs(lrs, floors, eps, factor, patience, switch):
    """To the bit with torch's ``eps`` (its default, none, others) and floors of each group; taken over on the way."""
    theirs, ours = optimizer(*lrs), optimizer(*lrs)
    small = {} if eps is None else {"eps": eps}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, factor=factor, patience=patience, min_lr=floors, **small
    )
    plateau = PlateauLR(ours, factor=factor, patience=patience, min_lr=floors, **small)
    for i in range(60):
        if i == switch:
            taken = PlateauDecay.from_torch(scheduler)
            assert least_change("patience", taken.eps) == plateau.eps == scheduler.eps
            plateau = PlateauLR(ours, taken.mode, taken.factor, min_lr=taken.min_lr, eps=taken.eps, rule=taken.rule)
            plateau.state = taken._state
        scheduler.step(1.0)
        plateau.step(1.0)
        assert [group["lr"] for group in ours.param_groups] == [group["lr"] for group in theirs.param_groups]


def test_eps_is_for_other_rules_too_but_none_by_default():
    """From 1e-8 on: the classic rule leaves it there, the trend rule goes on, or as far as its own eps lets it."""
    lrs = {}
    rules = {"patience": {"patience": 0}, "trend": {"rule": {"window": 3}}, "own": {"rule": {"window": 3}, "eps": 1e-9}}
    for name, chosen in rules.items():
        one = optimizer(1e-8)
        plateau = PlateauLR(one, **chosen)
        for _ in range(100):
            plateau.step(1.0)
        lrs[name] = one.param_groups[0]["lr"]
    assert lrs["patience"] == 1e-8
    assert lrs["trend"] < 1e-10
    assert lrs["own"] == 1e-8 / 8


def test_doctests():
    assert doctest.testmod(plateau_cut).failed == 0


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
    for value in [1.0, *[math.nan] * 6]:
        state, decision = rule.observe(state, value)
        assert not decision.decays
    assert (state.nonfinite, state.nonfinite_row, state.bad) == (6, 6, 0)


INF = math.inf
SERIES = [
    *([INF] * 9, [-INF] * 9, [1.0, INF, INF, INF, INF], [1.0, -INF, *[0.0] * 6]),
    [INF, 1.0, 1.0, INF, 0.5, 0.5, 0.5, 0.5],
]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("values", SERIES)
def test_infinite_values_are_torchs(mode, threshold_mode, values):
    """And a rule goes on from a state with them."""
    theirs = optimizer(1.0)
    shared = {"mode": mode, "patience": 2, "threshold_mode": threshold_mode}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, **shared)
    rule, lr = make_rule("patience", **shared), 1.0
    state = rule.start()
    for value in values:
        state, decision = rule.observe(state, value)
        state = rule.load(state.to_dict())
        lr *= 0.5 if decision.decays else 1.0
        scheduler.step(value)
        assert theirs.param_groups[0]["lr"] == lr
    assert state.nonfinite == sum(map(math.isinf, values))


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
