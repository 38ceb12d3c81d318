"""Ratios between param groups, searched in a fit: applied to groups, optimizers and schedulers, and no other trace."""

import math

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRCurves, LRRangeTest, PlateauDecay
from tests.callbacks.test_range_test import trainer
from tests.helpers import logs

SEARCH = {"max_lr": 1e3, "budget": 0, "rule": {"groups": "search"}}
Matrices = getattr(torch.optim, "Muon", torch.optim.SGD)  # torch before 2.9 has no Muon


class Halves(L.LightningModule):
    """A backbone and a head with LRs of their own, in one optimizer with a scheduler."""

    def __init__(self, rates=(1e-3, 1e-1)):
        super().__init__()
        torch.manual_seed(0)
        self.rates = rates
        self.backbone, self.head = nn.Linear(8, 16), nn.Linear(16, 1)
        self.seen = []

    def loss(self, batch):
        return nn.functional.mse_loss(self.head(torch.tanh(self.backbone(batch[0]))), batch[1])

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.seen.append([group["lr"] for one in self.trainer.optimizers for group in one.param_groups])

    def configure_optimizers(self):
        parts = zip((self.backbone, self.head), self.rates, strict=True)
        optimizer = torch.optim.Adam([{"params": part.parameters(), "lr": lr} for part, lr in parts])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self):
        draw = torch.Generator().manual_seed(1)
        x = torch.randn(640, 8, generator=draw)
        return DataLoader(TensorDataset(x, torch.sin(x.sum(1, keepdim=True))), batch_size=16)


class TwoOptimizers(Halves):
    """Muon for the matrices beside AdamW for the rest, stepped by hand."""

    def __init__(self, rates=(1e-3, 1e-1)):
        super().__init__(rates)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizers = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        return loss

    def configure_optimizers(self):
        matrices = [p for p in self.parameters() if p.ndim == 2]
        rest = [p for p in self.parameters() if p.ndim < 2]
        return Matrices(matrices, lr=self.rates[0]), torch.optim.AdamW(rest, lr=self.rates[1])


def fit(module, *callbacks, steps=20):
    runner = trainer(list(callbacks), max_steps=steps, max_epochs=-1)
    runner.fit(module)
    return module


@pytest.mark.parametrize("kind", [Halves, TwoOptimizers])
def test_the_fit_goes_on_as_with_the_found_lrs_set_by_hand(kind):
    test = LRRangeTest(**SEARCH)
    tested = fit(kind(), test)
    lr, factors = test.result.suggestion, test.result.group_factors
    assert len(factors) == 2
    assert 100 < test.result.steps <= 300
    plain = fit(kind((lr, 100 * lr * factors[1])))
    assert torch.allclose(torch.tensor(tested.seen), torch.tensor(plain.seen), rtol=1e-6)
    for mine, theirs in zip(tested.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", [Halves, TwoOptimizers])
def test_where_the_ratio_starts_does_not_matter(kind):
    near, far = fit(kind((1e-3, 1e-3)), LRRangeTest(**SEARCH)), fit(kind((1e-3, 1.0)), LRRangeTest(**SEARCH))
    assert far.seen[0] == pytest.approx(near.seen[0], rel=0.01)  # sums of other roundings


def test_a_plateau_decay_beside_it_sees_the_groups_as_they_are():
    test = LRRangeTest(**SEARCH)

    class Validated(TwoOptimizers):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(batch))

        val_dataloader = Halves.train_dataloader

    module = fit(Validated(), test, PlateauDecay(), steps=80)
    ratio = 100 * test.result.group_factors[1]
    assert all(second == pytest.approx(ratio * first) for first, second in module.seen)


def test_what_is_only_reported_is_not_applied():
    test = LRRangeTest(**SEARCH, apply=False)
    module = fit(TwoOptimizers(), test)
    assert module.seen == [[1e-3, 1e-1]] * len(module.seen)
    assert len(test.result.group_factors) == 2


def test_one_of_two_optimizers_alone_has_one_group():
    test = LRRangeTest(**SEARCH, optimizer=1)
    module = fit(TwoOptimizers(), test)
    assert test.result.group_factors == ()
    assert module.seen[-1] == [1e-3, test.result.suggestion]


def test_ratios_come_back_with_a_checkpoint(tmp_path):
    test = LRRangeTest(**SEARCH)
    module = TwoOptimizers()
    runner = trainer([test])
    runner.fit(module)
    runner.save_checkpoint(tmp_path / "x.ckpt")
    again, resumed = LRRangeTest(**SEARCH), TwoOptimizers()
    trainer([again], max_epochs=2).fit(resumed, ckpt_path=tmp_path / "x.ckpt")
    assert resumed.seen[-1] == module.seen[-1]
    assert again.result == test.result


class Scheduled(TwoOptimizers):
    """Each of the two optimizers with a schedule of its own."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for schedule in self.lr_schedulers():
            schedule.step()
        return loss

    def configure_optimizers(self):
        first, second = super().configure_optimizers()
        schedules = torch.optim.lr_scheduler.CosineAnnealingLR(first, 30), torch.optim.lr_scheduler.StepLR(second, 7)
        return [first, second], list(schedules)


@pytest.mark.parametrize("kind", [Halves, Scheduled])
def test_tensorboard_shows_each_groups_schedule_from_the_lr_found(tmp_path, kind):
    test, board = LRRangeTest(**SEARCH), logs.board(tmp_path, "run")
    curves = LRCurves(every_n_steps=1)
    module = kind()
    trainer([test, curves], max_steps=20, max_epochs=-1, logger=board, log_every_n_steps=1).fit(module)
    lr, factors = test.result.suggestion, test.result.group_factors
    found = logs.read(tmp_path / "run")
    tags = [tag for tag in found.Tags()["scalars"] if tag.startswith("lr-")]
    assert len(tags) == 2
    peaks = lr, 100 * lr * factors[1]
    batches = range(len(module.seen))  # Lightning counts the steps of both optimizers
    assert len(batches) == (10 if kind is Scheduled else 20)
    shapes = [[(1 + math.cos(math.pi * i / 30)) / 2 for i in batches]] * 2
    if kind is Scheduled:
        shapes[1] = [0.1 ** (i // 7) for i in batches]
    for tag, peak, shape in zip(tags, peaks, shapes, strict=True):
        values = [event.value for event in found.Scalars(tag)][-len(batches) :]
        assert values == pytest.approx([peak * part for part in shape], rel=1e-5)
