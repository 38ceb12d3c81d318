"""PlateauDecay beside other schedulers, callbacks, ends of the run, optimizers and groups that come later."""

import copy
import logging
import math
from datetime import timedelta
from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau

from lr_lightning import LRFormula, PlateauDecay, PlateauLR
from lr_lightning.callbacks._plateau import horizon
from tests.helpers.scripted import Scripted, fit

FLAT = [1.0] * 100
QUIET = {"verbose": False}


class Own(ReduceLROnPlateau):
    """A subclass."""


class Rival(Scripted):
    def __init__(self, kind=ReduceLROnPlateau, other=False):
        super().__init__(FLAT, groups=2)
        self.kind, self.other, self.automatic_optimization = kind, other, False

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        one, two = (torch.optim.SGD(layer.parameters(), lr=0.1) for layer in self.layers)
        return [one, two], [self.kind(two if self.other else one, patience=7)]


@pytest.mark.parametrize("kind", [ReduceLROnPlateau, Own])
def test_a_reduce_lr_on_plateau_of_the_same_optimizer_is_refused_by_name(kind):
    said = rf"PlateauDecay and the scheduler {kind.__name__} .* of SGD: keep one of them. .*factor=0.1, patience=7"
    for decay in (PlateauDecay(), PlateauDecay(patience=3, optimizer=[0])):
        module = Rival(kind)
        with pytest.raises(MisconfigurationException, match=said):
            fit(module, decay, max_epochs=1)
        assert module.lrs == []
    fit(Rival(kind, other=True), PlateauDecay(patience=3, optimizer=0, **QUIET), max_epochs=1)


def test_a_plateau_lr_of_the_same_optimizer_is_refused_too():
    for make, asked in ((partial(PlateauLR, patience=7), "patience=7"), (lambda one, patience: PlateauLR(one), "0.5")):
        said = rf"PlateauDecay and the scheduler PlateauLR .* of SGD: keep one of them. .*{asked}\) decides as that"
        with pytest.raises(MisconfigurationException, match=said):
            fit(Rival(make), PlateauDecay(), max_epochs=1)


@pytest.mark.parametrize(
    ("settings", "callbacks", "why"),
    [
        ({"max_epochs": 6}, [EarlyStopping("val_loss", patience=99)], r"EarlyStopping\(monitor='val_loss'\) may end"),
        ({"max_epochs": -1, "max_time": None, "limit_train_batches": 2}, [], "neither max_epochs, max_steps nor max_t"),
    ],
)  # fmt: skip
def test_a_share_of_a_run_without_a_planned_end_is_refused(settings, callbacks, why):
    module = Scripted(FLAT)
    with pytest.raises(
        MisconfigurationException, match=f"warmup=0.5 is a share .* isn't planned: {why}.*give a number"
    ):
        fit(module, PlateauDecay(warmup=0.5), *callbacks, **settings)
    assert module.lrs == []
    with pytest.raises(ValueError, match="is a share of the run, but horizon='unknown'"):
        fit(module, PlateauDecay(warmup=0.5, rule={"horizon": "unknown"}), max_epochs=1)


def test_early_stopping_is_told_of_once(caplog):
    decay = PlateauDecay()
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        for _ in range(2):
            fit(Scripted(range(100, 0, -1)), decay, EarlyStopping("val_loss", patience=99), max_epochs=3)
        fit(Scripted(FLAT), PlateauDecay(patience=50), EarlyStopping("val_loss", patience=99), max_epochs=3)
    said = [text for text in caplog.messages if "counts as unknown" in text]
    assert len(said) == 2, "once a training, and not where the rule doesn't ask"
    assert (
        "EarlyStopping(monitor='val_loss') may end the run early, so the end counts as unknown: no endgame" in said[0]
    )
    assert "windows are 0.25 of the run so far" in said[0]


class Clock(L.Callback):
    """Looks at the end that is reckoned with."""

    def __init__(self):
        self.ends = []

    def on_train_batch_end(self, trainer, *_):
        self.ends.append(horizon.planned_batches(trainer, trainer.global_step))


