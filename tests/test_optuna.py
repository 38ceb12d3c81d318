"""An Optuna study drives the trials: its storage, sampler and pruner, our bracket."""

import math
from pathlib import Path

import lightning as L
import optuna
import pytest

from lr_lightning.optuna import PruneWithOptuna, search_space, suggest_lr
from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.result import RangeTestResult
from tests.helpers.modules import Classifier

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def result() -> RangeTestResult:
    lrs = ladder(1e-7, 10.0, 100)
    return analyze(lrs, [2.3 / (1 + (lr / 1e-3) ** 0.9) + (1e3 * lr**2 if lr > 0.3 else 0.0) for lr in lrs])


def test_the_bracket_is_the_search_space_of_every_worker(tmp_path: Path, result: RangeTestResult) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=storage, study_name="s", sampler=optuna.samplers.TPESampler(seed=0))
    space = search_space(study, result)
    assert result.suggestion is not None
    assert space["lr"].low < result.suggestion < space["lr"].high
    study.optimize(lambda trial: (math.log10(suggest_lr(trial, space)) + 2) ** 2, n_trials=12)
    assert study.trials[0].params["lr"] == pytest.approx(result.suggestion)
    assert all(space["lr"].low <= t.params["lr"] <= space["lr"].high for t in study.trials)
    other = optuna.load_study(storage=storage, study_name="s")
    assert search_space(other, None) == space, "a second worker without a range test gets the first one's bracket"
    assert len(other.trials) == 12


def test_without_a_suggestion_the_range_stays() -> None:
    study = optuna.create_study()
    assert search_space(study, None, low=1e-4, high=0.1)["lr"].low == 1e-4
    assert not study.trials
    with pytest.raises(ValueError, match=r"low must be below high, got low=1\.0 and high=0\.1"):
        search_space(optuna.create_study(), None, low=1.0, high=0.1)
    with pytest.raises(KeyError, match="no 'wd' in the search space; it has lr"):
        suggest_lr(study.ask(), search_space(study, None), name="wd")


def test_the_studys_pruner_ends_bad_trials(tmp_path: Path) -> None:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1))
    epochs = []

    def objective(trial: optuna.Trial) -> float:
        pruning = PruneWithOptuna(trial)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        fit = L.Trainer(accelerator="cpu", max_epochs=4, logger=False, callbacks=[pruning], **quiet)
        L.seed_everything(0, verbose=False)
        fit.fit(Classifier(lr=suggest_lr(trial, search_space(study, None, high=1e6)), optimizer="sgd"))
        epochs.append(fit.current_epoch)
        return pruning.score()

    for lr in (0.01, 0.02, 1e-6, 1e5):
        study.enqueue_trial({"lr": lr})
    study.optimize(objective, n_trials=4)
    states = [t.state.name for t in study.trials]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    assert epochs[:2] == [4, 4]
    assert max(epochs[2:]) < 4
    assert study.best_params["lr"] in (0.01, 0.02)
    for again in (optuna.trial.FixedTrial(study.best_params), study.best_trial):  # they belong to no study
        assert objective(again) == study.best_value
