"""What Keras documents of ReduceLROnPlateau and LearningRateScheduler, asked of PlateauDecay and LRFormula."""

import math
import random

import pytest

from lr_lightning import LRFormula, PlateauDecay
from lr_lightning.rules.formula.text import FormulaError
from tests.helpers.formula_fit import Net
from tests.helpers.formula_fit import fit as fit_formula
from tests.helpers.scripted import Scripted, fit


def keras(values, lr=0.1, factor=0.1, patience=10, min_delta=1e-4, cooldown=0, min_lr=0.0, mode="min"):
    """The LR of each epoch by the words of Keras's documentation.

    After a reduction the callback rests for ``cooldown`` epochs; otherwise an epoch that isn't better than the best by
    ``min_delta`` is waited, and when ``patience`` of them have been, the LR is multiplied by ``factor``, not below
    ``min_lr``.
    """
    best, waited, resting, lrs = math.inf, 0, 0, []
    for value in values:
        lrs.append(lr)
        if resting > 0:
            resting, waited = resting - 1, 0
        gain = best - value if mode == "min" else value - (-best if math.isinf(best) else best)
        if gain > min_delta:
            best, waited = value, 0
        elif resting <= 0:
            waited += 1
            if waited >= patience:
                lr, waited, resting = max(lr * factor, min_lr), 0, cooldown
    return lrs


def lrs_of(values, batches=1, **settings):
    module = Scripted(values, lr=0.1, batches=batches)
    fit(module, PlateauDecay(verbose=False, threshold_mode="abs", **settings), max_epochs=len(values))
    return module.lrs[::batches]


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("cooldown", [0, 1, 3])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_reduce_lr_on_plateau(patience, cooldown, mode):
    """``patience`` and ``cooldown`` one less than Keras's."""
    rng = random.Random(patience + 10 * cooldown)
    values = [round(max(0.3, 1 - i / 8) + rng.choice([0.0, 0.05, -0.05]), 3) for i in range(40)]
    values = values if mode == "min" else [-value for value in values]
    expected = keras(values, factor=0.5, patience=patience, cooldown=cooldown, min_delta=0.01, min_lr=0.004, mode=mode)
    ours = {"factor": 0.5, "patience": patience - 1, "cooldown": max(0, cooldown - 1), "min_lr": 0.004}
    assert lrs_of(values, threshold=0.01, mode=mode, **ours) == pytest.approx(expected)
    assert expected[-1] <= 0.00625, "it fell four times at least"


def test_min_delta_is_absolute():
    values = [1.0, 0.9991, 0.9982, 0.9973, 0.9964]
    assert lrs_of(values, factor=0.1, patience=2, threshold=0.01) == pytest.approx(
        keras(values, patience=3, min_delta=0.01)
    )
    assert lrs_of(values, factor=0.1, patience=2, threshold=0.0) == [0.1] * 5


def test_a_second_training_with_the_same_callback_starts_anew():
    decay, seen = PlateauDecay(patience=1, verbose=False), []
    for _ in range(2):
        module = Scripted([1.0] * 6, batches=1)
        fit(module, decay, max_epochs=6)
        seen.append(module.lrs)
    assert seen[0] == seen[1]
    assert seen[0][-1] == 0.025


@pytest.mark.parametrize(("settings", "said"), [({"factor": 1.0}, "factor"), ({"mode": "auto"}, "mode must be one of")])
def test_settings_that_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        PlateauDecay(patience=3, **settings)


@pytest.mark.parametrize(
    ("function", "right"),
    [
        (lambda epoch: 0.1 / (1.0 + epoch), [0.1, 0.05, 0.1 / 3]),
        (lambda epoch, lr: lr * 2, [0.2, 0.4, 0.8]),
        (lambda epoch, lr: lr if epoch < 2 else lr * math.exp(-0.1), [0.1, 0.1, 0.1 * math.exp(-0.1)]),
    ],
)
def test_learning_rate_scheduler(function, right):
    """Called at the beginning of each epoch with its index from 0, and with the present LR if it takes that."""
    lrs, _, _ = fit_formula([LRFormula(function)])
    assert lrs.of(0)[::4] == pytest.approx(right)
    assert lrs.of(0) == pytest.approx([lr for lr in right for _ in range(4)])


@pytest.mark.parametrize("value", ["0.1", None, math.nan, -0.1, [0.1]])
def test_a_function_must_give_a_number(value):
    with pytest.raises(FormulaError):
        fit_formula([LRFormula(lambda epoch: value)])


@pytest.mark.parametrize("schedule", [3, object()])
def test_a_schedule_must_be_text_or_a_function(schedule):
    with pytest.raises(FormulaError):
        LRFormula(schedule)


def test_both_together_multiply():
    """As one callback after the other in Keras, whose functions take the reduced LR."""

    class Flat(Net):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", 1.0)

        def val_dataloader(self):
            return self._data()

    decay = PlateauDecay(patience=0, factor=0.5, verbose=False)
    lrs, _, _ = fit_formula([LRFormula(lambda epoch, lr: lr * 0.9), decay], Flat(), max_epochs=4)
    assert lrs.of(0)[::4] == pytest.approx([0.1 * 0.9 ** (e + 1) * 0.5 ** max(0, e - 1) for e in range(4)])
