"""What a sweep's job and the process of its trial hand to each other: the whole job there, score or error back.

Hydra's rerun takes a job as a pickle, which Hydra reads. It is written here, for Hydra's own writer
(``PickleJobInfoCallback``) fails on classes of a ``__main__`` that a launcher's worker has rebuilt, and on dataclasses
made while the program runs, as hydra-zen's. Nothing is unpickled here; the file is new for each trial, in the job's own
folder, and its owner's alone.
"""

import importlib
import io
import json
import operator
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudpickle import Pickler

from lr_lightning.reporting.files import naming
from lr_lightning.sweeper.errors import TrialRefused
from lr_lightning.sweeper.files import read_json, write_json

HANDED = "LR_LIGHTNING_JOB"
RERUN = "--experimental-rerun"
FILE = "trial_result.json"
_QUIET = ("Experimental rerun CLI option", "Config overrides are not supported")
"""What Hydra warns of in a rerun; ranks are started with overrides that it has no use for."""


class NoScore(TypeError):
    """The task returned something that is no score."""


def hand_over(config: Any, home: bool = True) -> tuple[list[str], dict[str, str]]:
    """Write a job for the process that runs it, as Hydra's own rerun takes it.

    Args:
        config: The job's config, as the task got it; HydraConfig has the rest.
        home: Whether this process is the program that a trial starts again, not a launcher's worker.

    Returns:
        The arguments of the program, and what its environment must have on top.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    whole = HydraConfig.instance().cfg
    hydra = HydraConfig.get()
    path = Path(hydra.runtime.output_dir) / (hydra.output_subdir or "") / "config.pickle"
    job = config.copy()
    with read_write(job), open_dict(job):
        job.hydra = whole.hydra  # type: ignore[union-attr]
    result = Path(hydra.runtime.output_dir) / FILE
    result.unlink(missing_ok=True)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_anew(path, _pickled(job, home))
    handed = {"job": str(path), "result": str(result), "cwd": os.getcwd()}
    ignored = [f"ignore:{text}:UserWarning" for text in _QUIET]
    quiet = ",".join([*sys.warnoptions, *ignored])
    return [RERUN, str(path)], {HANDED: json.dumps(handed), "PYTHONWARNINGS": quiet}


def handed() -> dict[str, str] | None:
    """The job that this process was started for, as one of its ranks or alone; None in any other process."""
    text = os.environ.get(HANDED)
    found: dict[str, str] | None = json.loads(text) if text else None
    # A trial's environment reaches all that it starts: other apps are told by their arguments.
    return found if found is not None and found["job"] in sys.argv else None


def leave(value: Any) -> None:
    """Leave what the task returned where the job that started this process looks for it; rank 0 does.

    Raises:
        NoScore: If it is neither None nor a number, nor a mapping or list of these.
    """
    job = handed()
    first = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"
    if job is not None and first:
        write_json(Path(job["result"]), {"value": _portable(value)})


def leave_error(error: BaseException) -> None:
    """Leave an error of any rank; a rank that returned a score overrides it."""
    job = handed()
    if job is not None and read_json(Path(job["result"])) is None:
        refused = isinstance(error, TrialRefused)
        text = str(error) if refused else f"{type(error).__name__}: {error}"
        write_json(Path(job["result"]), {"error": text[:2000], "refused": refused})


def taken(job: Mapping[str, str]) -> dict[str, Any] | None:
    """What the trial of a job left: ``value`` or ``error``; None if nothing."""
    return read_json(Path(json.loads(job[HANDED])["result"]))


def value_of(found: Any) -> Any:
    """The inverse of what :func:`leave` writes: numbers are text, for JSON has neither NaN nor infinity."""
    if isinstance(found, dict):
        return {key: value_of(item) for key, item in found.items()}
    if isinstance(found, list):
        return [value_of(item) for item in found]
    return None if found is None else float(found)


def _portable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _portable(item) for key, item in value.items() if _is_number(item)}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    if value is None:
        return None
    if not _is_number(value):
        raise NoScore(f"the task returned {type(value).__name__}, not a number")
    return repr(float(value))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _write_anew(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    # Who may write this file chooses what the trial runs: no link or file of anybody else is written to.
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)


def _pickled(job: Any, home: bool) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, home).dump(job)
    return buffer.getvalue()


class _Pickler(Pickler):  # type: ignore[misc]
    """Names the classes that the program has by name, and describes those that it makes while it runs.

    By name also where this process knows another object by it: a launcher's worker has another ``__main__`` than the
    program, and Hydra executes a plugin's module anew.
    """

    def __init__(self, file: io.BytesIO, home: bool) -> None:
        super().__init__(file, protocol=4)
        self._home = home

    def reducer_override(self, obj: Any) -> Any:
        """Pickle's hook for objects that it is about to pickle in its own way."""
        if isinstance(obj, type) and self._has_name(obj):
            return (named, (obj.__module__, obj.__qualname__))
        return super().reducer_override(obj)

    def _has_name(self, kind: type) -> bool:
        if kind.__module__ == "__main__" and not self._home:
            return True  # the program's, which can't be asked from here
        try:
            return isinstance(named(kind.__module__, kind.__qualname__), type)
        except (ImportError, AttributeError):
            return False


def named(module: str, name: str) -> Any:
    """The class of that name in a module of the running program."""
    return operator.attrgetter(name)(importlib.import_module(module))
