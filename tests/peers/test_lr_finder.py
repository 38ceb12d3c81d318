"""What Lightning's tests of its LR finder promise, asked of LRRangeTest; README.md lists what differs on purpose."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRRangeTest

RANGE = {"min_lr": 1e-5, "max_lr": 10.0, "num_steps": 40, "budget": 0, "progress_bar": False}


def loader(batches=8):
    x = torch.randn(16 * batches, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, x @ torch.arange(1.0, 5.0)), batch_size=16)


class Line(L.LightningModule):
    """A straight line; keeps the LR and the weights of each step that trains."""

    def __init__(self, learning_rate=1e-3, keep=True, **hparams):
        super().__init__()
        if keep:
            self.save_hyperparameters()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.lrs, self.weights = [], []

    def training_step(self, batch, batch_idx):
        x, y = batch
        return ((x @ self.weight - y) ** 2).mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.weights.append(self.weight.detach().clone())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.learning_rate)

    def train_dataloader(self):
        return loader()


def trainer(folder, *callbacks, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    keeps = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    options = {"max_epochs": 1, "enable_checkpointing": keeps, "default_root_dir": folder, **quiet, **options}
    return L.Trainer(callbacks=[*callbacks], **options)


def test_it_suggests_an_lr_within_the_ladder_and_it_is_used(tmp_path):
    test, module = LRRangeTest(**RANGE), Line()
    trainer(tmp_path, test).fit(module)
    assert test.result.status == "ok"
    assert RANGE["min_lr"] < test.result.suggestion < RANGE["max_lr"]
    assert module.lrs == [test.result.suggestion] * 8
    assert module.hparams.learning_rate == test.result.suggestion
    assert test.previous_lr == 1e-3


@pytest.mark.parametrize("apply", [True, False])
def test_the_attribute_is_updated_only_if_the_lr_is(tmp_path, apply):
    test, module = LRRangeTest(**RANGE, apply=apply), Line()
    trainer(tmp_path, test).fit(module)
    expected = test.result.suggestion if apply else 1e-3
    assert module.hparams.learning_rate == module.lrs[-1] == expected
    assert (expected != 1e-3) is apply


def test_a_module_without_such_an_attribute_is_swept_too(tmp_path):
    class Plain(Line):
        def __init__(self):
            super().__init__(keep=False)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.02)

    test, module = LRRangeTest(**RANGE), Plain()
    trainer(tmp_path, test).fit(module)
    assert module.lrs == [test.result.suggestion] * 8


def test_two_attributes_of_which_the_optimizer_goes_by_one(tmp_path):
    test, module = LRRangeTest(**RANGE), Line(lr=0.7)
    with pytest.warns(UserWarning, match="the module's own lr=0.7 stays as it is"):
        trainer(tmp_path, test).fit(module)
    assert module.hparams.learning_rate == test.result.suggestion
    assert module.hparams.lr == 0.7


@pytest.mark.parametrize("spacing", ["exponential", "linear"])
def test_the_ladder_has_the_lrs_that_were_asked_for(tmp_path, spacing):
    settings = {**RANGE, "min_lr": 1e-4, "max_lr": 1e-3, "num_steps": 5, "spacing": spacing}
    test = LRRangeTest(**settings, apply=False)
    trainer(tmp_path, test).fit(Line())
    even = [i / 4 for i in range(5)]
    right = [1e-4 * 10**u if spacing == "exponential" else 1e-4 + 9e-4 * u for u in even]
    assert test.result.lrs == pytest.approx(right)
    assert len(test.result.losses) == test.result.steps == 5


def test_a_diverging_sweep_ends_early(tmp_path):
    long = LRRangeTest(**{**RANGE, "max_lr": 1e6, "num_steps": 110})
    trainer(tmp_path, long).fit(Line())
    assert len(long.result.lrs) < 110
    assert long.result.coverage.visited == len(long.result.lrs) < long.result.coverage.planned == 110


def test_model_and_trainer_are_what_they_were(tmp_path):
    """Training after it is training with that LR from the start, bit for bit."""
    test, module = LRRangeTest(**RANGE), Line()
    runner = trainer(tmp_path, test, max_steps=6, max_epochs=-1)
    runner.fit(module)
    plain = Line(test.result.suggestion)
    other = trainer(tmp_path, max_steps=6, max_epochs=-1)
    other.fit(plain)
    assert all(torch.equal(a, b) for a, b in zip(module.weights, plain.weights, strict=True))
    assert (runner.global_step, runner.current_epoch) == (other.global_step, other.current_epoch) == (6, 1)
    assert (runner.max_steps, runner.max_epochs, runner.limit_train_batches) == (6, -1, 1.0)
    assert runner.callbacks == [test, *other.callbacks]


def test_schedulers_are_what_they_were(tmp_path):
    class Scheduled(Line):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1), "interval": "step"}]

    test, module = LRRangeTest(**RANGE), Scheduled()
    trainer(tmp_path, test).fit(module)
    plain = Scheduled(test.result.suggestion)
    trainer(tmp_path).fit(plain)
    assert module.lrs == plain.lrs
    assert len(set(module.lrs)) >= 4
    assert all(torch.equal(a, b) for a, b in zip(module.weights, plain.weights, strict=True))


def test_nothing_is_left_in_the_folder(tmp_path):
    test = LRRangeTest(**RANGE)
    trainer(tmp_path, test).fit(Line())
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".ckpt" or path.name.startswith(".")] == []


def test_callbacks_see_nothing_of_it(tmp_path):
    class Count(L.Callback):
        batches = starts = steps = 0

        def on_train_batch_start(self, *_):
            self.starts += 1

        def on_train_batch_end(self, *_):
            self.batches += 1

        def on_before_optimizer_step(self, *_):
            self.steps += 1

    count = Count()
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=4, save_top_k=-1, filename="{step}")
    trainer(tmp_path, LRRangeTest(**RANGE), count, keep).fit(Line())
    assert (count.starts, count.batches, count.steps) == (8, 8, 8)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["step=4.ckpt", "step=8.ckpt"]


def test_data_of_a_datamodule(tmp_path):
    class Data(L.LightningDataModule):
        def train_dataloader(self):
            return loader(batches=5)

    class Bare(Line):
        train_dataloader = None

    test, module = LRRangeTest(**RANGE), Bare()
    trainer(tmp_path, test).fit(module, datamodule=Data())
    assert module.lrs == [test.result.suggestion] * 5


def test_batches_are_accumulated(tmp_path):
    test, module = LRRangeTest(**RANGE), Line()
    runner = trainer(tmp_path, test, accumulate_grad_batches=2)
    runner.fit(module)
    assert runner.accumulate_grad_batches == 2
    assert runner.global_step == 4
    assert test.result.batch_size == 32


def test_more_steps_than_the_loader_has_batches(tmp_path):
    test = LRRangeTest(**{**RANGE, "num_steps": 30, "max_lr": 0.1})  # falls, and doesn't diverge
    trainer(tmp_path, test, limit_train_batches=3).fit(Line())
    assert (len(test.result.lrs), test.result.cycle) == (30, 3)


def test_in_the_middle_of_a_training_at_milestones(tmp_path):
    test, module = LRRangeTest(**RANGE, at_epochs=(0, 2)), Line()
    trainer(tmp_path, test, max_epochs=4).fit(module)
    first, second = (result.suggestion for result in test.results)
    assert module.lrs[:16] == [first] * 16
    assert module.lrs[16:] == [second or first] * 16
    assert test.result is test.results[1]


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_run_is_resumed_with_the_lr_found_and_no_second_test(tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    test, whole = LRRangeTest(**RANGE), Line()
    trainer(tmp_path, test, keep, max_epochs=3).fit(whole)
    again, module = LRRangeTest(**RANGE), Line()
    trainer(tmp_path, again, max_epochs=3).fit(module, ckpt_path=tmp_path / "epoch=0.ckpt")
    assert len(again.results) == 1
    assert again.result == test.result
    assert module.lrs == whole.lrs[8:]
    assert torch.equal(module.weight, whole.weight)


def test_several_optimizers_are_swept_where_the_finder_refuses(tmp_path):
    class Two(Line):
        def __init__(self):
            super().__init__(keep=False)
            self.bias, self.automatic_optimization = torch.nn.Parameter(torch.zeros(1)), False

        def training_step(self, batch, batch_idx):
            loss = ((batch[0] @ self.weight + self.bias - batch[1]) ** 2).mean()
            for one in self.optimizers():
                one.zero_grad()
            self.manual_backward(loss)
            for one in self.optimizers():
                one.step()
            return loss

        def configure_optimizers(self):
            return [torch.optim.SGD([self.weight], lr=1e-3), torch.optim.SGD([self.bias], lr=1e-4)]

    test = LRRangeTest(**RANGE)
    runner = trainer(tmp_path, test)
    runner.fit(Two())
    lrs = [optimizer.param_groups[0]["lr"] for optimizer in runner.optimizers]
    assert lrs == pytest.approx([test.result.suggestion, test.result.suggestion / 10])


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"spacing": "unknown"}, "spacing must be one of exponential, linear"), ({"num_steps": 1}, "num_steps"),
     ({"min_lr": 1.0, "max_lr": 0.1}, "max_lr"), ({"rule": "best"}, "rule")],
)  # fmt: skip
def test_settings_that_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        LRRangeTest(**{**RANGE, **settings})


def test_fast_dev_run_has_none(tmp_path):
    test, module = LRRangeTest(**RANGE), Line()
    trainer(tmp_path, test, fast_dev_run=True).fit(module)
    assert test.result is None
    assert module.hparams.learning_rate == 1e-3


def test_without_an_answer_the_lr_stays(tmp_path):
    """The finder says None then, and may leave the module without an LR."""
    test, module = LRRangeTest(**{**RANGE, "num_steps": 3}), Line()
    trainer(tmp_path, test).fit(module)
    assert test.result.suggestion is None
    assert test.result.status == "too_few_points"
    assert module.lrs == [1e-3] * 8
