"""A score that isn't logged is told before the training is spent on it."""

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_module
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning.callbacks.search_bracket import SearchBracket
from lr_lightning.cli.given import DEFAULT_SCORE
from lr_lightning.cli.summary import BestScore, ScoreRefused, is_needed
from lr_lightning.sweeper.errors import TrialRefused
from lr_lightning.sweeper.trial import as_trial

BATCHES = 4


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))
        self.log("layer_mse", 1.0)

    def on_train_epoch_end(self):
        self.log("late", 1.0)
        self.log("layer_rmse", 1.0)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(score, *, needed=True, epochs=3, sanity=1):
    loader = DataLoader(TensorDataset(torch.ones(BATCHES, 2)), batch_size=1)
    best = BestScore(score, needed)
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[best], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=sanity,
    )  # fmt: skip
    refusal = None
    try:
        trainer.fit(Net(), loader, loader)
    except ScoreRefused as error:
        refusal = error
    return trainer.global_step, refusal, best


@pytest.mark.parametrize(
    ("score", "sanity", "steps"), [("val_los", 1, 0), ("val_los", 0, BATCHES), ("fid", 1, BATCHES)]
)
def test_a_score_that_is_needed_ends_the_training_early(score, sanity, steps):
    taken, refusal, _ = fit(score, sanity=sanity)
    assert taken == steps
    assert isinstance(refusal, TrialRefused), "in a search: before the second job"
    assert f"score: {score!r}" in str(refusal)
    assert "val_loss" in str(refusal)


def test_of_a_single_epoch_it_is_told_at_its_end():
    taken, refusal, _ = fit("fid", epochs=1)
    assert taken == BATCHES
    assert "'fid' was not logged; logged are late, layer_mse, layer_rmse, val_loss" in str(refusal)


def test_a_misspelt_score_is_told_with_what_to_write():
    _, refusal, _ = fit("val_los")
    assert str(refusal) == "score: 'val_los' is not logged, but 'val_loss' is: score=val_loss"


@pytest.mark.parametrize("score", ["val_loss", "late", "layer_rmse"])  # the last comes later than its near namesake
def test_what_is_logged_whenever_is_fine(score):
    taken, refusal, best = fit(score)
    assert (taken, refusal) == (3 * BATCHES, None)
    assert best.best is not None


def test_a_score_that_nobody_asked_for_is_told_once_and_early(caplog):
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        taken, refusal, _ = fit("fid", needed=False)
    assert (taken, refusal) == (3 * BATCHES, None)
    assert caplog.text.count("'fid' was not logged") == 1


def test_who_needs_a_score(tmp_path):
    with initialize_config_module("lr_lightning.conf", version_base="1.3"):
        assert compose("config").score == DEFAULT_SCORE
    assert not is_needed(DEFAULT_SCORE, [])
    assert is_needed("val_accuracy", [])
    with as_trial(tmp_path, 0):
        assert is_needed(DEFAULT_SCORE, [])
        assert not is_needed(DEFAULT_SCORE, [SearchBracket(1e-6, 1.0)]), "the search's range test ends before any"
