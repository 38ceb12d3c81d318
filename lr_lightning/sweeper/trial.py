"""A trial's view of its search: where to report its metric, and whether it should stop.

The search and its trials share one folder (``<sweep>/.search``); a trial finds it through an environment variable, so
that it works in the job's process, in a clean child process, in every rank and under every launcher.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lr_lightning.sweeper.files import append_line, read_lines, write_json

VARIABLE = "LR_LIGHTNING_TRIAL"


@dataclass(frozen=True)
class Here:
    """Which trial this process belongs to.

    Attributes:
        folder: Shared by all trials of the search.
        job: Number of this trial's job.
    """

    folder: Path
    job: int

    @property
    def curve(self) -> Path:
        """The trial's reported metrics, one line a report."""
        return self.folder / "curves" / f"{self.job}.jsonl"

    @property
    def verdict(self) -> Path:
        """Written when the trial is told to stop."""
        return self.folder / "verdicts" / f"{self.job}.json"


def here() -> Here | None:
    """The running trial, or None outside of a search.

    >>> here() is None
    True
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    data = json.loads(text)
    return Here(Path(data["folder"]), int(data["job"]))


@contextmanager
def as_trial(folder: Path, job: int) -> Iterator[Here]:
    """Make this process, and those it starts, a trial."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = json.dumps({"folder": str(folder.absolute()), "job": job})
    try:
        yield Here(folder, job)
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def report(trial: Here, rung: int, value: float) -> None:
    """Record the metric at a rung, where every other trial can read it."""
    append_line(trial.curve, {"rung": rung, "value": value if math.isfinite(value) else None})


def peers(trial: Here, rung: int) -> list[float]:
    """What the other trials of the search had at this rung; NaN where it wasn't finite."""
    found = []
    for path in sorted((trial.folder / "curves").glob("*.jsonl")):
        if path.stem == str(trial.job):
            continue
        values = [line["value"] for line in read_lines(path) if line["rung"] == rung]
        if values:
            found.append(math.nan if values[-1] is None else float(values[-1]))
    return found


def stop(trial: Here, status: str, reason: str) -> None:
    """Record that the trial stops early: ``status`` is ``pruned`` or ``diverged``."""
    write_json(trial.verdict, {"status": status, "reason": reason})
