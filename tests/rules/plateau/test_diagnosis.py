"""The diagnosis names a plateau rightly, most of the time."""

import numpy as np
import pytest

from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.rules.plateau.diagnosis import WORDS, diagnose
from lr_lightning.rules.plateau.motion import Drift


def diagnosed(kind, seed):
    """The diagnosis at the first decision on a series of that kind."""
    rng, count = np.random.default_rng(seed), 100
    t = np.arange(count)
    values = np.maximum(0.3, 1 - t / 40) + 0.01 * rng.standard_normal(count)
    train = list(1.0 / (1 + t))
    if kind == "overfitting":
        values += np.maximum(0, t - 28) * 0.01
    if kind == "oscillation":
        values += np.where(t % 2, 0.05, -0.05)
    if kind == "flat region":
        values, train = 1 + 0.01 * rng.standard_normal(count), []
    if kind == "noise floor":
        train = list(np.maximum(0.2, 1 - t / 40) + 0.01 * rng.standard_normal(count))
    rule = make_rule("trend", endgame=0.0)
    state = rule.start()
    for i, value in enumerate(values):
        state, decision = rule.observe(state, float(value), i + 1, count)
        if decision.decays:
            return diagnose(decision.cause, decision.evidence, [float(x) for x in train[max(0, i - 15) : i + 1]])
    return "none"


@pytest.mark.parametrize(
    ("kind", "least"), [("overfitting", 0.6), ("oscillation", 0.6), ("flat region", 0.7), ("noise floor", 0.6)]
)
def test_right_most_of_the_time(kind, least):
    found = [diagnosed(kind, seed) for seed in range(30)]
    assert set(found) <= {*WORDS, "none"}
    share = found.count(kind) / 30
    assert share >= least


FALLING, STILL = [1.0 / (1 + i) for i in range(16)], [1.0] * 16


@pytest.mark.parametrize(("losses", "kind"), [(FALLING, "overfitting"), (STILL, "too high an LR"), ([], "rising")])
@pytest.mark.parametrize("drift", [None, Drift(1.9)])
@pytest.mark.parametrize("shape", ["line", "power"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_gets_worse_is_never_called_flat(losses, kind, drift, shape, mode):
    """From the first word on, also where the weights move on."""
    rule = make_rule("trend", mode=mode, on_flat_region="decay")
    state, told = rule.start(), []
    for i in range(60):
        worse = max(0, i - 15)
        value = 2.0 * 0.8 ** min(i, 15) + 0.05 * (worse if shape == "line" else worse**1.5)
        state, decision = rule.observe(state, value if mode == "min" else -value, i + 1, 60, drift)
        if decision.cause in ("plateau", "flat"):
            told.append(diagnose(decision.cause, decision.evidence, losses))
    assert told
    assert set(told) == {kind}
    assert "a higher one may" not in WORDS[kind]
