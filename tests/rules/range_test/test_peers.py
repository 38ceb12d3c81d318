"""The peers' published rules: against the tool itself where it is at hand, else against hand-made curves."""

import math

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning.rules.range_test import peers
from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.readings import RULES
from tests.helpers.curves import LRS, bowl

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own finder warns about workers and deprecations


class Recorder(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        self.lr, self.seen = 1e-3, []

    def training_step(self, batch, _):
        loss = torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.seen.append(float(loss.detach()))
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def test_lightnings_rule_says_what_lightning_says(tmp_path):
    torch.manual_seed(1)
    x = torch.randn(2000, 5)
    y = x.sum(1, keepdim=True) + 0.1 * torch.randn(2000, 1)
    model = Recorder()
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    finder = Tuner(trainer).lr_find(model, train_dataloaders=loader, max_lr=10, update_attr=False)
    lrs, losses = np.asarray(finder.results["lr"]), np.asarray(model.seen)
    said = peers.lightning(lrs, losses[: len(lrs)], 100)
    assert said == pytest.approx(finder.suggestion())


def test_averages():
    ones = np.ones(5)
    assert peers.debiased_average(ones).tolist() == pytest.approx([1.0] * 5)
    assert peers.debiased_average(ones, ahead=2)[:2].tolist() == pytest.approx([0.02 / 0.0396, 0.0396 / 0.058808])
    assert peers.running_average(np.array([1.0, 0.0]))[1] == pytest.approx(0.95)
    assert peers.stopped(np.array([1.0, 5.0, 3.0]), 4.0).tolist() == [1.0, 5.0]


def test_the_lag_pushes_fastais_minimum_to_the_right():
    lrs, losses = np.asarray(LRS), np.asarray(bowl(limit=10.0))
    assert peers.fastai_minimum(lrs, losses, 100) * 10 > 2 * LRS[int(np.argmin(losses))]


def test_every_peer_answers_inside_of_the_range_on_a_noisy_bowl():
    said = peers.peer_suggestions(LRS, bowl(noise=0.05), 100)
    assert set(said) == set(peers.PEERS)
    for lr in said.values():
        assert 1e-8 <= lr <= 10


@pytest.mark.parametrize("losses", [[], [1.0], [math.nan] * 30, [1.0] * 5])
def test_too_few_points_give_no_answer_or_a_plain_one(losses):
    said = peers.peer_suggestions(LRS[: len(losses)], losses, 100)
    assert set(said) == set(peers.PEERS)
    assert all(lr is None or 0 < lr <= 10 for lr in said.values())


def test_a_result_offers_every_rule_side_by_side():
    lrs = ladder(1e-7, 10.0, 100)
    result = analyze(lrs, bowl(noise=0.02))
    said = result.suggestions()
    assert set(said) == set(RULES) | set(peers.PEERS)
    assert said[result.rule] == result.suggestion
    assert said["midpoint"] == pytest.approx(analyze(lrs, bowl(noise=0.02), rule="midpoint").suggestion)


def test_a_flat_curve_offers_none_of_our_rules():
    said = analyze(LRS, [1.0] * 100).suggestions()
    assert [said[name] for name in RULES] == [None] * len(RULES)
