"""The studies run and draw their picture."""

import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAST = {
    "three_learning_rates": ("too high", []),
    "range_test": ("<- suggestion", []),
    "coarse_to_fine": ("worst at end", ["--seeds", "1"]),
    "decay_formulas": ("multiples of that LR", ["--seeds", "1"]),
    "fine_tuning": ("test again", ["--seeds", "1"]),
    "plateaus": ("noise floor", ["--seeds", "1"]),
    "hands_off": ("hands off, LR", []),
}


@pytest.mark.parametrize("name", FAST)
def test_it_runs_and_draws(tmp_path, name, monkeypatch, capsys):
    says, arguments = FAST[name]
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "argv", [name, "--epochs", "1", *arguments, "--save", str(tmp_path)])
    with warnings.catch_warnings():
        runpy.run_path(str(ROOT / "recipes" / f"{name}.py"), run_name="__main__")
    assert says in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_a_run_overwrites_no_picture(tmp_path, capsys):
    from recipes import _common

    _common.save(None, None, "range_test")  # what a study does without --save
    assert "not saved" in capsys.readouterr().out


def test_every_preset_is_shown():
    from lr_lightning.rules.formula.presets import PRESETS
    from recipes.decay_formulas import presets

    assert set(presets(10, 22)) == {"constant", *PRESETS} - {"inverse_sqrt"}


def test_two_processes_decide_alike_and_end(tmp_path):
    command = [sys.executable, "-m", "recipes.multi_gpu", "--epochs", "2", "--save", str(tmp_path)]
    ours = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **ours}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "2 ranks; losses of the first step" in done.stdout
    assert "all ranks alike: LR found" in done.stdout
    assert (tmp_path / "multi_gpu.png").stat().st_size > 10_000
    assert list(tmp_path.glob("logs/multi_gpu/version_0/events*"))


def test_ranks_that_differ_are_an_error():
    from recipes.multi_gpu import compare

    record = {"suggestion": 0.1, "decays": [], "lrs": [0.1, 0.1], "losses": [1.0, 0.9], "weights": 2.0}
    compare([record, {**record, "losses": [1.1, 0.8]}])
    with pytest.raises(SystemExit, match="differ in lrs"):
        compare([record, {**record, "lrs": [0.1, 0.05]}])
