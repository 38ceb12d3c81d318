"""LRSearch: the same rule inside of one fit, without a trace, and the callbacks of trials."""

import math
from pathlib import Path

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRSearch
from lr_lightning.callbacks.trial_pruner import TrialPruner
from lr_lightning.sweeper.files import read_json
from lr_lightning.sweeper.trial import as_trial, report
from tests.helpers.modules import WEIGHTS_ONLY, Classifier


class Valley(L.LightningModule):
    """Least squares with curvatures 1 and 0.1, by SGD: LRs above 2 diverge, and the best few are just below."""

    def __init__(self, lr: float = 1e-3, groups: bool = False):
        super().__init__()
        self.save_hyperparameters("lr")
        self.lr, self.groups = lr, groups
        self.a, self.b = torch.nn.Parameter(torch.ones(())), torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        return 0.5 * self.a**2 + 0.05 * self.b**2 + 0.0 * batch[0].sum()

    def configure_optimizers(self):
        return torch.optim.SGD([{"params": [self.a]}, {"params": [self.b], "lr": self.lr * 2}], lr=self.lr)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.zeros(64, 1)), batch_size=4)


def trainer(folder: Path, *callbacks: L.Callback, **settings: object) -> L.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    logger = L.pytorch.loggers.CSVLogger(folder)
    how = {"max_steps": 24, "accelerator": "cpu", "logger": logger, **quiet, **settings}
    return L.Trainer(callbacks=list(callbacks), **how)  # type: ignore[arg-type]


def test_the_winner_is_applied_and_recorded(tmp_path: Path) -> None:
    search, model = LRSearch(1e-4, 100.0, num_steps=16, range_test=False), Valley()
    fit = trainer(tmp_path, search)
    fit.fit(model)
    assert search.best_lr is not None
    assert 0.5 < search.best_lr < 2.0
    assert [g["lr"] for g in fit.optimizers[0].param_groups] == pytest.approx([search.best_lr, 2 * search.best_lr])
    assert model.hparams["lr"] == model.lr == search.best_lr
    assert {t.status for t in search.trials} == {"completed", "pruned"}
    assert all(t.status == "pruned" for t in search.trials if float(t.values[0]) > 3)
    assert len(search.trials) <= 15
    assert search.steps == sum(search.costs) < 16 * len(search.trials), "bad trials stop early"
    folder = Path(str(fit.log_dir)) / "lr_search"
    found = OmegaConf.load(folder / "optimization_results.yaml")
    assert found.best_params.lr == search.best_lr
    assert found.trials == len(search.trials)


def _weights(folder: Path, lr: float, *callbacks: L.Callback) -> list[torch.Tensor]:
    L.seed_everything(5, verbose=False)
    model = Classifier(lr=lr)
    trainer(folder, *callbacks).fit(model)
    return [p.detach().clone() for p in (*model.parameters(), *model.buffers())]


def test_training_after_a_search_is_training_with_that_lr(tmp_path: Path) -> None:
    search = LRSearch(1e-4, 1.0, num_steps=12, budget=7, first=5, later=2)
    searched = _weights(tmp_path / "a", 1e-3, search)
    assert search.best_lr is not None
    by_hand = _weights(tmp_path / "b", search.best_lr)
    assert all(torch.equal(a, b) for a, b in zip(searched, by_hand, strict=True))
    other = _weights(tmp_path / "c", search.best_lr * 1.01)
    assert not all(torch.equal(a, b) for a, b in zip(searched, other, strict=True))


def test_a_finished_search_is_not_repeated_on_resume(tmp_path: Path) -> None:
    search = LRSearch(1e-3, 10.0, num_steps=8, budget=5, range_test=False)
    fit = trainer(tmp_path, search, max_steps=16)
    fit.fit(Valley())
    fit.save_checkpoint(tmp_path / "x.ckpt")
    again = LRSearch(1e-3, 10.0, num_steps=8, budget=5, range_test=False)
    resumed = trainer(tmp_path, again, max_steps=20)
    resumed.fit(Valley(), ckpt_path=tmp_path / "x.ckpt", **WEIGHTS_ONLY)
    assert (again.best_lr, again.steps) == (search.best_lr, search.steps)
    assert resumed.optimizers[0].param_groups[0]["lr"] == pytest.approx(search.best_lr)


def test_no_finite_trial_keeps_the_users_lr(tmp_path: Path) -> None:
    class Broken(Valley):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * math.nan

    search = LRSearch(1e-3, 1.0, num_steps=8, budget=5, range_test=False)
    fit = trainer(tmp_path, search, max_steps=1)
    fit.fit(Broken(lr=0.02))
    assert search.best_lr is None
    assert fit.optimizers[0].param_groups[0]["lr"] == 0.02


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_steps": 3}, "num_steps must be an integer of at least 4, got 3"),
        ({"min_lr": 1.0, "max_lr": 0.1}, "min_lr=1.0 and max_lr=0.1"),
        ({"budget": 4}, "budget must be an integer of at least 5, got 4"),
        ({"eta": 1.0}, "eta must be a number of at least 1.1, got 1.0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LRSearch(**settings)


def test_the_pruner_stops_a_trial_that_is_worse_than_its_peers(tmp_path: Path) -> None:
    for job in range(4):
        with as_trial(tmp_path / "shared", job) as peer:
            for rung in (1, 2, 4):
                report(peer, rung, 0.1)
    pruner = TrialPruner(first=1)
    with as_trial(tmp_path / "shared", 9) as here:
        fit = trainer(tmp_path, pruner, max_steps=-1, max_epochs=6)
        fit.fit(Classifier(lr=1e-6, optimizer="sgd"))
    assert fit.current_epoch == 1
    assert "5th of 5 at this point, the best 3 go on" in pruner.reason
    assert read_json(here.verdict) == {"status": "pruned", "reason": pruner.reason}


def test_the_pruner_does_nothing_outside_of_a_search(tmp_path: Path) -> None:
    pruner = TrialPruner()
    fit = trainer(tmp_path, pruner, max_steps=-1, max_epochs=2)
    fit.fit(Classifier(lr=1e6, optimizer="sgd"))
    assert fit.current_epoch == 2
    assert pruner.reason == ""
    with pytest.raises(ValueError, match="mode must be one of min, max, got 'up'"):
        TrialPruner(mode="up")
