"""What a sweep keeps books of: skipped steps, passes through the data, the modules' modes."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from lr_lightning import LRRangeTest
from tests.callbacks.test_precision import half
from tests.callbacks.test_range_test import Line, fit, trainer
from tests.helpers.modules import Classifier
from tests.helpers.spy import Said

RANGE = {"min_lr": 1e-6, "max_lr": 0.1, "num_steps": 40, "apply": False}


class Steps(L.Callback):
    """Number of the batch at each optimizer step that really happened."""

    def __init__(self, told):
        self.told, self.at = told, []

    def on_train_start(self, trainer, module):
        trainer.optimizers[0].register_step_post_hook(lambda *_: self.at.append(len(self.told) - 1))


def test_losses_of_steps_that_a_grad_scaler_skipped_do_not_count():
    told = Said()

    class Tells(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            told.append(float(loss.detach()))
            return loss

    test, steps = LRRangeTest(**RANGE, sandbox={"keep_callbacks": [Steps], "num_batches": None}), Steps(told)
    plugin = half(growth_interval=2, init_scale=2.0**30)  # overflows at first, and again after each growth
    trainer([test, steps], plugins=plugin, max_steps=1).fit(Tells(lr=1e-3))
    visited = test.result.coverage.visited
    assert steps.at[visited - 1] > visited + 5, "many were skipped"
    assert test.result.losses == pytest.approx([told[i] for i in steps.at[:visited]], rel=1e-5)


class Epochs(RandomSampler):
    said = Said()  # of all copies

    def set_epoch(self, epoch):
        self.said.append(epoch)


def test_each_pass_through_the_data_is_an_epoch_of_its_own_for_the_sampler():
    class Sampled(Line):
        def train_dataloader(self):
            dataset = super().train_dataloader().dataset
            return DataLoader(dataset, 16, sampler=Epochs(dataset))

    Epochs.said.clear()
    test = LRRangeTest(**RANGE, at_epochs=[1], sandbox={"num_batches": None})
    fit(test, Sampled(), max_epochs=2)
    passes = (test.result.steps - 1) // 8
    assert passes >= 3
    # The fit's two epochs, then the passes after the sweep's first; a loader holds its sampler in more than one place.
    assert list(dict.fromkeys(Epochs.said)) == list(range(2 + passes))


@pytest.mark.filterwarnings("ignore:Found 1 module")
def test_modes_that_a_step_changes_come_back_and_frozen_parts_stay_frozen():
    modes = Said()

    class Freezes(Line):
        def __init__(self):
            super().__init__()
            self.frozen, self.drop = nn.Dropout(0.5).eval(), nn.Dropout(0.5)

        def training_step(self, batch, batch_idx):
            modes.append((self.global_step, self.training, self.frozen.training, self.drop.training))
            if self.global_step == 5:
                self.drop.eval()
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)

        val_dataloader = Line.train_dataloader

        def configure_optimizers(self):
            return torch.optim.SGD([self.weight], lr=self.lr)

    test = LRRangeTest(**RANGE, evaluate="val")
    fit(test, Freezes(), num_sanity_val_steps=0)
    assert modes == [(step, True, False, step <= 5) for step, *_ in modes]
    assert [step for step, *_ in modes[test.result.steps :]] == list(range(8))
