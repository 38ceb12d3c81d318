"""A callback object used again, in another fold or trainer, starts anew, unless state was given to it just then."""

import copy
import doctest
import pickle

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRCurves, LRFormula, LRRangeTest, LRSearch, PlateauDecay, TrialPruner
from lr_lightning.callbacks import _fits
from lr_lightning.sweeper import trial as trials

pytestmark = [
    # A resumed fit saves nothing, and needs no ModelCheckpoint.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    # Data that come round again.
    pytest.mark.filterwarnings("ignore:PlateauDecay. the noise of loss is strongly correlated"),
]
OFF = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A search leaves its records in the working folder."""
    monkeypatch.chdir(tmp_path)


class Net(L.LightningModule):
    def __init__(self, fail_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.lrs, self.fail_at, self.batch_size = torch.nn.Linear(4, 1), [], fail_at, 4

    def loss(self, batch):
        return ((self.net(batch[0]) - batch[0].sum(1, keepdim=True)) ** 2).mean()

    def training_step(self, batch, batch_idx):
        self.lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        if self.fail_at == len(self.lrs):
            raise KeyboardInterrupt
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch) * 0 + 1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05)

    def train_dataloader(self):
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x), self.batch_size)

    val_dataloader = train_dataloader


def fold(callback, *others, fail_at=None, epochs=4, **settings):
    """The LRs of every step of a new model in a new trainer."""
    net, settings = Net(fail_at), {**OFF, **settings}
    trainer = L.Trainer(accelerator="cpu", max_epochs=epochs, callbacks=[callback, *others], **settings)
    try:
        trainer.fit(net)
    except BaseException as error:
        if fail_at is None:
            raise error
    return net.lrs


MADE = {
    "patience": lambda: PlateauDecay(patience=0, threshold=10.0, restore_best=True, verbose=False),
    "trend on steps": lambda: PlateauDecay("loss", interval="step", rule={"window": 3, "read_every": 2}, verbose=False),
    "formula": lambda: LRFormula("lr * 0.9", interval="step"),
    "range test": lambda: LRRangeTest(num_steps=40, progress_bar=False),
    "search": lambda: LRSearch(num_steps=6, first=3, later=1, budget=4, range_test=False, progress_bar=False),
}


def test_doctests():
    assert doctest.testmod(_fits).failed == 0


@pytest.mark.parametrize("name", MADE)
def test_a_second_fold_is_the_first_one_again(name):
    """Also after a fold that broke off, and as a copy."""
    used = MADE[name]()
    first = fold(used)
    assert len(set(first)) > 1 or first[0] != 0.05
    assert fold(used) == first
    fold(used, fail_at=11)
    assert fold(used) == first
    assert fold(copy.deepcopy(used)) == fold(pickle.loads(pickle.dumps(used))) == first  # noqa: S301


@pytest.mark.parametrize("name", MADE)
def test_a_trainer_that_goes_on_after_another_had_the_callback(name):
    """Its factor and history would be the other's; what only acts at the start of a training does no harm."""
    used, net = MADE[name](), Net()
    first = L.Trainer(accelerator="cpu", max_epochs=2, callbacks=[used], **OFF)
    first.fit(net)
    first.fit_loop.max_epochs = 3
    first.fit(net)
    assert len(net.lrs) == 24
    fold(used)
    first.fit_loop.max_epochs = 4
    if name in ("range test", "search"):
        first.fit(net)
        assert net.lrs[-8:] == net.lrs[-16:-8]
    else:
        words = "has been in another Trainer's fit since this one's, which goes on at step 24: give each Trainer"
        with pytest.raises(MisconfigurationException, match=words):
            first.fit(net)
        assert len(net.lrs) == 24


@pytest.mark.parametrize("name", ["patience", "trend on steps", "formula"])
def test_resumed_with_a_used_object_is_resumed_with_a_new_one(name, tmp_path):
    used, saver = MADE[name](), ModelCheckpoint(tmp_path, filename="{epoch}", every_n_epochs=2, save_top_k=-1)
    whole = fold(used, saver, enable_checkpointing=True)
    path = tmp_path / "epoch=1.ckpt"
    for callback in (used, MADE[name]()):
        net = Net()
        L.Trainer(accelerator="cpu", max_epochs=4, callbacks=[callback], **OFF).fit(net, ckpt_path=path)
        assert net.lrs == whole[-len(net.lrs) :]
    assert fold(used) == whole, "and then a new training"


def test_state_given_by_hand_holds_for_the_next_fit_alone():
    decay = MADE["patience"]()
    fold(decay)
    state, new = decay.state_dict(), MADE["patience"]()
    new.load_state_dict(state)
    fold(new, epochs=1)
    assert new.history[: len(state["history"])] == state["history"]
    fold(new, epochs=1)
    assert new.history == []
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD([torch.zeros(1)], 0.1), patience=2)
    for value in (0.5, 0.5, 0.5):
        scheduler.step(value)
    taken = PlateauDecay.from_torch(scheduler, verbose=False)
    fold(taken, epochs=1)
    assert len(taken.history) == 1, "the third bad value"
    fold(taken, epochs=1)
    assert taken.history == []


def test_what_a_batch_size_finder_saves_and_restores_is_no_state():
    def sizes(callback):
        lrs = fold(callback, BatchSizeFinder("power", steps_per_trial=1, init_val=4, max_trials=1), epochs=100)
        return callback._window.size, callback._state.seen, len(lrs)

    used = PlateauDecay("loss", interval="step", verbose=False)
    fold(used)
    size, seen, steps = sizes(used)
    assert (size, seen) == sizes(PlateauDecay("loss", interval="step", verbose=False))[:2]
    assert size == seen // 200 > 1
    assert seen < steps, "steps of the finder don't count"


def test_curves_and_pruner_too(tmp_path, monkeypatch):
    curves = LRCurves()
    assert fold(curves) == fold(curves)
    pruner = TrialPruner()
    monkeypatch.setattr(trials, "here", lambda: None)
    fold(pruner)
    pruner._values = [1.0, 2.0]
    fold(pruner)
    assert pruner._values == []
