"""dlib's rule against a literal transcription of its definition."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.benchmarks.plateau.dlib import DlibRule, steps_without_decrease


def oracle(values, probability=0.51):
    longest = 0
    for k in range(3, len(values) + 1):
        fit = scipy.stats.linregress(np.arange(k), values[-k:])
        p = scipy.stats.norm.cdf(-fit.slope / fit.stderr) if fit.stderr > 0 else float(fit.slope < 0)
        longest = k if p < probability else longest
    return longest


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.05, 0.05))
def test_steps_without_decrease_is_the_longest_flat_suffix(seed, slope):
    values = slope * np.arange(40) + np.random.default_rng(seed).standard_normal(40)
    assert steps_without_decrease(values) == oracle(values)


def test_decays_on_a_plateau_and_resumes():
    rule = DlibRule(window=100)
    values = np.concatenate([np.linspace(5, 1, 200), np.ones(400)]) + 0.02 * np.random.default_rng(0).standard_normal(
        600
    )
    plain, saved, cuts = rule.start(), rule.start(), []
    for i, value in enumerate(values):
        plain, expected = rule.observe(plain, float(value))
        saved, decision = rule.observe(saved, float(value))
        assert decision == expected
        saved = rule.load(json.loads(json.dumps(saved.to_dict()))) if i % 10 == 0 else saved
        if decision.decays:
            cuts.append(i)
    assert saved == plain
    assert cuts
    assert cuts[0] >= 280


def test_share_of_the_run_needs_a_planned_end():
    rule = DlibRule(window=0.1, mode="max")
    with pytest.raises(ValueError, match=r"window=0.1 is a share of the planned run"):
        rule.observe(rule.start(), 1.0)
    state, decisions = rule.start(), []
    for i in range(100):
        state, decision = rule.observe(state, math.nan if i == 5 else 1.0, i + 1, 100)
        decisions.append(decision.action)
    assert "decay" in decisions
    assert state.nonfinite == 1
