"""LightningCLI: every callback by its name on the command line, help from the docstrings, configs that come back."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningCLI
from omegaconf import OmegaConf

import lr_lightning
from lr_lightning import RangeTestResult
from tests.helpers.cli_app.main import Data, Net

APP = Path(__file__).parent / "helpers" / "cli_app" / "main.py"
FAST = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false")
SGD = ("--optimizer=SGD", "--optimizer.lr=0.001")
ARGUMENTS = {
    "LRRangeTest": (
        "max_lr=1", "num_steps=30", "budget=60", "at_epochs=[0,2]", "rule=midpoint", "sandbox={num_batches: 4}"
    ),
    "LRSearch": ("max_lr=1", "num_steps=8", "eta=null", "widen=false", "sandbox={snapshot_device: cpu}"),
    "LRFormula": ("expression=base_lr * 0.99 ** epoch", "interval=epoch", "groups={head: lr * 0.5}", "warmup_steps=3"),
    "PlateauDecay": ("rule={name: trend, window: 0.2}", "min_lr=[1e-5]", "warmup=0.1", "restore_best=memory"),
    "LRCurves": ("momentum=true", "every_n_steps=1"),
    "TrialPruner": ("monitor=val_loss", "first=2"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning 2.6 calls what 4.49 deprecates
    monkeypatch.setattr(sys, "argv", ["main.py"])  # LightningCLI(args=…) warns of pytest's own


def command(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(APP), "fit", *arguments], cwd=folder, text=True, timeout=300, check=False,
        capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def given(name: str, *arguments: str) -> list[str]:
    return [f"--trainer.callbacks+=lr_lightning.{name}", *(f"--trainer.callbacks.{item}" for item in arguments)]


def cli(*arguments: str) -> LightningCLI:
    return LightningCLI(
        Net, Data, run=False, save_config_callback=None, seed_everything_default=0, args=list(arguments)
    )


def test_a_fit_with_its_callbacks_from_the_command_line(tmp_path):
    callbacks = [*given("LRRangeTest", "max_lr=1"), *given("PlateauDecay", "factor=0.1"), *given("LRCurves")]
    formula = given("LRFormula", "preset=inverse_time", "dict_kwargs.decay_rate=0.5")
    logger = ("--trainer.logger=CSVLogger", "--trainer.logger.save_dir=.")
    printed = command(tmp_path, *FAST, *SGD, "--trainer.max_epochs=2", *logger, *callbacks, *formula)
    lr, kinds = re.search(r"LR (\S+) with (.*)", printed).groups()
    assert {"LRRangeTest", "LRFormula", "PlateauDecay", "LRCurves"} <= set(kinds.split())
    (record,) = tmp_path.rglob("range_test.json")
    result = RangeTestResult.load(record)
    assert result.lrs[-1] <= 1 + 1e-9
    # The second epoch's formula is base / 1.5; the endgame of the plateau decay may have cut it further.
    assert 0 < float(lr) <= result.suggestion / 1.5 * (1 + 1e-4)
    assert "class_path: lr_lightning.LRRangeTest" in next(tmp_path.rglob("config.yaml")).read_text()


def test_help_comes_from_the_docstring(tmp_path):
    shown = " ".join(command(tmp_path, "--trainer.callbacks.help", "lr_lightning.LRRangeTest").split())
    assert "LR range test inside of a fit" in shown
    assert "Last LR of the ladder. (type: float, default: 10.0)" in shown
    assert "Sweeps in all, each on batches of its own" in shown


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_config_comes_back_as_it_was(name, tmp_path):
    first = cli(*FAST, *SGD, *given(name, *ARGUMENTS[name]))
    (built,) = (c for c in first.trainer.callbacks if type(c).__name__ == name)
    text = first.parser.dump(first.config, skip_none=False)
    assert f"class_path: lr_lightning.{name}" in text
    (tmp_path / "config.yaml").write_text(text)
    again = cli("--config", str(tmp_path / "config.yaml"))
    assert again.parser.dump(again.config, skip_none=False) == text
    (rebuilt,) = (c for c in again.trainer.callbacks if type(c).__name__ == name)
    assert rebuilt.state_key == built.state_key
    (entry,) = OmegaConf.create(text).trainer.callbacks
    for item in ARGUMENTS[name]:
        key, _, value = item.partition("=")
        assert entry.init_args[key] == OmegaConf.create(f"value: {value}").value


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_has_a_help_text_and_a_type(name, capsys):
    with pytest.raises(SystemExit):
        cli(*FAST, *SGD, *given(name, *ARGUMENTS[name])).parser.parse_args(
            ["--trainer.callbacks.help", f"lr_lightning.{name}"]
        )
    shown = " ".join(capsys.readouterr().out.partition("Help for")[2].split())
    arguments = set(re.findall(r"--trainer\.callbacks\.(\w+) ", shown))
    taken = {
        p.name
        for p in inspect.signature(getattr(lr_lightning, name)).parameters.values()
        if p.kind is not p.VAR_KEYWORD
    }
    assert arguments == taken
    for argument in arguments:
        entry = re.search(rf"--trainer\.callbacks\.{argument} \S+.*? ([A-Z`].*?) \(type: [^)]+, default: ", shown)
        assert entry, argument


def test_a_bad_value_is_named_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"rule must be one of share, midpoint, .*, got 'steep'"):
        cli(*FAST, *SGD, *given("LRRangeTest", "rule=steep"))
