"""The in-process search as the command's ready-made config."""

import subprocess
import sys
from pathlib import Path

from omegaconf import OmegaConf


def test_the_search_config_finds_applies_and_records_an_lr(tmp_path: Path) -> None:
    small = ("callbacks.lr_search.num_steps=8", "callbacks.lr_search.budget=5", "callbacks.lr_search.range_test=false")
    line = [sys.executable, "-m", "lr_lightning.cli.app", "--config-name", "search", *small, "trainer.max_epochs=1"]
    quiet = ("trainer.enable_progress_bar=false", f"hydra.run.dir={tmp_path}/out")
    done = subprocess.run([*line, *quiet], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.rglob("optimization_results.yaml")
    found = OmegaConf.load(path)
    assert found.trials == 5
    assert 1e-7 < found.best_params.lr < 10
    assert "LRSearch: best LR" in done.stdout + done.stderr
