"""A project laid out like lightning-hydra-template finds our callbacks by name, and its own files first."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

import lr_lightning
from lr_lightning import RangeTestResult

PROJECT = Path(__file__).parents[1] / "helpers" / "template_project"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")))


def train(project: Path, *overrides: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "src/train.py", *overrides], cwd=project, env=environment, text=True, timeout=300, check=False,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def composed(project: Path, *overrides: str) -> dict:
    shown = train(project, "--cfg", "job", "--package", "callbacks", *overrides)
    return OmegaConf.to_container(OmegaConf.create(shown))


def test_the_range_test_sets_the_lr_of_the_projects_training(project):
    printed = train(
        project, "callbacks=[default,lr_range_test]", "callbacks.lr_range_test.max_lr=1", "logger=many_loggers"
    )
    (record,) = project.glob("logs/train/runs/*/csv/version_0/range_test.json")
    result = RangeTestResult.load(record)
    assert result.lrs[0] == pytest.approx(1e-7)
    assert result.lrs[-1] <= 1 + 1e-9
    assert result.suggestion > 1e-3
    assert f"LR {result.suggestion:.6g} after 40 steps" in printed, "model.optimizer.lr was 1e-5"
    (run,) = project.glob("logs/train/runs/*")
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    with (run / "csv" / "version_0" / "metrics.csv").open() as file:
        assert {"train/loss", "val/loss"} <= set(next(csv.reader(file)))


def test_the_projects_own_files_of_the_same_names_win(project):
    every = ("range_test", "formula", "curves", "plateau_decay", "search", "trial_pruner")
    found = composed(project, f"callbacks=[default,{','.join(f'lr_{name}' for name in every)}]")
    assert list(found) == ["model_checkpoint", "early_stopping", "timer", *(f"lr_{name}" for name in every)]
    assert found["early_stopping"]["patience"] == 50
    found["lr_formula"]["preset"] = "cosine"
    kinds = [type(instantiate(found[f"lr_{name}"])).__name__ for name in every]
    assert kinds == ["LRRangeTest", "LRFormula", "LRCurves", "PlateauDecay", "LRSearch", "TrialPruner"]
    assert set(kinds) <= set(lr_lightning.__all__)


def test_an_experiment_file_names_our_callbacks(project):
    printed = train(project, "experiment=found", "trainer.max_epochs=1")
    callbacks = re.search("callbacks: (.*)", printed)[1].split()
    assert {*callbacks} == {"LRRangeTest", "PlateauDecay", "LRCurves", "EarlyStopping", "Timer", "ModelCheckpoint"}
    (run,) = project.glob("logs/train/runs/*")
    assert RangeTestResult.load(run / "tensorboard" / "range_test.json").num_steps == 40


def test_a_multirun_tests_anew_in_each_job(project):
    train(project, "-m", "callbacks=[none,lr_range_test]", "logger=csv", "callbacks.lr_range_test.num_steps=20,40")
    records = sorted(project.glob("logs/train/multiruns/*/?/csv/version_0/range_test.json"))
    assert [RangeTestResult.load(record).num_steps for record in records] == [20, 40]


def test_a_projects_own_search_path_stands_before_ours(project):
    (project / "shared" / "callbacks").mkdir(parents=True)
    (project / "shared" / "callbacks" / "team.yaml").write_text(
        "defaults:\n  - lr_range_test\n  - lr_curves\n  - _self_\nlr_range_test:\n  max_lr: 0.5\n"
    )
    (project / "shared" / "callbacks" / "lr_curves.yaml").write_text("mine: {_target_: builtins.object}\n")
    with (project / "configs" / "train.yaml").open("a") as file:
        file.write("\nhydra:\n  searchpath:\n    - file://shared\n")
    found = composed(project, "callbacks=team")
    assert set(found) == {"lr_range_test", "mine"}
    assert found["lr_range_test"]["max_lr"] == 0.5
