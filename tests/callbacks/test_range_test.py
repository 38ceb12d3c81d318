"""LRRangeTest in a real Trainer: what it does to the LR, and what it says when it can't."""

import json
import logging
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRRangeTest, RangeTestResult
from tests.helpers.modules import Classifier, Noisy
from tests.helpers.spy import Said

RANGE = {"min_lr": 1e-5, "max_lr": 10.0, "num_steps": 40}


class Line(L.LightningModule):
    """A straight line fitted with plain SGD; ``shape`` maps the mean squared error to the loss."""

    def __init__(self, shape=lambda mse, step: mse, lr=1e-3, batches=8):
        super().__init__()
        self.lr, self.shape, self.batches = lr, shape, batches
        self.weight = torch.nn.Parameter(torch.zeros(4))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.shape(((x @ self.weight - y) ** 2).mean(), batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        x = torch.randn(16 * self.batches, 4, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x, x @ torch.arange(1.0, 5.0)), batch_size=16)


def trainer(callbacks, **kwargs):
    settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **kwargs}
    return L.Trainer(
        accelerator="cpu", callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, **settings
    )


def fit(test, module=None, **kwargs):
    L.seed_everything(3, verbose=False)
    runner = trainer([test], **kwargs)
    runner.fit(module or Line())
    return runner


def lrs(runner):
    return [g["lr"] for o in runner.optimizers for g in o.param_groups]


def test_the_suggestion_is_applied_and_training_goes_on():
    test = LRRangeTest(**RANGE)
    runner = fit(test)
    result = test.result
    assert result.status == "ok"
    assert lrs(runner) == [result.suggestion]
    assert test.previous_lr == 1e-3
    assert RANGE["min_lr"] < result.interval[0] <= result.suggestion <= result.interval[1] < RANGE["max_lr"]
    assert result.batch_size == 16
    assert runner.global_step == 8  # the sweep's 40 steps don't count
    assert runner.lightning_module.lr == result.suggestion


def test_the_swept_losses_are_those_of_plain_training_at_the_ladder():
    test = LRRangeTest(**RANGE, sandbox={"num_batches": None})
    fit(test)
    module = Line()
    optimizer, batches, expected = module.configure_optimizers(), list(module.train_dataloader()), []
    for i, lr in enumerate(test.result.lrs):
        optimizer.param_groups[0]["lr"] = lr
        loss = module.training_step(batches[i % 8], i)
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert test.result.losses == pytest.approx(expected, rel=1e-6)


def test_few_batches_are_cycled():
    seen = Said()
    test = LRRangeTest(**RANGE, sandbox={"num_batches": 3})

    class Seen(Line):
        def training_step(self, batch, batch_idx):
            seen.append(batch[0].sum().item())
            return super().training_step(batch, batch_idx)

    fit(test, Seen(shape=lambda mse, step: mse))
    swept = seen[: test.result.coverage.visited]
    assert len(set(swept)) == 3
    assert swept == [swept[i % 3] for i in range(len(swept))]


def test_apply_false_only_reports():
    test = LRRangeTest(**RANGE, apply=False)
    runner = fit(test)
    assert test.result.suggestion is not None
    assert lrs(runner) == [1e-3]
    assert runner.lightning_module.lr == 1e-3


@pytest.mark.parametrize(
    ("shape", "status"),
    [
        (lambda mse, step: mse * 0 + 1.0, "no_descent"),
        (lambda mse, step: mse * float("nan"), "non_finite"),
    ],
    ids=["constant", "nan-at-step-0"],
)
def test_without_an_answer_the_users_lr_stays(shape, status):
    test = LRRangeTest(**RANGE)
    runner = fit(test, Line(shape))
    assert test.result.status == status
    assert test.result.suggestion is None
    assert test.result.reason
    assert lrs(runner) == [1e-3]


def test_negative_losses():
    plain, negative = LRRangeTest(**RANGE), LRRangeTest(**RANGE)
    fit(plain)
    fit(negative, Line(lambda mse, step: mse - 100.0))
    assert negative.result.suggestion == pytest.approx(plain.result.suggestion, rel=0.02)
    assert max(negative.result.losses[:10]) < 0


def test_a_short_loader_is_cycled():
    test = LRRangeTest(**RANGE)
    runner = fit(test, Line(batches=3))
    assert test.result.status == "ok"
    assert test.result.coverage.visited > 3
    assert runner.global_step == 3


