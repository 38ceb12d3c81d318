"""Hydra apps that have nothing to do with us go on as before."""

import subprocess
import sys
from pathlib import Path

from tests.helpers.search_runs import APP, ran, run

SCAN = """
import sys
from hydra.core.plugins import Plugins
names = {c.__name__ for c in Plugins.instance().discover()}
assert {"CoarseToFineSweeper", "LRLightningSearchPath"} <= names, names
heavy = sorted({m.partition(".")[0] for m in sys.modules} & {"torch", "lightning", "numpy", "tensorboard", "plotly"})
assert not heavy, heavy
"""


def test_the_plugin_scan_finds_us_and_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCAN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_another_app_runs_and_sweeps_as_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    single = run([sys.executable, str(APP), f"hydra.run.dir={out}"], out)
    assert single.returncode == 0, single.stdout
    sweep = run([sys.executable, str(APP), "-m", "lr=0.1,0.2", f"hydra.sweep.dir={out}"], out)
    assert sweep.returncode == 0, sweep.stdout
    assert ran(out) == ["0.1 0", "0.1 0", "0.2 0"]
    assert not list(out.rglob("trials.jsonl"))


def test_our_config_groups_come_after_the_apps_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = run([sys.executable, str(APP), "--info", "searchpath", f"hydra.run.dir={out}"], out).stdout
    assert "pkg://lr_lightning.conf" in shown
    assert shown.index("search_app") < shown.index("pkg://lr_lightning.conf")
