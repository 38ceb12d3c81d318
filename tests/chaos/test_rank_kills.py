"""One of two ranks is killed: the other ends by itself, soon, and the resumed job ends as if nothing had happened."""

import functools
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.fits import BATCHES, EPOCHS
from tests.chaos.test_kills import leftovers, newest, step_of
from tests.chaos.warm import Ended, Warm

JOB = "tests.chaos.fits:train"
BOUND = 90.0
"""Seconds a job may live on; the collectives' time-out is 20."""
PLACES = ("sweep", "validated", "step", "save", "batch_end", "epoch_end")
CASES = [("ddp", rank, place) for place in PLACES for rank in (0, 1)] + [("fsdp2", 1, place) for place in PLACES[:4]]
DEFAULT = (("ddp", 1, "sweep"), ("ddp", 0, "validated"))


def marks_of(case: tuple[str, int, str]) -> list[pytest.MarkDecorator]:
    return [] if case in DEFAULT else [pytest.mark.slow]


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ended]:
    """The uninterrupted run of a strategy."""

    @functools.cache
    def run(strategy: str) -> Ended:
        folder = tmp_path_factory.mktemp(strategy)
        return warm.run(JOB, folder, ranks=2, kind="all", life=0, strategy=strategy, ok=True)

    return run


@pytest.mark.parametrize(("strategy", "rank", "place"), [pytest.param(*c, marks=marks_of(c)) for c in CASES])
def test_a_job_ends_with_its_rank_and_goes_on(
    warm: Warm, whole: Callable[[str], Ended], tmp_path: Path, strategy: str, rank: int, place: str
) -> None:
    run, out, rng = whole(strategy), tmp_path / "out", random.Random(f"{strategy}{rank}{place}")
    index = rng.choice([i for i, mark in enumerate(run.marks[:-10]) if mark[0] == place])
    kill = {"rank": rank, "mark": index, "calls": rng.randint(1, 2000)}
    settings: dict[str, Any] = {"kind": "all", "strategy": strategy, "ranks": 2}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    settings["environment"] = {"TMPDIR": str(scratch)}

    killed = warm.run(JOB, out, life=0, kill=kill, limit=BOUND, **settings)
    assert killed.statuses[rank] == -signal.SIGKILL
    assert killed.statuses[1 - rank] > 0, "the other rank ended by itself, with an error"

    checkpoint = newest(out)
    resumed = warm.run(JOB, out, life=1, resume=checkpoint, ok=True, **settings)
    for found, expected in zip(resumed.reports, run.reports, strict=True):
        assert _shared(found, checkpoint) == _shared(expected, checkpoint)
    assert [name for name in leftovers(out, scratch) if name not in ("output-1.txt", "report-1.json")] == []


def _shared(report: dict[str, Any], checkpoint: Path | None) -> dict[str, Any]:
    """A half-filled window holds a rank's own losses until it is read; from a checkpoint it goes on with the mean."""
    callbacks = {key: {k: v for k, v in state.items() if k != "window"} for key, state in report["callbacks"].items()}
    nothing_to_do = step_of(checkpoint) == BATCHES * EPOCHS
    return {**report, "callbacks": callbacks, "hparams": None if nothing_to_do else report["hparams"]}
