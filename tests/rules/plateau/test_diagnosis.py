"""The diagnosis names a plateau rightly, most of the time."""

import numpy as np
import pytest

from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.rules.plateau.diagnosis import WORDS, diagnose


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
