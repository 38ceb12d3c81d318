"""kill -9 a fit anywhere: resumed from the newest whole checkpoint it ends as if nothing had happened, bit for bit."""

import csv
import itertools
import os
import random
import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.chaos.fits import BATCHES, EPOCHS, EVERY
from tests.chaos.warm import Ended, Warm

JOB = "tests.chaos.fits:train"
KINDS = ("all", "search")
# Where a kill falls: kind of fit, mark after which it falls. "finish" is the last mark of a sweep: the result is read,
# applied and written then.
PLACES = (
    ("all", "sweep"), ("all", "save"), ("search", "finish"), ("all", "batch_end"), ("all", "finish"),
    ("all", "validated"), ("search", "sweep"), ("all", "end"), ("all", "step"), ("all", "epoch_end"),
    ("search", "save"), ("all", "start"),
)  # fmt: skip
OURS = re.compile(
    r"board/(events\.out\.tfevents\.[^/]+|hparams\.yaml|range_test\.(json|html)"
    r"|lr_search/(trials\.jsonl|optimization_results\.yaml|events\.[^/]+))"
)
OTHERS = re.compile(r"csv/life\d/(metrics\.csv|hparams\.yaml)|checkpoints/[^/]+\.ckpt|output-0\.txt|report-0\.json")


@dataclass
class Whole:
    """An uninterrupted run: its report, and its marks with the time and the calls to the next."""

    ended: Ended
    marks: list[tuple[str, float, int]]

    def places(self, name: str) -> list[int]:
        """Indices of the marks of a kind."""
        names = [mark[0] for mark in self.marks]
        if name == "finish":
            return [max(index for index, found in enumerate(names) if found == "sweep")]
        return [index for index, found in enumerate(names) if found == name]


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Whole]:
    found = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        timed = warm.run(JOB, folder / "timed", kind=kind, life=0, ok=True)
        counted = warm.run(JOB, folder / "counted", kind=kind, life=0, kill={"count": True}, ok=True)
        assert timed.report == counted.report, "the fit is not deterministic"
        assert [m[0] for m in timed.marks] == [m[0] for m in counted.marks]
        times = [mark[1] for mark in timed.marks]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        calls = [mark[2] for mark in counted.marks[1:]]
        marks = [(m[0], gap, n) for m, gap, n in zip(timed.marks, [*gaps, 0.002], [*calls, 300], strict=True)]
        found[kind] = Whole(timed, marks)
    return found


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where checkpoints are written before they are moved: on another device if there is one: such moves can tear."""
    device = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=device) as folder:
        yield Path(folder)


def plan(place: tuple[str, str], run: Whole, rng: random.Random, exact: bool) -> dict[str, Any]:
    """A moment after a mark: by the clock, from outside, or by the count of calls, which is the same each time."""
    index = rng.choice(run.places(place[1]))
    _, seconds, calls = run.marks[index]
    if exact:
        return {"mark": index, "calls": rng.randint(1, max(1, calls))}
    return {"mark": index, "seconds": rng.uniform(0.0, seconds)}


@pytest.mark.parametrize("number", [pytest.param(n, marks=[pytest.mark.slow] if n >= 12 else []) for n in range(50)])
def test_killed_anywhere_and_resumed_it_ends_alike(
    warm: Warm,
    whole: dict[str, Whole],
    tmp_path: Path,
    scratch: Path,
    number: int,
) -> None:
    place, rng = PLACES[number % len(PLACES)], random.Random(number)
    run, out = whole[place[0]], tmp_path / "out"
    settings: dict[str, Any] = {"kind": place[0], "environment": {"TMPDIR": str(scratch)}}
    moment = plan(place, run, rng, exact=number % 2 == 0)
    killed = warm.run(JOB, out, life=0, kill=moment, **settings)
    if killed.statuses == [0]:  # it was quicker than the clock
        out = tmp_path / "again"
        killed = warm.run(JOB, out, life=0, kill={"mark": moment["mark"], "calls": 1}, **settings)
    assert killed.statuses == [-signal.SIGKILL], killed.output[0]
    print(f"killed after {killed.marks[-1][0]}", end=", ")
    life = 1
    if number % 3 == 2:  # once more, in the resumed life
        again = {"mark": 0, "calls": rng.randint(1, 20_000)}
        killed = warm.run(JOB, out, life=1, resume=newest(out), kill=again, **settings)
        life = 2
    checkpoint = newest(out)
    print(f"resumed from {checkpoint and checkpoint.name}, last life {killed.statuses}")
    resumed = warm.run(JOB, out, life=life, resume=checkpoint, ok=True, **settings)
    expected, found = run.ended.report, resumed.report
    if step_of(checkpoint) == BATCHES * EPOCHS:  # nothing was left to train, so nobody told the new module its LR
        found["hparams"] = expected["hparams"]
    assert found == expected, f"killed at {killed.marks[-1:]}, resumed from {checkpoint}"
    compare_logs(out / f"csv/life{life}", run.ended.folder / "csv/life0", step_of(checkpoint))
    assert leftovers(out, scratch) == []


def test_a_checkpoint_cut_short_is_passed_over(
    warm: Warm, whole: dict[str, Whole], tmp_path: Path, scratch: Path
) -> None:
    """Killed while Lightning moves its third checkpoint to where it belongs, which is a copy between two devices."""
    run, out = whole["all"], tmp_path / "out"
    copied = scratch.stat().st_dev != tmp_path.stat().st_dev
    functions = ["sendfile", "copy_file_range"] if copied else ["rename"]
    kill = {"mark": run.places("save")[2], "functions": functions}
    settings: dict[str, Any] = {"kind": "all", "environment": {"TMPDIR": str(scratch)}}
    killed = warm.run(JOB, out, life=0, kill=kill, **settings)
    assert killed.statuses == [-signal.SIGKILL]
    there = sorted((out / "checkpoints").glob("*.ckpt"), key=_order)
    assert [step_of(path) for path in there] == [5, 7, *([10] if copied else [])], "the last one is cut short"
    checkpoint = newest(out)
    assert step_of(checkpoint) == 7
    resumed = warm.run(JOB, out, life=1, resume=checkpoint, ok=True, **settings)
    assert resumed.report == run.ended.report
    assert leftovers(out, scratch) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_workers_of_a_sweep_end_with_it(warm: Warm, tmp_path: Path, seed: int) -> None:
    """``warm.run`` insists on it: torch's workers look for their parent every 5 s."""
    kill = {"mark": 0, "seconds": random.Random(seed).uniform(0.05, 0.5)}
    killed = warm.run("tests.chaos.fits:with_workers", tmp_path, kill=kill)
    assert killed.statuses == [-signal.SIGKILL]


