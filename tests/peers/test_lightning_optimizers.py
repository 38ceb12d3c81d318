"""What Lightning's tests of optimizers and their schedulers promise, with PlateauDecay and LRFormula beside them.

The oracle is the same fit without ours: the LR of each step is its LR times the plateau factor.
"""

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import FormulaLR, LRFormula, PlateauDecay, PlateauLR

BATCHES, EPOCHS = 3, 6


class Net(L.LightningModule):
    """Whatever ``build`` gives; keeps the LR of each optimizer's first group at each batch."""

    def __init__(self, build, manual=False, values=(1.0,) * 99):
        super().__init__()
        self.build, self.automatic_optimization, self.values = build, not manual, values
        self.one, self.two = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        self.lrs = []

    def training_step(self, batch, batch_idx):
        self.lrs.append([optimizer.param_groups[0]["lr"] for optimizer in self.trainer.optimizers])
        loss = (self.one(batch[0]) + self.two(batch[0])).square().mean()
        if not self.automatic_optimization:
            optimizers = self.optimizers()
            for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                optimizer.step()
        return loss

    def on_train_epoch_end(self):
        if not self.automatic_optimization:
            schedulers = self.lr_schedulers() or []
            for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
                scheduler.step()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.values[self.current_epoch])

    def configure_optimizers(self):
        return self.build(self)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(BATCHES, 2)))

    def val_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(1, 2)))


def fit(module, *callbacks, **options):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = L.Trainer(callbacks=[*callbacks], accelerator="cpu", **{"max_epochs": EPOCHS, **quiet, **options})
    trainer.fit(module)
    return module.lrs


def sgd(part, lr=0.1):
    return torch.optim.SGD(part.parameters(), lr=lr)


def halving(interval="epoch", frequency=1, name=None):
    def build(net):
        optimizer = sgd(net)
        config = {"scheduler": StepLR(optimizer, 1, 0.5), "interval": interval, "frequency": frequency, "name": name}
        return {"optimizer": optimizer, "lr_scheduler": config}

    return build


def one_cycle(net):
    optimizer = sgd(net)
    config = {"scheduler": OneCycleLR(optimizer, 0.5, BATCHES * EPOCHS + 1, pct_start=0.1), "interval": "step"}
    return [optimizer], [config]


def two(net):
    both = [sgd(net.one), torch.optim.Adam(net.two.parameters(), lr=0.01)]
    return both, [ExponentialLR(both[0], 0.9), LambdaLR(both[1], lambda epoch: 1 / (1 + epoch))]


def mixed(net):
    both = [sgd(net.one), torch.optim.Adam(net.two.parameters(), lr=0.01)]
    return [{"optimizer": both[0], "lr_scheduler": StepLR(both[0], 2, 0.1)}, {"optimizer": both[1]}]


