"""The studies run and draw their picture."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "says"), [("three_learning_rates", "too high"), ("range_test", "<- suggestion")], ids=lambda x: x
)
def test_it_runs_and_draws(tmp_path, name, says):
    done = subprocess.run(
        [sys.executable, "-m", f"recipes.{name}", "--epochs", "1", "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
