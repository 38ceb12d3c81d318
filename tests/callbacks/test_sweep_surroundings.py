"""What a training step finds during the sweep: the fit's counters, its callbacks and loggers, and whole batches."""

import copy
import dataclasses
import threading

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from lr_lightning import LRRangeTest, LRSearch
from lr_lightning.optim.batches import can_copy, copy_batch
from tests.callbacks.test_range_test import Line, fit, trainer
from tests.helpers.spy import Said

RANGE = {"min_lr": 1e-6, "max_lr": 1.0, "num_steps": 40, "apply": False}


def test_counters_go_on_from_the_fits_and_batch_idx_stays_within_the_epoch():
    seen = Said()

    class Counts(Line):
        def training_step(self, batch, batch_idx):
            seen.append((self.global_step, self.current_epoch, batch_idx, self.trainer.fit_loop.total_batch_idx))
            return super().training_step(batch, batch_idx)

    test = LRRangeTest(**RANGE, at_epochs=[1])
    runner = fit(test, Counts(), max_epochs=2)
    swept, after = seen[8 : 8 + test.result.steps], seen[8 + test.result.steps :]
    assert [step for step, *_ in swept] == list(range(8, 8 + len(swept)))
    assert {epoch for _, epoch, *_ in swept} == {1}
    assert [index for _, _, index, _ in swept] == [i % 8 for i in range(len(swept))]
    assert after == [(8 + i, 1, i, 8 + i) for i in range(8)]
    assert runner.global_step == 16


