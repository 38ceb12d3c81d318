"""Other callbacks see nothing of a range test: each behaves as in a fit with the LR set by hand."""

import lightning as L
import pytest
import torch
from lightning.pytorch import callbacks as lightning_callbacks
from torch import nn

from lr_lightning import LRRangeTest
from tests.helpers.identity import RANGE, difference, fit
from tests.helpers.modules import CLASSES, FEATURES, Classifier
from tests.helpers.spy import digest


def checkpoint(**kwargs):
    return lightning_callbacks.ModelCheckpoint(filename="{epoch}-{step}-{train_loss:.4f}", **kwargs)


class Unfreeze(lightning_callbacks.BaseFinetuning):
    def freeze_before_training(self, module):
        self.freeze(module.backbone)

    def finetune_function(self, module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(module.backbone, optimizer, initial_denom_lr=4.0)


class WithBackbone(Classifier):
    def __init__(self, lr):
        super().__init__(lr=lr)
        self.backbone = nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU())
        self.net = nn.Sequential(self.backbone, nn.Linear(8, CLASSES))

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.lr, momentum=0.9)


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def scheduled(lr):
    return Classifier(lr=lr, scheduler=cosine)


def backbone():
    return lightning_callbacks.BackboneFinetuning(
        unfreeze_backbone_at_epoch=1, lambda_func=lambda epoch: 1.5, backbone_initial_ratio_lr=0.1
    )


ROWS = {
    "ModelCheckpoint-steps": (lambda: [checkpoint(every_n_train_steps=3, save_top_k=-1)], Classifier),
    "ModelCheckpoint-monitor": (lambda: [checkpoint(monitor="train_loss", every_n_train_steps=1)], Classifier),
    "EarlyStopping": (lambda: [lightning_callbacks.EarlyStopping("val_loss", patience=1, min_delta=9.0)], Classifier),
    "EarlyStopping-train": (
        lambda: [lightning_callbacks.EarlyStopping("train_loss", stopping_threshold=5.0)],
        Classifier,
    ),
    "LearningRateMonitor": (lambda: [lightning_callbacks.LearningRateMonitor("step", log_momentum=True)], scheduled),
    "GradientAccumulationScheduler": (
        lambda: [lightning_callbacks.GradientAccumulationScheduler({0: 1, 1: 2, 2: 4})],
        Classifier,
    ),
    "EMAWeightAveraging": (lambda: [lightning_callbacks.EMAWeightAveraging(decay=0.9)], Classifier),
    "StochasticWeightAveraging": (
        lambda: [lightning_callbacks.StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=3)],
        Classifier,
    ),
    "BaseFinetuning": (lambda: [Unfreeze()], WithBackbone),
    "BackboneFinetuning": (lambda: [backbone()], WithBackbone),
    "ModelPruning": (
        lambda: [
            lightning_callbacks.ModelPruning("l1_unstructured", parameter_names=["weight"], amount=0.3),
        ],
        WithBackbone,
    ),
    "Timer": (lambda: [lightning_callbacks.Timer(duration="00:01:00:00")], Classifier),
}
if not hasattr(lightning_callbacks, "EMAWeightAveraging"):  # Lightning 2.5
    del ROWS["EMAWeightAveraging"]
