"""The trend rule: what it must and must not take for a plateau."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning.callbacks._plateau.log import CORRELATED
from lr_lightning.rules.plateau import stats
from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.rules.plateau.cuts import most_cuts


def noise(seed, count, sd=0.01):
    return sd * np.random.default_rng(seed).standard_normal(count)


def run(rule, values, horizon=None, state=None):
    """Decisions that act, as (index, action, cause)."""
    state, found = state or rule.start(), []
    for i, value in enumerate(values):
        state, decision = rule.observe(state, float(value), i + 1, horizon)
        if decision.action != "keep":
            found.append((i, decision.action, decision.cause))
    return found


def no_end(**more):
    return make_rule("trend", endgame=0.0, **more)


def time(count):
    return (np.arange(count) + 1) / count


@pytest.mark.parametrize("count", [25, 100, 1000])
@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("horizon", [True, False])
def test_never_in_the_first_half_of_a_power_law(count, exponent, horizon):
    values = (1 + time(count) / 0.05) ** -exponent + noise(1, count, 0.002)
    assert run(no_end(), values[: count // 2], count if horizon else None) == []


def test_plateau_is_found_soon_after_its_onset():
    """Median over 40 noisy series: within 40 % of the onset, and never before it."""
    count, onset, delays = 100, 40, []
    for seed in range(40):
        values = np.maximum(0.0, 1 - np.arange(count) / onset) + noise(seed, count, 0.02)
        first = run(no_end(), values, count)[0][0]
        delays.append((first - onset) / onset)
    assert min(delays) > 0
    assert np.median(delays) <= 0.4


@pytest.mark.parametrize(("size", "most"), [(0.01, 0.05), (0.02, 0.25)])
def test_false_alarms_on_decays_that_never_end(size, most):
    """Exponents .3 to 1, noise up to the size of what a window still gains; torch's patience 10 fires on more."""
    fired, classic = 0, 0
    for seed in range(100):
        values = (1 + time(100) / 0.05) ** -(0.3 + 0.007 * seed) + noise(seed, 100, size)
        fired += bool(run(no_end(), values, 100))
        classic += bool(run(make_rule("patience"), values))
    assert fired / 100 <= most
    assert fired < classic / 2


def test_an_early_spike_is_no_plateau():
    """A best value that nothing beats for long, under a steady decrease: the LR stays (torch cuts it to 1e-8)."""
    values = np.linspace(2.0, 1.0, 100)
    values[3] = 0.1
    assert run(no_end(), values, 100) == []
    classic = make_rule("patience", patience=5)
    state, cuts = classic.start(), 0
    for value in values:
        state, decision = classic.observe(state, value)
        cuts += decision.decays
    assert cuts > 10


@pytest.mark.parametrize("offset", [-1.0, 0.0, 1.0])
def test_constant_metric_is_a_plateau_whatever_its_sign(offset):
    found = run(no_end(), [offset] * 200, 200)
    assert found
    assert {action for _, action, _ in found} == {"decay"}


def test_nan_and_inf_are_no_evidence():
    """A hole of non-finite values changes time, not the verdict."""
    rule = no_end()
    assert run(rule, [math.nan] * 500, 500) == []
    values = np.linspace(2, 1, 100)
    values[30:45] = math.nan
    values[60] = math.inf
    assert run(rule, values, 100) == []
    state = rule.start()
    for value in (1.0, math.nan, -math.inf):
        state, decision = rule.observe(state, value)
    assert (state.seen, state.nonfinite, state.nonfinite_row) == (3, 2, 2)
    assert decision.cause == "non-finite"


def test_a_rise_is_no_progress():
    values = np.concatenate([np.linspace(1, 0.2, 40), np.linspace(0.2, 0.5, 60)]) + noise(3, 100)
    assert run(no_end(), values, 100)


def test_irregular_observations():
    """Validations that crowd in one part of the run don't shrink the window there."""
    rule = no_end()
    state = rule.start()
    for i in range(40):
        state, _ = rule.observe(state, 1 - i / 100, 10.0 * i, 1000.0)
    for i in range(60):
        state, decision = rule.observe(state, 0.6, 391 + i, 1000.0)
        assert not decision.decays, "60 values, but only 6 % of the run"


def test_time_must_not_run_backwards():
    rule = no_end()
    state, _ = rule.observe(rule.start(), 1.0, 10.0)
    with pytest.raises(ValueError, match="at must be finite and not before the last observation's 10, got 9"):
        rule.observe(state, 1.0, 9.0)


def test_endgame_reaches_low_lrs_at_any_cadence_and_turns_off():
    for count in (25, 100, 3000):
        rule = make_rule("trend")
        state, cuts = rule.start(), 0
        for i in range(count):
            state, decision = rule.observe(state, 1 - i / count, i + 1, count)
            if decision.decays:
                assert decision.cause == "endgame"
                assert 0.2 * count < i + 1 < count, "nothing is trained after the end"
                cuts += decision.cuts
        assert 7 <= cuts <= 10
    assert run(no_end(), 1 - time(100), 100) == []
    assert run(make_rule("trend"), 1 - time(100), None) == [], "no endgame without a planned end"


