"""Isolated trials beside the same app without the decorator: the job is the same, whatever program it belongs to."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lr_lightning.sweeper import handover

JOB = """
import enum, json, logging, os, sys
from dataclasses import dataclass, field
import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, OmegaConf
from lr_lightning import isolated_trials

class Opt(enum.Enum):
    SGD = 1
    ADAM = 2

@dataclass
class Model:
    lr: float = 0.1
    opt: Opt = Opt.ADAM
    note: str = ""

@dataclass
class Config:
    model: Model = field(default_factory=Model)
    tag: str = "${hydra:runtime.choices.model}"
    when: str = "${now:%f}"
    defaults: list = field(default_factory=lambda: [{"model": "small"}, "_self_"])

store = ConfigStore.instance()
store.store(name="c", node=Config)
store.store(group="model", name="small", node=Model)
store.store(group="model", name="big", node=Model(lr=9.0))

def task(cfg):
    job = HydraConfig.get()
    log = logging.getLogger("app")
    log.warning("a line")
    seen = {
        "types": [type(OmegaConf.to_object(cfg)).__name__, type(OmegaConf.to_object(cfg).model).__name__],
        "enum": cfg.model.opt is Opt.ADAM, "lr": cfg.model.lr, "note": cfg.model.note, "tag": cfg.tag,
        "job": [job.job.name, job.job.num, job.job.id, job.job.override_dirname], "mode": job.mode.name,
        "overrides": [list(job.overrides.task), list(job.overrides.hydra)], "env": os.environ.get("MARK"),
        "folder": os.path.relpath(job.runtime.output_dir, os.environ["AT"]),
        "cwd": os.path.relpath(os.getcwd(), os.environ["AT"]), "sweep": job.sweep.dir, "run": job.runtime.cwd,
        "level": log.getEffectiveLevel(), "config_name": job.job.config_name,
        "now": cfg.when == cfg.when,
    }
    with open(os.path.join(os.environ["AT"], "seen.jsonl"), "a") as file:
        print(json.dumps(seen), file=file)
    return cfg.model.lr

if os.environ["WAY"] == "isolated":
    task = isolated_trials(task)
main = hydra.main(version_base="1.3", config_path=None, config_name="c")(task)
if __name__ == "__main__":
    main()
