"""The studies run and draw their picture."""

import runpy
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
    "plateaus": ("noise floor", ["--seeds", "1"]),
}


@pytest.mark.parametrize("name", FAST)
def test_it_runs_and_draws(tmp_path, name, monkeypatch, capsys):
    says, arguments = FAST[name]
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(sys, "argv", [name, "--epochs", "1", *arguments, "--out", str(tmp_path)])
    with warnings.catch_warnings():
        runpy.run_path(str(ROOT / "recipes" / f"{name}.py"), run_name="__main__")
    assert says in capsys.readouterr().out
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_every_preset_is_shown():
    from lr_lightning.rules.presets import PRESETS
    from recipes.decay_formulas import presets

    assert set(presets(10, 22)) == {"constant", *PRESETS} - {"inverse_sqrt"}