def test_kick_is_taken_back_when_it_does_not_help_and_kept_when_it_does():
    rule = no_end(window=10, on_flat_region="kick")
    flat = noise(2, 200, 0.01) + 1.0
    actions = [action for _, action, _ in run(rule, flat)]
    assert actions[:3] == ["kick", "unkick", "decay"]
    state, actions, level = rule.start(), [], 1.0
    for i in range(80):
        state, decision = rule.observe(state, level + float(noise(i, 1, 0.01)[0]))
        actions.append(decision.action)
        level -= 0.01 if "kick" in actions else 0.0
    assert actions.count("kick") == 1
    assert "unkick" not in actions


def test_cooldown_ignores_observations():
    rule = no_end(window=6, cooldown=30, on_flat_region="decay", resolution=0.0)
    first, second = [i for i, _, _ in run(rule, [1.0] * 60)][:2]
    assert second - first == 30 + 6


SERIES = st.lists(st.integers(-50, 50), min_size=30, max_size=120)


@settings(max_examples=60, deadline=None)
@given(values=SERIES, scale=st.sampled_from([0.25, 2.0, 1024.0]), shift=st.integers(-64, 64))
def test_scale_and_shift_change_nothing(values, scale, shift):
    """Small integers and powers of two, so that the arithmetic itself is exact where it can be."""
    rule = no_end(window=8)
    assert run(rule, values) == run(rule, [scale * v for v in values])
    assert run(rule, values) == run(rule, [v + shift for v in values])


@settings(max_examples=60, deadline=None)
@given(values=SERIES, on_flat=st.sampled_from(["keep", "kick", "decay"]))
def test_max_on_the_negated_metric_is_min(values, on_flat):
    low, high = (no_end(window=0.1, mode=mode, on_flat_region=on_flat) for mode in ("min", "max"))
    assert run(low, values, len(values)) == run(high, [-v for v in values], len(values))


@settings(max_examples=40, deadline=None)
@given(values=SERIES, every=st.integers(1, 10), horizon=st.booleans(), on_flat=st.sampled_from(["keep", "kick"]))
def test_saved_and_loaded_anywhere_decides_the_same(values, every, horizon, on_flat):
    """State through JSON at every ``every``-th observation; also holes in the data, also in a kick."""
    rule, end = make_rule("trend", on_flat_region=on_flat), len(values) if horizon else None
    holed = [math.nan if v % 17 == 0 else float(v) for v in values]
    plain, saved = rule.start(), rule.start()
    for i, value in enumerate(holed):
        plain, expected = rule.observe(plain, value, i + 1, end)
        saved, decision = rule.observe(saved, value, i + 1, end)
        assert decision == expected
        if i % every == 0:
            saved = rule.load(json.loads(json.dumps(saved.to_dict())))
        assert saved == plain


def test_memory_is_bounded():
    rule = no_end()
    state = rule.start()
    for i in range(5000):
        state, _ = rule.observe(state, 1 / (1 + i), i + 1, 5000)
        assert len(state.stage.blocks) <= 128


def told_correlation(fall, rho, kind, seed):
    """The most that the default rule shows over 100 observations of a fall with noise of spread 1."""
    rng, x = np.random.default_rng(seed), 0.0
    drawn = {"normal": rng.standard_normal, "laplace": rng.laplace, "t3": lambda: rng.standard_t(3)}[kind]
    rule = make_rule("trend")
    state, most = rule.start(), 0.0
    for i in range(100):
        x = rho * x + math.sqrt(1 - rho**2) * drawn()
        state, decision = rule.observe(state, fall((i + 1) / 100) + x, i + 1, 100)
        most = max(most, decision.evidence.get("correlation", 0.0))
    return most


FALLS = [
    lambda t: 0.0,
    lambda t: 0.4 / (0.02 + t),
    lambda t: 3 / math.sqrt(0.01 + t),
    lambda t: 10 * (1 - 5 * t) * (t < 0.2),
]
STEEP = [lambda t: 1e3 * (1 - 25 * t) * (t < 0.04)]