def test_max_time_is_a_planned_end():
    clock = Clock()
    trainer = fit(Scripted(FLAT), PlateauDecay(warmup=0.1, **QUIET), clock, max_epochs=3, max_time=timedelta(hours=5))
    assert horizon.why_open(trainer, "auto") == ""
    assert clock.ends == [12.0] * 12, "max_epochs comes first"
    clock = Clock()
    trainer = fit(
        Scripted(FLAT), PlateauDecay(warmup=1, **QUIET), clock, max_epochs=3, max_time=timedelta(seconds=1e-6)
    )
    assert horizon.why_open(trainer, "auto") == ""
    assert all(1 <= end < 2 for end in clock.ends), "the time is over"
    assert horizon.why_open(trainer, "unknown") == "horizon='unknown'"


class Replace(L.Callback):
    """Optimizers anew, as after unfreezing."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 6:
            trainer.strategy.setup_optimizers(trainer)


@pytest.mark.parametrize("schedule", [None, lambda o: ExponentialLR(o, 0.9)])
def test_an_optimizer_in_place_of_another_gets_the_factor_so_far(schedule):
    module, decay = Scripted(FLAT, scheduler=schedule, groups=2), PlateauDecay(patience=2, min_lr=[0.03, 0.0], **QUIET)
    trainer = fit(module, decay, Replace(), max_epochs=9)
    cuts = [entry["epoch"] for entry in decay.history]
    gamma = 0.9 if schedule else 1.0
    lrs = []
    for epoch in range(9):
        base = 0.1 * gamma ** (epoch if epoch < 6 else epoch - 6)
        lrs.append(base * 0.5 ** sum(cut < epoch for cut in cuts))
    found = module.lrs[:: module.batches]
    if schedule is None:
        lrs = [max(lr, 0.03) for lr in lrs]
        assert found == pytest.approx(lrs)
    assert found[6] == pytest.approx(max(lrs[6], 0.03))
    assert trainer.optimizers[0].param_groups[1]["lr_factor"] == pytest.approx(decay.factor_so_far)


class Grow(L.Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 4:
            trainer.optimizers[0].add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0})


def test_floors_of_groups_that_are_added_later():
    module, decay = Scripted(FLAT, groups=2), PlateauDecay(patience=0, min_lr=[0.03, 0.002], **QUIET)
    said = "min_lr has 2 values; param groups added later get the last one of their optimizer, 0.002"
    with pytest.warns(UserWarning, match=said):
        trainer = fit(module, decay, Grow(), max_epochs=30)
    assert [g["lr"] for g in trainer.optimizers[0].param_groups] == pytest.approx([0.03, 0.002, 0.002])


def test_a_second_fit_of_the_same_trainer_goes_on_with_the_factor():
    module, decay = Scripted(FLAT), PlateauDecay(patience=0, **QUIET)
    trainer = fit(module, decay, max_epochs=3)
    assert decay.factor_so_far == 0.25
    trainer.fit_loop.max_epochs = 5
    module.lrs.clear()
    trainer.fit(module)
    assert module.lrs[:: module.batches] == [0.025, 0.0125]


@pytest.fixture
def checkpoint(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="x", every_n_train_steps=11)
    fit(Scripted(FLAT), PlateauDecay(patience=0, **QUIET), saver, max_epochs=3, enable_checkpointing=True)
    return tmp_path / "x.ckpt"


@pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`", "ignore:You're resuming from a checkpoint that"
)
def test_a_resume_says_what_differs(checkpoint, caplog):
    def resumed(decay, **settings):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
            trainer = fit(Scripted(FLAT), decay, Grow(), ckpt_path=checkpoint, **{"max_epochs": 6, **settings})
        return trainer.optimizers[0].param_groups, [text for text in caplog.messages if "PlateauDecay" in text]

    groups, said = resumed(PlateauDecay(patience=0, **QUIET))
    assert (
        "the run is planned to 24 batches, before the checkpoint to 12 batches: windows and endgame follow" in said[0]
    )
    other = PlateauDecay("epoch_metric", patience=50, **QUIET)
    groups, said = resumed(other, max_epochs=5)
    assert "the checkpoint has no state of it; it starts at step 11, with an LR factor of 0.5" in said[0]
    assert other.history == []
    assert [g["lr"] for g in groups] == pytest.approx([0.05, 0.5]), "what joins has the factor that others left"
    new = PlateauDecay("epoch_metric", patience=50, **QUIET)
    fit(Scripted(FLAT), PlateauDecay(patience=0, **QUIET), new, Grow(), ckpt_path=checkpoint, max_epochs=3)
    assert math.isclose(new._inherited, 1.0), "the other one has its state"


def test_the_best_checkpoint_is_gone(tmp_path):
    class Gone(L.Callback):
        def on_validation_end(self, trainer, pl_module):
            for path in tmp_path.glob("*.ckpt"):
                path.unlink()

    decay = PlateauDecay(patience=1, restore_best="checkpoint", **QUIET)
    saver = ModelCheckpoint(tmp_path, monitor="val_loss")
    fit(Scripted([3.0, 1.0, 2.0, 2.0, 2.0, 2.0]), Gone(), decay, saver, max_epochs=6, enable_checkpointing=True)
    assert "no best checkpoint is left at" in decay.history[0]["reason"]


class ByHand(Scripted):
    """Sets its LR itself: as a number of its own, or as a share of what the group has."""

    def __init__(self, relative):
        super().__init__(FLAT)
        self.relative = relative

    def on_train_epoch_start(self):
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["lr"] * 0.9 if self.relative else 0.1 * 0.9**self.current_epoch


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_an_lr_set_by_hand_that_takes_decays_back_is_told_once(interval, recwarn):
    monitor = "val_loss" if interval == "epoch" else "train_loss"
    decay = PlateauDecay(monitor, patience=1, threshold=10.0, interval=interval, **QUIET)
    fit(ByHand(relative=False), decay, max_epochs=9)
    told = [str(one.message) for one in recwarn if "something else has set it to" in str(one.message)]
    assert [text.startswith(f"PlateauDecay({monitor}) left the learning rate at 0.0") for text in told] == [True]


def test_an_lr_set_by_hand_that_keeps_decays_is_not_told_of(recwarn):
    module = ByHand(relative=True)
    decay = PlateauDecay(patience=1, **QUIET)
    fit(module, decay, max_epochs=9)
    assert not [one for one in recwarn if "something else" in str(one.message)]
    assert decay.factor_so_far < 1
    lr = module.trainer.optimizers[0].param_groups[0]["lr"]
    assert lr == pytest.approx(0.1 * 0.9**9 * decay.factor_so_far)


class Back(L.Callback):
    """Puts an early state of the optimizer back."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            self.state = copy.deepcopy(trainer.optimizers[0].state_dict())
        if trainer.current_epoch == 5:
            trainer.optimizers[0].load_state_dict(self.state)


