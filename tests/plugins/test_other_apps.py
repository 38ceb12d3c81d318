"""Hydra apps that have nothing to do with us go on as before."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.search_runs import APP, ran, run

SCAN = """
import sys
from hydra.core.plugins import Plugins
names = {c.__name__ for c in Plugins.instance().discover()}
assert {"CoarseToFineSweeper", "LRLightningSearchPath"} <= names, names
heavy = sorted({m.partition(".")[0] for m in sys.modules} & {"torch", "lightning", "numpy", "tensorboard", "plotly"})
assert not heavy, heavy
"""

NAMES = ("curves", "formula", "plateau_decay", "range_test", "search", "trial_pruner", "weight_averaging")
SEEN = """
from hydra import initialize
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
def walk(group):
    for name in loader.get_group_options(group, ObjectType.CONFIG):
        print(f"{group}/{name}" if group else name)
    for name in loader.get_group_options(group, ObjectType.GROUP):
        walk(f"{group}/{name}" if group else name)
with initialize(config_path=None, version_base="1.3"):
    loader = GlobalHydra.instance().config_loader()
    walk("callbacks")
    for name in loader.get_group_options("", ObjectType.GROUP):
        if name not in ("callbacks", "hydra"):
            walk(name)
    for name in loader.get_group_options("hydra/sweeper", ObjectType.CONFIG):
        if name.startswith("lr_"):
            print(f"hydra/sweeper/{name}")
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
    ours = "pkg://hydra_plugins.lr_lightning_plugins.conf"
    assert shown.index("search_app") < shown.index(ours)
    assert "lr_lightning.conf" not in shown.replace(ours, "")


def test_all_that_another_app_sees_are_callbacks_and_a_sweeper() -> None:
    """Groups and configs that Hydra finds in an app of nothing but our plugins."""
    done = subprocess.run([sys.executable, "-c", SEEN], capture_output=True, text=True, check=True)
    ours = [f"callbacks/lr_{name}" for name in NAMES]
    assert done.stdout.split() == [*ours, "hydra/sweeper/lr_coarse_to_fine"]


OWN = {"train.yaml": "x: 1\n", "model/small.yaml": "width: 1\n", "optimizer/adam.yaml": "name: adam\n"}
ALONE = """
import hydra
@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg):
    print("SAW", dict(cfg))
main()
"""


def alone(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    """An app with groups of its own, called like those of the command."""
    (folder / "app.py").write_text(ALONE)
    for path, text in OWN.items():
        (folder / "conf" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "conf" / path).write_text(text)
    return run([sys.executable, "app.py", *line, f"hydra.run.dir={folder}/out"], folder / "conf")


@pytest.mark.parametrize("missing", ["+optimizer=sgd", "+model=digits_cnn", "+callbacks=default"])
def test_options_of_the_command_are_not_those_of_another_app(tmp_path: Path, missing: str) -> None:
    done = alone(tmp_path, missing)
    assert done.returncode != 0
    assert "SAW" not in done.stdout
    assert missing.partition("=")[2] in done.stdout


@pytest.mark.parametrize("name", ["search", "config"])
def test_configs_of_the_command_are_not_those_of_another_app(tmp_path: Path, name: str) -> None:
    done = alone(tmp_path, "--config-name", name)
    assert done.returncode != 0
    assert f"'{name}'" in done.stdout


def test_a_glob_finds_the_apps_own_files_alone(tmp_path: Path) -> None:
    done = alone(tmp_path, "-m", "+model=glob(*)", f"hydra.sweep.dir={tmp_path}/sweep")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("SAW") == 1
    assert "'width': 1" in done.stdout


def test_a_callback_is_added_to_an_app_that_has_none(tmp_path: Path) -> None:
    done = alone(tmp_path, "+callbacks=lr_curves", "callbacks.lr_curves.momentum=true")
    assert "'lr_curves'" in done.stdout
    assert "'momentum': True" in done.stdout
