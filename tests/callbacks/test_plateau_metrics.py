"""Where PlateauDecay's metric comes from: whatever EarlyStopping and a scheduler's monitor see, each value once."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import PlateauDecay
from tests.helpers.scripted import Scripted, fit

SERIES = [1.0, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7]
FLAT = [1.0] * 100


def torchs(values, **settings):
    """The LR after each value, by torch's own scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, **settings)
    lrs = []
    for value in values:
        lrs.append(optimizer.param_groups[0]["lr"])
        scheduler.step(value)
    return lrs


class Seen(EarlyStopping):
    """What EarlyStopping is given."""

    def __init__(self, monitor, **settings):
        super().__init__(monitor, patience=1000, check_finite=False, **settings)
        self.values = []

    def _run_early_stopping_check(self, trainer):
        self.values.append(float(trainer.callback_metrics[self.monitor]))
        super()._run_early_stopping_check(trainer)


class Later(L.Callback):
    """A callback after PlateauDecay, which logs."""

    def on_train_epoch_end(self, trainer, pl_module):
        self.log("quality", SERIES[trainer.current_epoch])

    def on_validation_epoch_end(self, trainer, pl_module):
        self.log("late_val", SERIES[min(trainer.current_epoch, 9)])


class Everything(Scripted):
    """Logs everywhere that Lightning allows."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("forked", torch.tensor(SERIES[self.current_epoch] + 0.1 * batch_idx), on_step=True, on_epoch=True)
        self.log("both", 5.0 - batch_idx, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx)
        self.log("both", SERIES[min(self.current_epoch, 9)])

    def on_train_epoch_end(self):
        self.log("module_end", SERIES[self.current_epoch])

    def on_validation_epoch_end(self):
        self.log("module_val", SERIES[min(self.current_epoch, 9)])

    def on_train_epoch_start(self):
        self.log("start", SERIES[self.current_epoch])


MEAN = sum(0.1 * i for i in range(4)) / 4


@pytest.mark.parametrize(
    ("monitor", "values"),
    [
        ("quality", SERIES), ("late_val", SERIES), ("module_end", SERIES), ("module_val", SERIES), ("start", SERIES),
        ("forked", [x + MEAN for x in SERIES]), ("forked_epoch", [x + MEAN for x in SERIES]), ("both", SERIES),
    ],
)  # fmt: skip
def test_each_value_once_wherever_it_is_logged(monitor, values):
    module, decay = Everything(FLAT), PlateauDecay(monitor, patience=1, verbose=False)
    fit(module, decay, Later(), max_epochs=len(values))
    assert module.lrs[:: module.batches] == pytest.approx(torchs(values, patience=1))
    assert decay._state.seen == len(values), "the last one too"


@pytest.mark.parametrize("monitor", ["val_loss", "both", "module_val"])
def test_as_early_stopping_sees_it(monitor):
    seen, decay = Seen(monitor), PlateauDecay(monitor, patience=1, verbose=False)
    module = Everything(SERIES * 3)
    fit(module, decay, seen, max_epochs=5, val_check_interval=0.5)
    assert len(seen.values) == decay._state.seen == 10


class Loaders(Scripted):
    """Two validation loaders."""

    def __init__(self, add):
        super().__init__()
        self.add = add

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        name = "val_loss" if self.add else f"loss_of_{dataloader_idx}"
        value = SERIES[self.current_epoch] + 10 * dataloader_idx
        self.log(name, value, add_dataloader_idx=self.add)

    def val_dataloader(self):
        return [DataLoader(TensorDataset(torch.ones(n, 2))) for n in (1, 2)]


@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("index", [0, 1])
def test_several_validation_loaders(add, index):
    monitor = f"val_loss/dataloader_idx_{index}" if add else f"loss_of_{index}"
    values = [x + 10 * index for x in SERIES]
    module, decay = Loaders(add), PlateauDecay(monitor, patience=1, verbose=False)
    fit(module, decay, max_epochs=len(values))
    assert module.lrs[:: module.batches] == pytest.approx(torchs(values, patience=1))
    with pytest.raises(
        MisconfigurationException, match="val_loss/dataloader_idx_1" if add else "did you mean 'loss_of"
    ):
        fit(Loaders(add), PlateauDecay("val_loss" if add else "losss_of_1"), max_epochs=1)


class Seldom(Scripted):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if self.current_epoch % 5 == 4 or self.current_epoch == 2:
            self.log("fid", 1.0)


def test_what_comes_seldom_is_waited_for():
    module, decay = Seldom(FLAT), PlateauDecay("fid", patience=0, verbose=False)
    fit(module, decay, max_epochs=16)
    assert decay._state.seen == 4
    assert [module.lrs[4 * e] for e in (4, 5, 10, 15)] == pytest.approx([0.1, 0.05, 0.025, 0.0125])


@pytest.mark.parametrize(
    ("monitor", "interval", "said"),
    [
        ("fid", "epoch", "at validation end: val_loss; at training epoch end: epoch_metric; at training steps: step_"),
        ("step_metric", "epoch", "'step_metric' is logged per step alone: log it with on_epoch=True, or take interval"),
        ("epoch_metric", "step", "'epoch_metric' is logged per epoch alone: log it with on_step=True, or take"),
        ("accuracy", "step", "interval='step' also takes train_loss or loss, the loss that is trained on"),
    ],
)  # fmt: skip
def test_what_never_comes_is_an_error_that_says_what_is_logged_and_when(monitor, interval, said):
    with pytest.raises(MisconfigurationException, match=said):
        fit(Scripted(FLAT), PlateauDecay(monitor, interval=interval), max_epochs=2)


@pytest.mark.parametrize("misspelt", ["val_los", "val/loss", "Val_Loss", "valid_loss", "val_losss", "vla_loss"])
def test_a_misspelt_name_is_told_before_the_first_step(misspelt):
    module = Scripted(FLAT)
    with pytest.raises(MisconfigurationException, match="did you mean 'val_loss'"):
        fit(module, PlateauDecay(misspelt), max_epochs=1)
    assert module.lrs == []
    module = Scripted(FLAT)
    with pytest.raises(MisconfigurationException, match="did you mean 'val_loss'"):
        fit(module, PlateauDecay(misspelt), max_epochs=3, num_sanity_val_steps=0)
    assert len(module.lrs) == 4, "after the first validation"
    with pytest.raises(MisconfigurationException, match="did you mean 'epoch_metric'"):
        fit(Scripted(), PlateauDecay("epoch_metrik"), max_epochs=3, limit_val_batches=0)


class EveryThird(Scripted):
    """Logs ``always`` at each validation, ``third`` at every third."""

    def __init__(self, always, third):
        super().__init__()
        self.names = always, third

    def validation_step(self, batch, batch_idx):
        self.log(self.names[0], 1.0)
        if self.current_epoch % 3 == 2:
            self.log(self.names[1], 1.0)


@pytest.mark.parametrize(
    ("always", "third"),
    [("val_mse", "val_rmse"), ("acc_seen", "acc_unseen"), ("micro_f1", "macro_f1"), ("val_rec", "val_prec"),
     ("val_iou", "val_miou"), ("test_loss", "best_loss"), ("g_loss", "g_gloss")],
)  # fmt: skip
def test_a_name_near_another_is_no_misspelt_one(always, third):
    module = EveryThird(always, third)
    with pytest.warns(UserWarning, match=f"it is waited for; did you mean '{always}'"):
        fit(module, PlateauDecay(third, patience=0, verbose=False), max_epochs=7)
    assert [module.lrs[4 * epoch] for epoch in (5, 6)] == pytest.approx([0.1, 0.05])
    with pytest.raises(MisconfigurationException, match=f"never got its metric.*did you mean '{always}'"):
        fit(EveryThird(always, "none"), PlateauDecay(third, verbose=False), max_epochs=1)


class OneName(Scripted):
    """Each step's loss and each validation's have one name."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("loss", 1.0)