def newest(out: Path) -> Path | None:
    """The newest checkpoint that loads."""
    for path in sorted((out / "checkpoints").glob("*.ckpt"), key=_order, reverse=True):
        try:
            torch.load(path, weights_only=True)
        except Exception:
            continue  # torn: Lightning's temporary file lies on another device
        return path
    return None


def _order(path: Path) -> tuple[int, str]:
    return step_of(path), path.name


def step_of(path: Path | None) -> int:
    return 0 if path is None else int(re.findall(r"step=(\d+)", path.name)[0])


def compare_logs(resumed: Path, uninterrupted: Path, step: int) -> None:
    """What both logged at a step is the same; the resumed run logged every point from its start on."""
    some, every = values(resumed), values(uninterrupted)
    # The mean loss over a window that the kill cut through is the mean of what came after.
    same = [key for key in some if key[0] != "curves/loss" or key[1] >= step + 2]
    assert {key: some[key] for key in same} == {key: every.get(key) for key in same}
    assert {key for key in every if key[1] >= step and key[0] != "epoch"} - {("val_loss", step)} <= set(some)


def values(folder: Path) -> dict[tuple[str, int], str]:
    """Every value of a CSV log by metric and step."""
    path = folder / "metrics.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {(name, int(row["step"])): text for row in rows for name, text in row.items() if text and name != "step"}


def leftovers(out: Path, scratch: Path) -> list[str]:
    """Files that a run doesn't leave when it isn't killed, but for checkpoints that Lightning was writing."""
    names = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
    stray = [name for name in names if not OURS.fullmatch(name) and not OTHERS.fullmatch(name)]
    torn = [path for path in scratch.iterdir() if path.read_bytes()[:2] not in (b"", b"PK")]
    return stray + [str(path) for path in torn]


def test_the_run_that_is_killed_decides_and_writes(whole: dict[str, Whole]) -> None:
    """The kills above mean something only if there is something to hit."""
    for kind, run in whole.items():
        states = run.ended.report["callbacks"]
        decays = [state["history"] for key, state in states.items() if key.startswith("PlateauDecay")]
        assert all(len(history) >= 1 for history in decays)
        assert run.ended.report["hparams"] != {"lr": "0.001"}, f"{kind}: no LR was found"
        assert int(run.ended.report["step"]) == BATCHES * EPOCHS
        saves = BATCHES * EPOCHS // EVERY + EPOCHS
        assert sum(mark[0] == "save" for mark in run.marks) == saves
        assert len(run.places("sweep")) > 20
