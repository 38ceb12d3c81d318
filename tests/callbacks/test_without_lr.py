"""Fits without an LR that could be set, and param groups with odd names."""

import lightning as L
import pytest
import torch

from lr_lightning import LRCurves, LRFormula, PlateauDecay
from tests.helpers.scripted import Scripted, fit


class OwnStep(torch.optim.Optimizer):
    """Finds its step size itself."""

    def __init__(self, params, **lr):
        super().__init__(params, lr)

    def step(self, closure=None):
        return closure()


class Made(Scripted):
    """What ``make`` makes of its parameters."""

    def __init__(self, make):
        super().__init__([1.0] * 100, groups=2)
        self.make = make

    def training_step(self, batch, batch_idx):
        self.log("batches", 1.0, reduce_fx="sum")
        return sum(layer(batch[0]).mean() for layer in self.layers)

    def configure_optimizers(self):
        return self.make(self.parameters())


@pytest.mark.parametrize("callback", [PlateauDecay, lambda: LRFormula("base_lr / (1 + epoch)")])
@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda p: None, "needs an optimizer: configure_optimizers of this module returns none"),
     (lambda p: OwnStep(p, lr=None), r"OwnStep has no LR \(lr=None\)"), (OwnStep, r"OwnStep has no LR \(lr=None\)")],
    ids=["no optimizer", "lr=None", "no lr"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_what_has_no_lr_is_refused_by_name(callback, make, said):
    with pytest.raises(ValueError, match=said):
        fit(Made(make), callback(), max_epochs=1)
    assert fit(Made(make), LRCurves(), max_epochs=1).current_epoch == 1


def test_another_optimizer_than_the_one_watched_may_have_none():
    class Both(Made):
        def __init__(self):
            super().__init__(None)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            for one in self.optimizers():
                one.step(lambda: None)

        def configure_optimizers(self):
            own, sgd = self.layers
            return [OwnStep(own.parameters(), lr=None), torch.optim.SGD(sgd.parameters(), lr=0.1)]

    second = {"optimizer": 1}
    decay, formula = PlateauDecay(patience=0, verbose=False, **second), LRFormula("base_lr / (1 + epoch)", **second)
    trainer = fit(Both(), decay, formula, max_epochs=3)
    assert trainer.optimizers[1].param_groups[0]["lr"] == pytest.approx(0.1 / 3 / 4)


class Odd(Made):
    def configure_optimizers(self):
        names = (3, None)
        groups = [{"params": x.parameters(), "name": n} for x, n in zip(self.layers, names, strict=True)]
        return torch.optim.SGD(groups, lr=0.1)


def test_names_of_groups_may_be_anything():
    def lrs(formula):
        trainer = fit(Odd(None), formula, LRCurves(), max_epochs=1)
        return [group["lr"] for group in trainer.optimizers[0].param_groups]

    assert lrs(LRFormula("base_lr / 5", groups={"3": "base_lr / 2"})) == pytest.approx([0.05, 0.02])
    with pytest.warns(UserWarning, match="no param group is named 'head' yet; known are 3; its formula waits"):
        assert lrs(LRFormula(groups={"head": "base_lr / 2"})) == [0.1, 0.1]


class Own(L.Callback):
    """Ends the fit with an error of the user's own."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        raise RuntimeError("mine")


def test_an_error_of_the_users_own_is_the_one_that_is_raised():
    ours = PlateauDecay("never_logged"), LRFormula("base_lr / (1 + epoch)"), LRCurves()
    with pytest.raises(RuntimeError, match="mine"):
        fit(Scripted(), *ours, Own(), max_epochs=2)