"""


def run(folder: Path, *line: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", "AT": str(folder), **more}
    return subprocess.run(
        [sys.executable, *line], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


JOBS = {
    "typed": ("model=small,big", "model.opt=ADAM", "hydra.job.name=my job", "+hydra.job.env_set.MARK=here"),
    "chdir": ("model.lr=0.5", "hydra.job.chdir=true", "hydra.verbose=app", "hydra.sweep.dir='a b/[c]=$d, \\'e\\''"),
    "names": ("model.note='a b','c, [d] = \"e\" ü {f}'", "hydra.sweep.subdir=${hydra.job.override_dirname}"),
    "no_subdir": ("model.note=\"it's\",'$HOME'", "hydra.output_subdir=null", "hydra.sweep.subdir='${hydra.job.num}=x'"),
    "joblib": ("model=small,big", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
}


@pytest.mark.parametrize("overrides", JOBS.values(), ids=JOBS)
def test_a_trial_is_the_job_of_the_same_app_without_the_decorator(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    seen = {}
    for way in ("plain", "isolated"):
        folder = tmp_path / way
        folder.mkdir()
        (folder / "app.py").write_text(JOB)
        done = run(folder, "app.py", "-m", "hydra.sweep.dir=sweep", *overrides, WAY=way)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]
        seen[way] = sorted(({**line, "run": line["run"] == str(folder)} for line in lines), key=str)
        logs = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.log"))
        assert logs, "each job has its log"
        seen[f"{way} logs"] = logs
    assert seen["isolated"] == seen["plain"]
    assert seen["isolated logs"] == seen["plain logs"]
    assert all(line["types"] == ["Config", "Model"] and line["enum"] for line in seen["plain"])
    handed = [path.stat().st_mode & 0o777 for path in tmp_path.rglob("config.pickle")]
    assert handed == [0o600] * len(seen["isolated"]), "a pickle that nobody else may write"


def test_a_job_is_written_to_no_file_of_anybody_else(tmp_path: Path) -> None:
    others, path = tmp_path / "others", tmp_path / "config.pickle"
    others.write_bytes(b"kept")
    others.chmod(0o666)
    path.symlink_to(others)
    handover._write_anew(path, b"job")
    assert (others.read_bytes(), path.read_bytes()) == (b"kept", b"job")
    assert not path.is_symlink()


DECO = """
import contextlib, functools
def timed(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner
class Quiet(contextlib.ContextDecorator):
    def __enter__(self):
        return self
    def __exit__(self, *error):
        return False
class Call:
    def __init__(self, function):
        self.function = function
    def __call__(self, cfg):
        return self.function(cfg)
"""
APP = """
import functools, sys
import hydra
from hydra.core.config_store import ConfigStore
import lr_lightning
from tools import deco
ConfigStore.instance().store(name="c", node={"lr": 0.1})
def task(cfg, more=None):
    print("SAW", cfg.lr, flush=True)
    return cfg.lr
def main():
    task_ = %s
    hydra.main(version_base="1.3", config_path=None, config_name="c")(lr_lightning.isolated_trials(task_))()
if __name__ == "__main__":
    main()
"""
TASKS = {
    "wraps": "deco.timed(deco.Quiet()(task))", "partial": "functools.partial(task, more=1)",
    "object": "deco.Call(task)", "method": "deco.Call(task).__call__",
}  # fmt: skip
SWEEP = ("-m", "lr=0.5,0.25")


def project(folder: Path, task: str = "task") -> None:
    """An app as a file, a module, a folder with a __main__, and a console script; one set of files."""
    for path, text in {
        "tools/__init__.py": "", "tools/deco.py": DECO, "pkg/__init__.py": "", "pkg/app.py": APP % task,
        "pkg/__main__.py": "from pkg.app import main\nif __name__ == '__main__':\n    main()\n",
        "app.py": APP % task, "dir/__main__.py": "import sys\nsys.path.insert(0, '.')\n" + APP % task,
        "script": "import sys\nsys.path.insert(0, '.')\nfrom pkg.app import main\nsys.exit(main())\n",
    }.items():  # fmt: skip
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_program_is_started_whatever_the_task_is_wrapped_in(tmp_path: Path, task: str) -> None:
    project(tmp_path, task)
    done = run(tmp_path, "app.py", *SWEEP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SAW") == 2


@pytest.mark.parametrize("line", [("-m", "pkg.app"), ("-m", "pkg"), ("dir",), ("script",)], ids=" ".join)
def test_the_program_is_started_as_it_was_started(tmp_path: Path, line: tuple[str, ...]) -> None:
    project(tmp_path)
    done = run(tmp_path, *line, *SWEEP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SAW") == 2


OWN = """
import argparse, dataclasses, sys
import hydra
from hydra.core.config_store import ConfigStore
from lr_lightning import isolated_trials
# As hydra-zen's builds(): a dataclass that no module has by its name.
net = dataclasses.make_dataclass("Builds_Net", [("width", int, 3)])
net.__module__ = "types"
ConfigStore.instance().store(name="c", node={"lr": 0.1, "net": net})

@isolated_trials
def task(cfg):
    from omegaconf import OmegaConf
    kind = OmegaConf.get_type(cfg.net).__name__
    print("SAW", cfg.lr, args.data, args.fast, __debug__, sys.flags.dev_mode, kind, cfg.net.width, flush=True)
    return cfg.lr

if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data")
    parser.add_argument("--fast", action="store_true")
    args, sys.argv[1:] = parser.parse_known_args()
    hydra.main(version_base="1.3", config_path=None, config_name="c")(task)()
"""


def test_options_of_python_own_arguments_and_nameless_dataclasses_reach_a_trial(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(OWN)
    line = ("-OX", "dev", "-W", "error", "app.py", "--fast", "--data", "a b", *SWEEP)
    done = run(tmp_path, *line, PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stderr
    seen = [text for text in done.stdout.splitlines() if text.startswith("SAW")]
    assert seen == [f"SAW {lr} a b True False True Builds_Net 3" for lr in (0.5, 0.25)]


def test_what_is_no_program_is_refused_in_words(tmp_path: Path) -> None:
    project(tmp_path)
    done = run(tmp_path, "-c", "import sys; sys.argv[1:] = ['-m', 'lr=1,2']; import pkg.app; pkg.app.main()")
    assert done.returncode != 0
    assert "put the app into a file" in done.stderr
    assert "SAW" not in done.stdout


RETURNS = {
    "1 / 0": "ended with code 1: ZeroDivisionError: division by zero",
    "sys.exit(3)": "ended with code 3: SystemExit: 3",
    "__import__('os')._exit(7)": "ended with code 7 and left no score",
    "'good'": "NoScore: the task returned str, not a number",
}


@pytest.mark.parametrize(("value", "said"), RETURNS.items(), ids=RETURNS)
def test_a_trial_without_a_score_says_why(tmp_path: Path, value: str, said: str) -> None:
    project(tmp_path, f"lambda cfg: {value}")
    done = run(tmp_path, "app.py", "-m", "lr=0.5,0.25")
    assert done.returncode != 0
    assert said in done.stderr


def test_scores_come_back_as_they_are(tmp_path: Path) -> None:
    """Hydra hands what the task returns to the sweeper: numbers, mappings of numbers, nothing."""
    scores = "[float('nan'), {'loss': 1, 'name': 'x', 'acc': float('inf')}, None, (1, 2.5)][int(cfg.lr)]"
    project(tmp_path, f"lambda cfg: {scores}")
    spy = (
        "from hydra.experimental.callback import Callback\n"
        "class Spy(Callback):\n"
        "    def on_job_end(self, config, job_return, **more):\n"
        "        print('GOT', job_return.return_value, flush=True)\n"
    )
    (tmp_path / "spy.py").write_text(spy)
    more = ("+hydra.callbacks.spy._target_=spy.Spy",)
    done = run(tmp_path, "app.py", "-m", "lr=0,1,2,3", *more, PYTHONPATH=str(tmp_path))
    got = [line.removeprefix("GOT ") for line in done.stdout.splitlines() if line.startswith("GOT")]
    assert got == ["nan", "{'loss': 1.0, 'acc': inf}", "None", "[1.0, 2.5]"], done.stderr
