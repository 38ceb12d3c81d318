"""A canary per private name of Lightning that the sandbox uses: a release that moves one fails here, by name."""

import inspect
import re
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loops.fetchers import _DataLoaderIterDataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.loops.utilities import _select_data_fetcher
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader

from lr_lightning.callbacks import _sandbox
from tests.helpers.modules import Classifier


@pytest.fixture(scope="module")
def live():
    """Trainer, and what its connector holds, in the middle of a training batch."""

    class Look(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            self.missing = _sandbox.missing_internals(trainer)
            self.connector = dict(vars(trainer._logger_connector))
            self.loop = dict(vars(trainer.fit_loop.epoch_loop))
            self.val_loader = trainer.fit_loop.epoch_loop.val_loop._combined_loader
            self.loader = trainer.fit_loop._combined_loader
            self.stepped = trainer.fit_loop.epoch_loop._batches_that_stepped

    look = Look()
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=3, callbacks=[look], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Classifier())
    return trainer, look


def test_nothing_is_missing(live):
    assert live[1].missing == []


@pytest.mark.parametrize("name", _sandbox._CONNECTOR_FIELDS)
def test_logger_connector_fields_are_plain_attributes(live, name):
    assert name in live[1].connector


@pytest.mark.parametrize("name", [*_sandbox._TRAINER_FIELDS, "_logger_connector", "precision_plugin"])
def test_trainer_fields(live, name):
    assert hasattr(live[0], name)


def test_trainer_fields_can_be_set(live):
    trainer = live[0]
    for name in _sandbox._TRAINER_FIELDS:
        setattr(trainer, name, getattr(trainer, name))


def test_the_fit_loop_keeps_its_loaders(live):
    trainer, look = live
    assert isinstance(look.loader, CombinedLoader)
    assert isinstance(look.val_loader, CombinedLoader)
    assert "epoch_loop" in vars(trainer.fit_loop)


def test_batches_that_stepped_counts_optimizer_steps(live):
    assert live[1].stepped == 2  # seen at the start of the third batch
    assert _sandbox.logging_step(live[0]) == 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("__init__", ["trainer", "min_steps", "max_steps"]),
        ("advance", ["data_fetcher"]),
        ("_update_learning_rates", ["interval", "update_plateau_schedulers"]),
        ("_num_ready_batches_reached", []),
        ("_should_accumulate", []),
    ],
)
def test_methods_of_the_training_epoch_loop(name, parameters):
    assert list(inspect.signature(getattr(_TrainingEpochLoop, name)).parameters)[1:] == parameters


def test_advance_asks_the_fetcher_for_a_batch_and_whether_it_is_done():
    source = inspect.getsource(_TrainingEpochLoop.advance)
    assert "next(data_fetcher)" in source
    assert "data_fetcher.done" in source
    assert "self._num_ready_batches_reached" in inspect.getsource(_TrainingEpochLoop._should_accumulate)
    assert "_update_learning_rates" in inspect.getsource(_TrainingEpochLoop.update_lr_schedulers)


def test_fetchers(live):
    fetcher = _select_data_fetcher(live[0], RunningStage.TRAINING)
    assert isinstance(fetcher, _PrefetchDataFetcher)
    loader = DataLoader(torch.zeros(4, 1))
    for kind in (fetcher, _DataLoaderIterDataFetcher()):
        kind.setup(CombinedLoader([loader]))
        iter(kind)
        assert kind.done is False
        kind.teardown()


def test_combined_loaders_can_be_copied_with_other_loaders():
    import copy

    first, second = DataLoader(torch.zeros(4, 1)), DataLoader(torch.ones(4, 1))
    combined = CombinedLoader([first])
    iter(combined)
    twin = copy.copy(combined)
    twin._iterator = None
    twin.flattened = [second]
    assert combined.flattened == [first]
    assert combined._iterator is not None
    assert next(iter(twin))[0][0].item() == 1.0


def test_torchs_loader_keeps_persistent_workers_in_iterator():
    assert vars(DataLoader(torch.zeros(4, 1)))["_iterator"] is None


def test_ddp():
    strategy = DDPStrategy()
    assert strategy._pl_static_graph_delay_done is False
    assert not inspect.signature(strategy.configure_ddp).parameters
    for name in _sandbox._DDP_FLAGS:
        assert f"self.{name}" in inspect.getsource(torch.nn.parallel.DistributedDataParallel)


def test_strategy_hooks_and_results(live):
    from lightning.pytorch.trainer import call

    assert list(inspect.signature(call._call_strategy_hook).parameters)[:2] == ["trainer", "hook_name"]
    assert isinstance(inspect.getattr_static(type(live[0]), "_results"), property)
    assert list(inspect.signature(L.LightningModule._on_before_batch_transfer).parameters)[1:] == [
        "batch",
        "dataloader_idx",
    ]


def test_this_list_names_all_that_the_sandbox_uses():
    source = Path(_sandbox.__file__).read_text()
    used = set(re.findall(r"(?<!self)\.(_[a-z]\w+)", source)) | set(re.findall(r'"(_[a-z]\w+)"', source))
    used |= set(re.findall(r"import (_\w+)", source))
    own = {"_snapshot", "_plain", "_pytree"}
    here = Path(__file__).read_text() + str(_sandbox._CONNECTOR_FIELDS)
    assert sorted(name for name in used - own if name not in here) == []