def test_windows_of_accumulation_stay_whole_where_the_epoch_does_not_divide():
    steps = Said()

    class Counts(Line):
        def training_step(self, batch, batch_idx):
            assert batch_idx < self.trainer.num_training_batches
            steps.append(self.global_step)
            return super().training_step(batch, batch_idx)

    test = LRRangeTest(**RANGE)
    fit(test, Counts(), accumulate_grad_batches=3)
    swept = steps[: 3 * test.result.steps]
    assert swept == [i // 3 for i in range(len(swept))]


class Rates(L.Callback):
    rate = 0.5
    calls = 0

    def on_train_batch_start(self, *_):
        self.calls += 1


def test_callbacks_loggers_and_metrics_can_be_looked_up_and_do_nothing(tmp_path):
    found = Said()

    class Looks(Line):
        def training_step(self, batch, batch_idx):
            own = next(c for c in self.trainer.callbacks if isinstance(c, Rates))
            loggers = [logger.log_dir for logger in self.trainer.loggers]
            stops = self.trainer.early_stopping_callback.patience
            metrics = set(self.trainer.callback_metrics)
            found.append((own.rate, self.trainer.checkpoint_callback.dirpath, *loggers, self.trainer.log_dir, stops))
            if self.current_epoch == 1:
                assert "loss_epoch" in metrics
            self.trainer.loggers[1].experiment.log_metrics({"never": 1.0}, 0)
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    loggers = [CSVLogger(tmp_path, name, version=0) for name in "ab"]
    rates, saves = Rates(), ModelCheckpoint(tmp_path / "saved")
    settings = {"logger": loggers, "enable_checkpointing": True, "max_epochs": 2, "log_every_n_steps": 1}
    runner = trainer([LRRangeTest(**RANGE, at_epochs=[0, 1]), rates, saves, EarlyStopping("loss_epoch")], **settings)
    runner.fit(Looks())
    logs = [str(tmp_path / name / "version_0") for name in "ab"]
    assert set(found) == {(0.5, str(tmp_path / "saved"), *logs, logs[0], 3)}
    assert rates.calls == 16
    written = (tmp_path / "a" / "version_0" / "metrics.csv").read_text().splitlines()
    assert len([line for line in written if line]) == 1 + 16 + 2  # head, steps, epochs: nothing of the sweep


@dataclasses.dataclass
class Pair:
    x: torch.Tensor
    y: torch.Tensor


class Own:
    __slots__ = ("parts",)

    def __init__(self, x, y):
        self.parts = {"x": x, "y": y}


class Words(dict):
    pass


KINDS = {
    "dataclass": (lambda x, y: Pair(x, y), lambda b: (b.x.div_(100), b.y)),
    "slots": (lambda x, y: Own(x, y), lambda b: (b.parts["x"].div_(100), b.parts.pop("y"))),
    "dict": (lambda x, y: Words(x=x, y=y), lambda b: (b["x"].div_(100), b.pop("y"))),
    "nested": (lambda x, y: [{"x": (x,)}, Pair(x, y)], lambda b: (b[0]["x"][0].div_(100), b.pop().y)),
}


class InPlace(Line):
    def __init__(self, kind, in_place):
        super().__init__()
        self.kind, self.in_place = kind, in_place

    def training_step(self, batch, batch_idx):
        taken = KINDS[self.kind][1](batch if self.in_place else copy_batch(batch))
        return super().training_step(taken, batch_idx)

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        return batch

    def train_dataloader(self):
        def collate(items):
            x, y = (torch.stack(part) for part in zip(*items, strict=True))
            return KINDS[self.kind][0](x * 100, y)

        return DataLoader(super().train_dataloader().dataset, 16, collate_fn=collate)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_may_change_its_batch_in_place(kind):
    right, got = LRRangeTest(**RANGE), LRRangeTest(**RANGE)
    fit(right, InPlace(kind, False))
    fit(got, InPlace(kind, True))
    assert got.result.losses == right.result.losses
    assert got.result.suggestion is not None


def test_batches_that_cannot_be_copied_are_fetched_anew(caplog):
    class Streams(Line):
        def training_step(self, batch, batch_idx):
            assert sum(batch[2]) == 3, "the batch's generator has been read before"
            return super().training_step(batch[:2], batch_idx)

        def train_dataloader(self):
            def collate(items):
                return *(torch.stack(part) for part in zip(*items, strict=True)), (n for n in range(3))

            return DataLoader(super().train_dataloader().dataset, 16, collate_fn=collate)

    test = LRRangeTest(**RANGE)
    with caplog.at_level("INFO"):
        fit(test, Streams())
    assert test.result.suggestion is not None
    assert "num_batches=None" in caplog.text
    search = LRSearch(1e-4, 0.1, num_steps=8, budget=5)
    fit(search, Streams())
    assert search.best_lr is not None


def test_a_copy_of_a_batch_is_whole_and_takes_no_more_than_its_part():
    whole = torch.arange(1000.0)
    leaf = torch.ones(2, requires_grad=True)
    batch = Pair(whole[10:12], [leaf, leaf])
    copied = copy_batch(batch)
    assert copied.x.untyped_storage().nbytes() == 8
    assert copied.y[0] is copied.y[1]
    assert copied.y[0].is_leaf
    assert copied.y[0].requires_grad
    assert torch.equal(copied.x, batch.x)
    assert not can_copy({"lock": threading.Lock()})
    with pytest.raises(TypeError, match=r"a batch of type dict can't be copied: .*lock"):
        copy_batch({"lock": threading.Lock()})


@pytest.mark.parametrize("callback", [LRRangeTest(**RANGE), LRSearch(1e-4, 0.1, num_steps=8, budget=5)])
def test_a_stop_iteration_of_the_users_is_the_users_error(callback):
    class Ends(Line):
        def training_step(self, batch, batch_idx):
            next(iter([]))

    class EndsInLightning(Line):
        def training_step(self, batch, batch_idx):
            self.own = getattr(self, "own", None) or iter(CombinedLoader([[1.0, 2.0]], "min_size"))
            return super().training_step(batch, batch_idx) + 0 * next(self.own)[0][0]

    for module in (Ends, EndsInLightning):
        with pytest.raises(RuntimeError, match="the training step raised StopIteration"):
            fit(copy.deepcopy(callback), module())


def test_several_validation_loaders_get_their_number():
    seen = Said()

    class Two(Line):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            seen.append((batch_idx, dataloader_idx))
            return self.training_step(batch, batch_idx)

        def val_dataloader(self):
            return [DataLoader(self.train_dataloader().dataset, 64) for _ in range(2)]

    test = LRRangeTest(**RANGE, evaluate="val", val_batches=3)
    fit(test, Two(), num_sanity_val_steps=0)
    assert seen[:6] == [(0, 0), (1, 0), (0, 1)] * 2
    assert test.result.suggestion is not None