@pytest.mark.parametrize(("falls", "false"), [(FALLS, 0.02), (STEEP, 0.1)])
def test_correlated_noise_is_told(falls, false):
    """Strong correlation is warned of on plateaus and on decays; white and heavy-tailed noise hardly ever."""
    shown = {
        (rho, kind): [told_correlation(fall, rho, kind, seed) > CORRELATED for fall in falls for seed in range(40)]
        for rho, kind in ((0.0, "normal"), (0.0, "laplace"), (0.0, "t3"), (0.9, "normal"))
    }
    strong = shown.pop((0.9, "normal"))
    assert sum(strong) / len(strong) >= 0.7
    white = [one for found in shown.values() for one in found]
    assert sum(white) / len(white) <= false


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=3, max_size=25))
def test_mann_kendall_against_scipy(values):
    """S is the numerator of Kendall's tau."""
    n = len(values)
    s, p = stats.mann_kendall([float(v) for v in values])
    x, y = np.arange(n), np.array(values)
    expected = int(sum(np.sign(y[j] - y[i]) for i in range(n) for j in range(i + 1, n)))
    assert s == expected
    assert 0.0 < p < 1.0
    assert (p < 0.5) == (s < -1) or abs(s) <= 1
    if len(set(values)) > 1:
        assert np.sign(scipy.stats.kendalltau(x, y).statistic) == np.sign(s)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("window", 0.0, "window must be a number above 0 and at most 1, got 0.0"),
        ("window", 2, "window must be an integer of at least 3, got 2"),
        ("mode", "exp", "mode must be one of min, max, got 'exp'"),
        ("endgame", 1.5, "endgame must be a number of at least 0 and at most 1, got 1.5"),
        ("factor", 1.0, "factor must be a number above 0 and below 1, got 1.0"),
        ("on_flat_region", "jump", "on_flat_region must be one of keep, kick, decay, got 'jump'"),
        ("cooldown", -1, "cooldown must be an integer of at least 0, got -1"),
        ("speed", 1, "rule 'trend' has no setting 'speed'"),
    ],
)
def test_refuses(setting, value, words):
    with pytest.raises(ValueError, match=words):
        make_rule("trend", **{setting: value})


def test_unknown_rule():
    with pytest.raises(ValueError, match="rule must be one of trend, patience, got 'cusum'"):
        make_rule("cusum")


def correlated(rho, seed, count):
    rng, values = np.random.default_rng(seed), [0.0]
    for _ in range(count):
        values.append(rho * values[-1] + math.sqrt(1 - rho**2) * rng.standard_normal())
    return np.array(values[1:])


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_correlated_noise_is_no_plateau(rho):
    """Power laws that never end, under AR(1) noise: few alarms, where torch's patience 10 gives them all."""
    fired = classic = 0
    for seed in range(60):
        values = (1 + time(100) / 0.05) ** -(0.3 + 0.01 * seed) + 0.01 * correlated(rho, seed, 100)
        fired += bool(run(no_end(), values, 100))
        classic += bool(run(make_rule("patience"), values))
    assert fired / 60 <= 0.25
    assert fired < classic


def test_no_first_half_alarm_under_noise():
    """Power laws of exponents .25 to 1 under noise of a fiftieth of their whole range: hardly ever, not quite never."""
    fired = 0
    for seed in range(100):
        exponent = 0.25 + 0.0075 * seed
        values = (1 + time(100) / 0.05) ** -exponent + noise(seed, 100, 0.02)
        fired += bool(run(no_end(), values[:50], 100))
    assert fired <= 2


@pytest.mark.parametrize("count", [25, 225])
def test_an_early_plateau_brings_cuts_forward_and_adds_none(count):
    """A metric that stalls at a fifth of the run ends at the same LR as one that never does; it cuts earlier."""

    def cuts(values):
        rule, made = make_rule("trend"), []
        state = rule.start()
        for i, value in enumerate(values):
            state, decision = rule.observe(state, float(value), i + 1, count)
            made += [(i + 1) / count] * decision.cuts if decision.decays else []
        return made

    stalled = cuts(np.maximum(1 - time(count) / 0.2, 0.0) + noise(4, count, 1e-3))
    steady = cuts(1 - time(count))
    assert stalled[0] < 0.5
    assert stalled[0] < steady[0]
    assert len(stalled) == len(steady) == (9 if count == 25 else 10)


def test_plateaus_hardly_run_ahead():
    """Each cut brings a new, lower plateau: without an endgame they follow at once, with one they are held back."""
    made = {}
    for endgame in (0.0, 0.8):
        rule, level, drop, depth = make_rule("trend", endgame=endgame), 1.0, 0.0, 0
        state, made[endgame] = rule.start(), []
        for i in range(200):
            value = level + max(0.0, 1 - i / 20) + drop + noise(i, 1, 0.005)[0]
            state, decision = rule.observe(state, float(value), i + 1, 200)
            drop *= 0.5
            if decision.decays:
                depth += decision.cuts
                level, drop = level - 0.3, 0.3
            made[endgame].append(depth)
    half = made[0.8][100], made[0.0][100]
    assert 1 <= half[0] <= 2 < half[1]
    for i, depth in enumerate(made[0.8][:70]):
        assert depth <= most_cuts((i + 1) / 200, 0.5)


@pytest.mark.parametrize("seed", [5, 7, 8, 9, 10, 11])
def test_a_useless_cut_is_the_last_before_the_endgame(seed):
    values = np.concatenate([np.linspace(2, 1, 20), np.full(180, 1.0)]) + noise(seed, 200, 0.01)
    causes = [cause for i, _, cause in run(make_rule("trend"), values, 200)]
    assert causes.count("plateau") + causes.count("flat") == 1
