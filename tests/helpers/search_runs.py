"""Start the torch-free search app as a user does, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

APP = Path(__file__).parent / "search_app" / "app.py"
SMALL = (
    "hydra.sweeper.low=1e-4",
    "hydra.sweeper.high=1",
    "hydra.sweeper.first=5",
    "hydra.sweeper.later=3",
    "hydra.sweeper.budget=8",
)


def command(folder: Path, *overrides: str, app: Path = APP) -> list[str]:
    search = ["-m", "hydra/sweeper=lr_coarse_to_fine", "hydra.sweeper.param=lr", f"hydra.sweep.dir={folder}"]
    return [sys.executable, str(app), *search, *overrides]


def search(folder: Path, *overrides: str, app: Path = APP, fails: bool = False) -> str:
    """Run a search to its end; what it printed."""
    done = run(command(folder, *overrides, app=app), folder)
    assert (done.returncode != 0) is fails, done.stdout[-6000:]
    return str(done.stdout)


def run(line: list[str], folder: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(
        line, env=environment(folder), cwd=folder.parent, timeout=timeout, text=True, check=False, **output
    )  # type: ignore[call-overload, no-any-return]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "RAN": str(folder.parent / f"{folder.name}.ran"), "OMP_NUM_THREADS": "1"}


def ran(folder: Path) -> list[str]:
    """One line for each time the app's task was entered."""
    path = folder.parent / f"{folder.name}.ran"
    return path.read_text().splitlines() if path.exists() else []


def results(folder: Path) -> dict[str, Any]:
    return dict(OmegaConf.to_container(OmegaConf.load(folder / "optimization_results.yaml")))  # type: ignore[arg-type]


def trials(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "trial"]