# What configure_optimizers may give, and whether it is stepped by hand.
FORMS = {
    "one": (sgd, False),
    "a list": (lambda net: [sgd(net)], False),
    "a dictionary": (lambda net: {"optimizer": sgd(net)}, False),
    "a scheduler": (halving(), False),
    "a scheduler each other epoch": (halving(frequency=2), False),
    "a scheduler by step": (halving("step", 4), False),
    "a scheduler with a name": (halving(name="mine"), False),
    "momentum and LR in a cycle": (one_cycle, False),
    "by hand": (sgd, True),
    "by hand, with a scheduler": (halving(), True),
    "two by hand": (two, True),
    "two by hand, one with a scheduler": (mixed, True),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_configure_optimizers_times_the_factor(form):
    build, manual = FORMS[form]
    plain = fit(Net(build, manual))
    lrs = fit(Net(build, manual), PlateauDecay(patience=1, verbose=False))
    factors = [1.0] * 3 * BATCHES + [0.5] * 2 * BATCHES + [0.25] * BATCHES
    assert len(lrs) == len(plain) == BATCHES * EPOCHS
    for got, right, factor in zip(lrs, plain, factors, strict=True):
        assert got == pytest.approx([lr * factor for lr in right], rel=1e-9)


@pytest.mark.parametrize("index", [0, 1])
def test_one_of_two_optimizers(index):
    plain = fit(Net(two, True))
    lrs = fit(Net(two, True), PlateauDecay(patience=0, optimizer=index, verbose=False))
    for step, (got, right) in enumerate(zip(lrs, plain, strict=True)):
        factor = 0.5 ** max(0, step // BATCHES - 1)
        assert got == pytest.approx([lr * (factor if i == index else 1.0) for i, lr in enumerate(right)], rel=1e-9)


def test_an_optimizer_in_the_place_of_several_is_refused():
    with pytest.raises(MisconfigurationException, match="optimizer=1 is not there: the module has 1 optimizers"):
        fit(Net(sgd), PlateauDecay(optimizer=1))


@pytest.mark.parametrize(
    "config",
    [{}, {"frequency": 2}, {"interval": "step", "frequency": BATCHES}, {"strict": False}, {"name": "mine"}],
    ids=["plain", "each other epoch", "by step", "not strict", "named"],
)
def test_a_plateau_scheduler_with_a_monitor(config):
    values = [3.0, 2.0, 2.0, 2.0, 2.0, *[1.0] * 9]
    found = []
    for kind in (ReduceLROnPlateau, PlateauLR):

        def build(net, kind=kind):
            optimizer = sgd(net)
            given = {"scheduler": kind(optimizer, factor=0.5, patience=1), "monitor": "val_loss", **config}
            return {"optimizer": optimizer, "lr_scheduler": given}

        found.append(fit(Net(build, values=values), max_epochs=len(values)))
    assert found[0] == found[1]
    assert found[1][-1] < found[1][0]


@pytest.mark.parametrize(
    ("config", "said"),
    [({"monitor": "val_los"}, "val_los which is not available"), ({}, "ReduceLROnPlateau.*[Mm]onitor|monitor")],
)
def test_a_plateau_scheduler_without_its_metric_is_an_error_of_lightnings(config, said):
    def build(net):
        optimizer = sgd(net)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": PlateauLR(optimizer), **config}}

    with pytest.raises(MisconfigurationException, match=said):
        fit(Net(build))


def test_an_lr_scheduler_step_of_the_users_own():
    class Own(Net):
        def lr_scheduler_step(self, scheduler, metric):
            self.stepped = [*getattr(self, "stepped", []), metric]
            scheduler.step() if metric is None else scheduler.step(metric)

    def plateau(net):
        optimizer = sgd(net)
        given = {"scheduler": PlateauLR(optimizer, patience=0), "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": given}

    module = Own(plateau)
    lrs = fit(module)
    assert [float(metric) for metric in module.stepped] == [1.0] * EPOCHS
    assert [lr for (lr,) in lrs[::BATCHES]] == [0.1, 0.1, 0.05, 0.025, 0.0125, 0.00625]
    module = Own(halving())
    lrs = fit(module, PlateauDecay(patience=0, verbose=False))
    assert module.stepped == [None] * EPOCHS
    assert [lr for (lr,) in lrs[::BATCHES]] == pytest.approx([0.1 * 0.5 ** (e + max(0, e - 1)) for e in range(EPOCHS)])


def test_a_formula_scheduler_by_epoch_and_by_step():
    def build(interval):
        def made(net):
            optimizer = sgd(net)
            scheduler = FormulaLR(optimizer, f"base_lr / (1 + {interval})", interval=interval)
            return [optimizer], [{"scheduler": scheduler, "interval": interval}]

        return made

    assert [lr for (lr,) in fit(Net(build("step")))] == pytest.approx([0.1 / (1 + step) for step in range(18)])
    decayed = fit(Net(build("epoch")), PlateauDecay(patience=0, verbose=False))
    right = [0.1 / (1 + epoch) * 0.5 ** max(0, epoch - 1) for epoch in range(EPOCHS)]
    assert [lr for (lr,) in decayed[::BATCHES]] == pytest.approx(right)


@pytest.mark.parametrize(("build", "manual"), [(sgd, False), (sgd, True), (lambda net: two(net)[0], True)])
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_formula_beside_optimizers_stepped_in_any_way(build, manual, interval):
    lrs = fit(Net(build, manual), LRFormula("base_lr / (1 + epoch)", interval=interval))
    first = fit(Net(build, manual))[0]
    for step, got in enumerate(lrs):
        assert got == pytest.approx([lr / (1 + step // BATCHES) for lr in first])


def test_accumulated_batches_are_one_step():
    lrs = fit(Net(sgd), LRFormula("base_lr / (1 + step)", interval="step"), accumulate_grad_batches=2, max_epochs=2)
    assert [lr for (lr,) in lrs] == pytest.approx([0.1, 0.1, 0.05, 0.1 / 3, 0.1 / 3, 0.025])


def test_a_closure_is_evaluated_at_one_lr():
    def lbfgs(net):
        return torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)

    lrs = fit(Net(lbfgs), LRFormula("base_lr * 0.5 ** epoch"), PlateauDecay(patience=0, verbose=False), max_epochs=3)
    by_epoch = [{lr for (lr,) in lrs if abs(lr / right - 1) < 1e-9} for right in (0.1, 0.05, 0.0125)]
    assert [len(found) for found in by_epoch] == [1, 1, 1]
    assert len({lr for (lr,) in lrs}) == 3
