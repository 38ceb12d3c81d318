"""kill -9 a search over many processes, again and again: its trials end with it, and the last life has the answer."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.chaos.warm import members
from tests.helpers.search_runs import SMALL, command, environment, ran, results, search, trials

QUIET = ("noise=0.02", "seed=0,1", "nan_above=0.5", "hydra.sweeper.budget=7", "hydra.sweeper.later=2", *SMALL[:3])
APP = Path(__file__).parents[1] / "helpers" / "training_app" / "app.py"
PATIENCE = 120.0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    search(folder, *QUIET)
    return folder


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 4))])
def test_a_search_killed_three_times_has_the_answer_of_one_that_was_not(tmp_path: Path, whole: Path, seed: int) -> None:
    out, rng = tmp_path / "out", random.Random(seed)
    more: tuple[str, ...] = ()
    for life in range(3):
        # The journal has 1 line at the start and 24 at the end.
        _kill(out, 1 + 6 * life + rng.randrange(6), rng.uniform(0.0, 0.02), *QUIET, *more)
        more = (f"hydra.sweeper.resume={out}",)
    search(out, *QUIET, *more)
    _compare(out, whole)
    assert len(ran(out)) - len(trials(out)) <= 3, "only a trial that was killed may have run twice"


@pytest.mark.parametrize("launcher", [pytest.param("joblib", marks=pytest.mark.slow), "basic"])
def test_isolated_trials_end_with_the_search_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    monkeypatch.setenv("ISOLATED", "1")
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    out = tmp_path / "out"
    _kill(out, 1, 0.3, *QUIET, "seconds=600", f"hydra/launcher={launcher}", begun=1)
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid in (tmp_path / "pids").read_text().split() if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"trials {left} run on"
        time.sleep(0.05)
    while left := _workers(out):
        assert time.monotonic() < deadline, f"the launcher's workers {left} run on"
        time.sleep(0.05)


@pytest.mark.slow
def test_both_ranks_of_an_isolated_trial_end_with_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLATED", "1")
    out = tmp_path / "out"
    long = ("devices=2", "epochs=1000000", "hydra.sweeper.range_test=false", "~callbacks.range_test")
    line = command(out, *SMALL, *long, app=APP)
    process = subprocess.Popen(line, env=environment(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while len(ranks := [pid for child in _children(process.pid) for pid in members(child)]) < 2:
        assert time.monotonic() < deadline, "the ranks did not start"
        time.sleep(0.05)
    time.sleep(8.0)  # by now they train; if not, they must end as well
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while left := [pid for pid in ranks if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"ranks {left} run on"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_search_of_isolated_trials_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    monkeypatch.setenv("ISOLATED", "1")
    out = tmp_path / "out"
    _kill(out, 5, 0.4, *QUIET)
    search(out, *QUIET, f"hydra.sweeper.resume={out}")
    _compare(out, whole)


def _kill(out: Path, lines: int, seconds: float, *overrides: str, begun: int = 0) -> None:
    """Start or resume a search; kill -9 it ``seconds`` after its journal has so many lines and trials have begun."""
    process = subprocess.Popen(command(out, *overrides), env=environment(out), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while _lines(out) < lines or len(ran(out)) < begun:
        assert process.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline, "the search did not get far enough"
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def _workers(out: Path) -> list[str]:
    """Processes that the search started, known by its environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"RAN={environment(out)['RAN']}\0".encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _lines(out: Path) -> int:
    path = out / "trials.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _compare(out: Path, whole: Path) -> None:
    """The same trials with the same scores, the same answer, and no file that an uninterrupted search hasn't got."""

    def key(folder: Path) -> list[tuple[object, ...]]:
        return sorted((t["round"], t["values"][0], *t["repeat"], str(t["score"]), t["status"]) for t in trials(folder))

    assert key(out) == key(whole)
    jobs = {"best_trial": {**results(whole)["best_trial"], "jobs": results(out)["best_trial"]["jobs"]}}
    assert results(out) == {**results(whole), **jobs}
    hidden = [p for p in out.rglob(".*") if p.is_file()]
    assert hidden == [], "half a file was left"