PER_COMMIT = {"ModelCheckpoint-monitor", "LearningRateMonitor", "EMAWeightAveraging", "BackboneFinetuning"}
# Paths and durations differ anyway; finetuning notes the groups' LRs at fit start, before any range test.
NOT_COMPARED = ("dirpath", "best_model_path", "last_model_path", "kth_best_model_path", "best_k_models", "time_elapsed")
NOT_COMPARED += ("internal_optimizer_metadata",)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in PER_COMMIT else pytest.mark.slow) for n in ROWS])
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*before.*optimizer.step:UserWarning")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.filterwarnings("ignore:.*does not yet support.*:UserWarning")
@pytest.mark.filterwarnings("ignore:Swapping scheduler")
def test_unaffected(tmp_path, name):
    make_callbacks, make_module = ROWS[name]
    seen = []

    def callbacks():
        seen.append(make_callbacks())
        return seen[-1]

    checkpointing = name.startswith("ModelCheckpoint")
    settings = lambda: {"max_epochs": 4, "enable_checkpointing": checkpointing, "barebones": False}  # noqa: E731
    assert difference(tmp_path, make_module, callbacks=callbacks, settings=settings) is None
    assert kept(seen[0]) == kept(seen[1])
    files = [sorted(p.name for p in (tmp_path / run).rglob("*.ckpt")) for run in ("tested", "plain")]
    assert files[0] == files[1]
    assert bool(files[0]) == checkpointing


def kept(callbacks):
    """What the callbacks remember."""
    states = []
    for callback in callbacks:
        average = getattr(callback, "_average_model", None)
        weights = list(average.state_dict().values()) if average is not None else None
        states.append(digest([{k: v for k, v in callback.state_dict().items() if k not in NOT_COMPARED}, weights]))
    return states


@pytest.mark.parametrize("bar", ["tqdm", "rich"])
def test_progress_bars_count_real_batches_alone(tmp_path, bar, capsys):
    # Rich draws from a thread of its own, which looks for the bar among the trainer's callbacks, sweep or not.
    kinds = {"tqdm": lightning_callbacks.TQDMProgressBar, "rich": lightning_callbacks.RichProgressBar}

    class Counts(kinds[bar]):
        def __init__(self):
            super().__init__()
            self.batches = []

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)
            shown = self.get_metrics(trainer, module)
            self.batches.append((batch_idx, sorted(shown)))

    bars, found = [], []

    def callbacks():
        bars.append(Counts())
        return [bars[-1]]

    class Looks(Classifier):
        def training_step(self, batch, batch_idx):
            found.append(isinstance(self.trainer.progress_bar_callback, Counts))
            return super().training_step(batch, batch_idx)

    assert difference(tmp_path, Looks, callbacks=callbacks, settings=lambda: {"enable_progress_bar": True}) is None
    assert bars[0].batches == bars[1].batches
    assert len(bars[0].batches) == 16
    assert all(found)


@pytest.mark.slow
def test_all_at_once(tmp_path):
    def callbacks():
        names = ("ModelCheckpoint-monitor", "EarlyStopping-train", "LearningRateMonitor", "EMAWeightAveraging", "Timer")
        return [callback for name in names if name in ROWS for callback in ROWS[name][0]()]

    assert difference(tmp_path, scheduled, callbacks=callbacks, settings=lambda: {"enable_checkpointing": True}) is None


class Counter(L.Callback):
    def __init__(self):
        self.batches = 0

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.batches += 1


class Mixing(Counter):
    """Changes the batches (as mixup does), so that the sweep has to see it."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        batch[0].mul_(0.5)


def test_callbacks_that_are_kept_see_the_sweep(tmp_path):
    test, kept_one, other = LRRangeTest(**RANGE, sandbox={"keep_callbacks": [Mixing]}), Mixing(), Counter()
    fit(tmp_path, lambda: Classifier(lr=1e-3), [kept_one, other, test])
    assert other.batches == 16
    assert kept_one.batches == 16 + test.result.coverage.visited


def test_a_kept_callback_leaves_no_trace_in_training(tmp_path):
    test = LRRangeTest(**RANGE, sandbox={"keep_callbacks": [Mixing]})
    assert difference(tmp_path, test=test, callbacks=lambda: [Mixing()]) is None


def test_an_early_stop_asked_for_in_the_sweep_is_forgotten(tmp_path):
    class Stops(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if loss > 1.5:  # only at the sweep's large LRs
                self.trainer.should_stop = True
            return loss

    assert difference(tmp_path, Stops) is None
