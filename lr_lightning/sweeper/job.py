"""The job of one trial: the app's task, with its outcome on disk before the launcher hears of it."""

import math
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lr_lightning.rules.checks import likely_meant, nearest
from lr_lightning.sweeper.errors import TrialRefused
from lr_lightning.sweeper.files import read_json, write_json
from lr_lightning.sweeper.orphans import end_with
from lr_lightning.sweeper.trial import Here, as_trial


def outcome_file(folder: Path, job: int) -> Path:
    """Where job ``job`` of the search in ``folder`` leaves its outcome."""
    return folder / "jobs" / f"{job}.json"


def started_file(folder: Path, job: int) -> Path:
    """Written when job ``job`` begins."""
    return folder / "started" / f"{job}.json"


def refusal_file(folder: Path) -> Path:
    """Written when a trial finds that no other one can have a score either."""
    return folder / "refused.json"


class SearchTask:
    """The app's task function as the search hands it to a launcher.

    It runs where the launcher puts it. It tells the trial which search it belongs to and writes the outcome to the
    search's folder, so that a search that is killed in the middle of a round loses no finished trial.

    Args:
        task: The app's task function.
        folder: Shared by the trials of the search.
        score: Key of the score where the task returns a mapping.
    """

    def __init__(self, task: Callable[[Any], Any], folder: str, score: str | None = None) -> None:
        self.task, self.folder, self.score, self.home = task, folder, score, os.getpid()
        self.__module__ = getattr(task, "__module__", type(self).__module__)
        self.__doc__ = getattr(task, "__doc__", None)

    def __call__(self, config: Any) -> Any:
        """Run the task and write its outcome.

        Raises:
            RuntimeError: If the task called ``sys.exit``, which would end the launcher's process.
            TrialRefused: If this or an earlier trial of the search found that none can have a score.
        """
        from hydra.core.hydra_config import HydraConfig

        if os.getppid() == self.home:  # a worker of joblib's, which would wait for a killed search for ever
            end_with(self.home, partial(os._exit, 1))
        number = int(HydraConfig.get().job.num)
        output = str(HydraConfig.get().runtime.output_dir)
        folder, started = Path(self.folder), time.monotonic()
        if refusal := read_json(refusal_file(folder)):
            raise TrialRefused(refusal["reason"])
        write_json(started_file(folder, number), {"output": output})
        with as_trial(folder, number) as trial:
            try:
                value = self.task(config)
                result = outcome(value, self.score, read_json(trial.verdict))
            except TrialRefused as error:
                write_json(refusal_file(folder), {"reason": str(error)})
                raise
            except (Exception, SystemExit) as error:
                _write(trial, output, started, failure(error))
                if isinstance(error, SystemExit):
                    raise RuntimeError(f"the trial called sys.exit({error.code!r})") from error
                raise
        _write(trial, output, started, result)
        return value


def failure(error: BaseException) -> dict[str, Any]:
    """Outcome of a trial that raised."""
    return {"score": None, "status": "crashed", "reason": f"{type(error).__name__}: {error}"[:500]}


def outcome(value: Any, key: str | None = None, verdict: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Outcome of a trial that returned ``value``.

    Args:
        value: A number, anything ``float()`` takes, or a mapping with a number under ``key``.
        key: See ``value``.
        verdict: What told the trial to stop early, if anything did.

    Returns:
        ``score`` (None where there is none), ``status`` and ``reason``.

    Raises:
        TrialRefused: If ``key`` and what the task returns don't go together, in this trial as in any other.

    >>> outcome(float("nan"))["status"], outcome(0.5)["score"], outcome({"loss": 1}, "loss")["score"]
    ('diverged', 0.5, 1.0)
    """
    if isinstance(value, Mapping):
        if key not in value:
            known = ", ".join(map(str, value))
            told = f"the task returned a mapping ({known})"
            _, surely = ("", True) if key is None else likely_meant(key, map(str, value)) or ("", False)
            if surely:
                raise TrialRefused(f"{told}; {_named(key, value)}")
            return _none("crashed", f"{told} without {key!r}, the score")
        value = value[key]
    elif key is not None and value is not None:
        raise TrialRefused(
            f"hydra.sweeper.score={key} names a key of a mapping, but the task returned {type(value).__name__}, no "
            "mapping: leave it out, or return a mapping"
        )
    if value is None:
        return _none("crashed", "the task returned None; it must return the score of the trial")
    try:
        score = float(value)
    except (TypeError, ValueError):
        return _none("crashed", f"the task returned {type(value).__name__}, not a number")
    if not math.isfinite(score):
        return _none("diverged", f"the score is {score}")
    if verdict is not None:
        return {"score": score, "status": verdict["status"], "reason": verdict["reason"]}
    return {"score": score, "status": "completed", "reason": ""}


def _named(key: str | None, value: Mapping[Any, Any]) -> str:
    if key is None:
        return "name its score: hydra.sweeper.score=…"
    return f"it has no hydra.sweeper.score={key}{nearest(key, map(str, value))}"


def _none(status: str, reason: str) -> dict[str, Any]:
    return {"score": None, "status": status, "reason": reason}


def _write(trial: Here, output: str, started: float, result: Mapping[str, Any]) -> None:
    seconds = round(time.monotonic() - started, 3)
    write_json(outcome_file(trial.folder, trial.job), {**result, "output": output, "seconds": seconds})