@pytest.mark.parametrize("twin", [False, True])
def test_an_older_state_of_the_optimizer_takes_decays_back(twin, recwarn):
    decay = PlateauDecay(patience=1, threshold=10.0, **QUIET)
    other = [PlateauDecay("epoch_metric", mode="max", patience=50, **QUIET)] * twin  # may kick: nothing is sure then
    fit(Scripted(FLAT), decay, Back(), *other, max_epochs=8)
    told = [str(one.message) for one in recwarn if "something else has set it to 0.1 since" in str(one.message)]
    assert len(told) == (not twin)


class Renewed(L.Callback):
    """A new optimizer in mid-fit, with a higher LR."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 5:
            pl_module.lr = 1.0
            trainer.strategy.setup_optimizers(trainer)


RAISED = {
    "a scheduler": lambda: (Scripted(FLAT, scheduler=lambda one: LambdaLR(one, lambda epoch: 10 ** (epoch >= 5))), []),
    "a formula": lambda: (Scripted(FLAT), [LRFormula("base_lr * (1 if epoch < 5 else 10)")]),
    "a new optimizer": lambda: (Scripted(FLAT), [Renewed()]),
}


@pytest.mark.parametrize("by", RAISED)
def test_an_lr_that_is_raised_with_the_decays_in_it_is_not_told_of(by, recwarn):
    module, others = RAISED[by]()
    decay = PlateauDecay(patience=1, threshold=10.0, **QUIET)
    fit(module, decay, *others, max_epochs=9)
    assert not [one for one in recwarn if "something else" in str(one.message)]
    assert module.lrs[16] < 0.1, "decayed before"
    assert module.lrs[20] > module.lrs[19], "raised"
    assert decay.factor_so_far < 0.5