def test_an_empty_loader_says_so():
    class Empty(Line):
        def train_dataloader(self):
            return DataLoader(TensorDataset(torch.zeros(0, 4), torch.zeros(0)))

    test = LRRangeTest(**RANGE)
    with pytest.warns(UserWarning, match="LRRangeTest did not run: training had no batch"):  # noqa: SIM117
        with pytest.warns(UserWarning, match="length|zero"):
            runner = fit(test, Empty())
    assert test.result is None
    assert lrs(runner) == [1e-3]


def test_a_short_range_says_which_bound_to_move():
    test = LRRangeTest(min_lr=1e-6, max_lr=1e-2, num_steps=40)
    fit(test)
    assert test.result.status == "no_divergence"
    assert "max_lr" in test.result.reason


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 0.1}, r"min_lr must be below max_lr, got min_lr=1\.0 and max_lr=0\.1"),
        ({"min_lr": 0.0}, r"min_lr must be finite and greater than 0, got 0\.0"),
        ({"max_lr": math.inf}, "max_lr must be finite and greater than 0, got inf"),
        ({"max_lr": "1"}, "max_lr must be a number, got '1'"),
        ({"num_steps": 1}, "num_steps must be an integer of at least 2, got 1"),
        ({"num_steps": 10.0}, r"num_steps must be an integer of at least 2, got 10\.0"),
        ({"spacing": "log"}, "spacing must be one of exponential, linear, got 'log'"),
        ({"rule": "steep"}, "rule must be one of .*midpoint.*, got 'steep'"),
        ({"sandbox": {"num_batches": 0}}, "num_batches must be an integer of at least 1, got 0"),
        ({"name": ""}, "name must be a tag such as 'range_test', got ''"),
    ],
)
def test_bad_settings_are_refused_at_construction(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LRRangeTest(**kwargs)


def test_groups_keep_their_ratio_and_hparams_follow(tmp_path):
    L.seed_everything(3, verbose=False)
    test = LRRangeTest(**RANGE)
    loggers = [kind(tmp_path / kind.__name__, name="", version="") for kind in (TensorBoardLogger, CSVLogger)]
    runner = fit(test, Classifier(lr=1e-3), logger=loggers, log_every_n_steps=1)
    first, second = lrs(runner)
    assert first == test.result.suggestion
    assert second == test.result.suggestion * 10.0
    assert runner.lightning_module.hparams.lr == test.result.suggestion
    for kind in (TensorBoardLogger, CSVLogger):
        noted = OmegaConf.load(tmp_path / kind.__name__ / "hparams.yaml")
        assert noted.lr == test.result.suggestion


def test_a_logger_that_may_refuse_changed_values_gets_the_lr_under_a_name_of_its_own(tmp_path):
    class Strict(Logger):
        name, version = "strict", 0

        def __init__(self):
            super().__init__()
            self.noted = {}

        def log_metrics(self, metrics, step=None):
            pass

        def log_hyperparams(self, params, *args, **kwargs):
            for key, value in dict(params).items():
                assert self.noted.setdefault(key, value) == value, f"{key} has been logged"

    test, logger = LRRangeTest(**RANGE), Strict()
    fit(test, Classifier(lr=1e-3), logger=logger, log_every_n_steps=1)
    assert logger.noted["lr"] == 1e-3
    assert logger.noted["lr_found"] == test.result.suggestion


def test_event_files_and_files_beside_them(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    test = LRRangeTest(**RANGE)
    fit(test, Classifier(), logger=TensorBoardLogger(tmp_path, name="", version=""), log_every_n_steps=1)
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    result = test.result
    assert [e.value for e in events.Scalars("range_test/lr")] == pytest.approx(result.lrs, rel=1e-6)
    assert [e.value for e in events.Scalars("range_test/loss")] == pytest.approx(result.losses, rel=1e-6)
    assert [e.step for e in events.Scalars("range_test/loss")] == list(range(result.coverage.visited))
    assert RangeTestResult.load(tmp_path / "range_test.json") == result
    html = (tmp_path / "range_test.html").read_text(encoding="utf-8")
    assert f"{result.suggestion:.3g}"[:4] in html
    text = events.Tensors("range_test/summary/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "descending" in text


def test_a_finished_test_is_not_repeated_on_resume(tmp_path, caplog):
    test = LRRangeTest(**RANGE)
    runner = fit(test, max_epochs=1)
    runner.save_checkpoint(tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]
    json.dumps(test.state_dict())

    again, module = LRRangeTest(**RANGE), Line(lr=0.7)
    resumed = trainer([again], max_epochs=2)
    with caplog.at_level(logging.INFO):
        resumed.fit(module, ckpt_path=tmp_path / "last.ckpt")
    assert "already done before the checkpoint" in caplog.text
    assert again.result == test.result
    assert again.previous_lr == 1e-3
    assert lrs(resumed) == [test.result.suggestion] == pytest.approx([module.lr], rel=1e-9)
    assert resumed.global_step == 16


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_finished_test_is_not_repeated_within_its_epoch(tmp_path):
    class Save(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    L.seed_everything(3, verbose=False)
    test = LRRangeTest(**RANGE)
    trainer([test, Save()]).fit(Classifier())
    for step in (1, 3):
        again, module = LRRangeTest(**RANGE), Classifier()
        resumed = trainer([again])
        resumed.fit(module, ckpt_path=tmp_path / f"{step}.ckpt", weights_only=True)
        assert again.state_dict() == test.state_dict()
        assert resumed.global_step == 8
        assert module.hparams["lr"] == module.lr == test.result.suggestion, "a checkpoint will be rebuilt with it"


@pytest.mark.parametrize("rerun", [False, True])
def test_a_test_new_in_a_resumed_fit(tmp_path, rerun):
    runner = trainer([])
    runner.fit(Line())
    runner.save_checkpoint(tmp_path / "last.ckpt")
    test = LRRangeTest(**RANGE, sandbox={"rerun_on_resume": rerun})
    trainer([test], max_epochs=2).fit(Line(), ckpt_path=tmp_path / "last.ckpt")
    assert (test.result is not None) == rerun


def test_fast_dev_run_skips(caplog):
    test = LRRangeTest(**RANGE)
    with caplog.at_level(logging.INFO):
        fit(test, fast_dev_run=True)
    assert test.result is None
    assert "fast_dev_run" in caplog.text


def test_two_tests_have_two_state_keys():
    first, second = LRRangeTest(name="coarse"), LRRangeTest(name="fine")
    assert first.state_key != second.state_key
    assert L.Trainer(callbacks=[first, second], logger=False, enable_checkpointing=False)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_in_the_sweep_restores_everything_and_propagates(error):
    class Fails(Line):
        def training_step(self, batch, batch_idx):
            if self.trainer.global_step == 5:
                raise error("inside")
            torch.rand(3)
            return super().training_step(batch, batch_idx)

    class Rng(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            self.before = torch.get_rng_state()

        def on_exception(self, trainer, module, exception):
            self.after = torch.get_rng_state()

    test, module, rng = LRRangeTest(**RANGE), Fails(), Rng()
    runner = trainer([test, rng])
    with pytest.raises((error, SystemExit)):
        runner.fit(module)
    assert module.weight.tolist() == [0.0] * 4
    assert lrs(runner) == [1e-3]
    assert runner.callbacks[:2] == [test, rng]
    assert test.result is None
    assert torch.equal(rng.before, rng.after)


def test_it_goes_first_whatever_the_order():
    order = []

    class Sees(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            order.append(lrs(trainer)[0])

    test = LRRangeTest(**RANGE)
    trainer([Sees(), test]).fit(Line())
    assert set(order) == {test.result.suggestion}


def test_one_shot_iterators_are_refused_before_anything_is_read():
    class Stream(Line):
        def train_dataloader(self):
            return iter(list(super().train_dataloader()))

    with pytest.raises(TypeError, match=r"one-shot iterator.*Wrap the stream in a DataLoader"):
        fit(LRRangeTest(**RANGE), Stream())


def test_worker_processes_of_the_sweep_end_with_it():
    import multiprocessing

    alive = []

    class Count(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            alive.append(len(multiprocessing.active_children()))

    class Workers(Classifier):
        def train_dataloader(self):
            return DataLoader(Noisy(), batch_size=16, num_workers=1, persistent_workers=True)

    trainer([LRRangeTest(**RANGE), Count()]).fit(Workers())
    assert set(alive) == {1}
