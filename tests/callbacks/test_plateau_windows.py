"""With interval="step" values are read once a window: what follows a cut in it was measured at the old LR."""

import pytest

from lr_lightning import PlateauDecay
from tests.helpers.scripted import Scripted, fit


class Recorder:
    """A rule that notes what it is given."""

    name = "patience"

    def __init__(self, rule):
        self.rule, self.seen = rule, []

    def __getattr__(self, name):
        return getattr(self.rule, name)

    def observe(self, state, value, at=None, horizon=None):
        self.seen.append(value)
        return self.rule.observe(state, value, at, horizon)


def test_the_rest_of_a_window_is_dropped_after_a_cut():
    """Windows of 4: no value beats the first, so each third one cuts, and what comes after it in its window goes."""
    losses = [float(i) for i in range(1, 13)]
    callback = PlateauDecay("train_loss", interval="step", patience=1, rule={"read_every": 4}, verbose=False)
    callback._rule = Recorder(callback.rule)
    module = Scripted([1.0], losses, batches=12)
    fit(module, callback, max_epochs=1, limit_val_batches=0)
    assert callback._rule.seen == [1, 2, 3, 5, 6, 9, 10]
    assert [entry["step"] for entry in callback.history] == [3, 7, 11]
    assert module.lrs == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)


def test_values_at_the_end_of_a_window_all_count():
    losses = [float(i) for i in range(1, 13)]
    callback = PlateauDecay("train_loss", "max", interval="step", patience=1, rule={"read_every": 4}, verbose=False)
    callback._rule = Recorder(callback.rule)
    fit(Scripted([1.0], losses, batches=12), callback, max_epochs=1, limit_val_batches=0)
    assert callback._rule.seen == losses