def test_a_name_of_steps_may_be_that_of_a_later_validation():
    module = OneName()
    options = {"check_val_every_n_epoch": 3, "num_sanity_val_steps": 0}
    fit(module, PlateauDecay("loss", patience=0, verbose=False), max_epochs=7, **options)
    assert [module.lrs[4 * epoch] for epoch in (2, 5, 6)] == pytest.approx([0.1, 0.1, 0.05])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_value_logged_after_the_callback_survives_a_checkpoint(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    whole, decay = Everything(FLAT), PlateauDecay("module_end", patience=1, verbose=False)
    fit(whole, decay, saver, max_epochs=10, enable_checkpointing=True)
    for epoch in (1, 4, 5):
        again, module = PlateauDecay("module_end", patience=1, verbose=False), Everything(FLAT)
        fit(module, again, max_epochs=10, ckpt_path=tmp_path / f"epoch={epoch}.ckpt")
        assert module.lrs == whole.lrs[4 * (epoch + 1) :]
        assert (again.history, again._state) == (decay.history, decay._state)


@pytest.mark.filterwarnings("ignore:You are trying to")
def test_a_trainer_that_logs_nothing_is_refused_at_once():
    bare = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"))
    bare |= {"barebones": True, "max_epochs": 2}
    for decay in (PlateauDecay(), PlateauDecay("step_metric", interval="step")):
        module = Scripted(FLAT)
        with pytest.raises(MisconfigurationException, match=r"barebones=True.* logs no metrics"):
            fit(module, decay, **bare)
        assert module.lrs == []
    decay = PlateauDecay("train_loss", interval="step", patience=0, threshold=10.0, verbose=False)
    fit(Scripted(FLAT), decay, **bare)
    assert decay.history
