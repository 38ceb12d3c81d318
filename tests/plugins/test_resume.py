"""kill -9 a search anywhere, start it again: nothing is lost, nothing repeated, the answer is the same."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.search_runs import SMALL, command, environment, ran, results, search, trials

QUIET = ("noise=0.02", "seed=0,1", "nan_above=0.5", "hydra.sweeper.budget=7", "hydra.sweeper.later=2", *SMALL[:3])


def _kill_after(folder: Path, count: int) -> None:
    """Start a search, kill -9 it when ``count`` trials have begun."""
    process = subprocess.Popen(command(folder, *QUIET), env=environment(folder), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(ran(folder)) < count:
        assert process.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline, "the search did not get far enough"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _key(folder: Path) -> list[tuple[object, ...]]:
    return sorted((t["round"], t["values"][0], *t["repeat"], t["score"], t["status"]) for t in trials(folder))  # type: ignore[type-var]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    search(folder, *QUIET)
    return folder


@pytest.mark.parametrize("count", [pytest.param(3, marks=pytest.mark.slow), 12])
def test_a_killed_search_goes_on(tmp_path: Path, whole: Path, count: int) -> None:
    out = tmp_path / "out"
    _kill_after(out, count)
    with open(out / "trials.jsonl", "a") as file:
        file.write('{"kind": "trial", "job": 99, "val')  # a line torn by the kill
    search(out, *QUIET, f"hydra.sweeper.resume={out}", "hydra.sweep.dir=elsewhere")
    assert [k[:-2] for k in _key(out)] == [k[:-2] for k in _key(whole)]
    assert results(out) == {**results(whole), "best_trial": results(out)["best_trial"]}
    assert results(out)["best_trial"]["params"] == results(whole)["best_trial"]["params"]
    assert len(ran(out)) - len(trials(out)) in (0, 1), "only the trial that was killed may have run twice"
    assert not (tmp_path / "elsewhere").exists()


def test_another_search_is_not_resumed(tmp_path: Path, whole: Path) -> None:
    text = search(whole, *QUIET, f"hydra.sweeper.resume={whole}", "hydra.sweeper.seed=5", fails=True)
    assert "seed was 0 and is now 5" in text
    assert "holds a search already" in search(whole, *QUIET, fails=True)
