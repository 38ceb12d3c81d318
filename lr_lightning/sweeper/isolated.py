"""One clean process a trial: multirun with ddp, and trials that cannot take the search down.

Under ``-m`` Lightning starts the other ranks with the whole command line, so that each of them runs a sweep of its own.
Here the job of a sweep starts the app once more as a plain run with the job's composed config; ranks then join that.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lr_lightning.sweeper.files import read_json, write_json
from lr_lightning.sweeper.orphans import end_with

RESULT = "LR_LIGHTNING_RESULT"
OVERRIDES = "LR_LIGHTNING_OVERRIDES"
PARENT = "LR_LIGHTNING_PARENT"
FILE = "trial_result.json"
GRACE = 10.0
"""Seconds between asking a trial to end and ending it."""
# What an earlier fit in this process, or the launcher's scheduler, left for processes of its own.
_FOREIGN = (
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
)

Task = TypeVar("Task", bound=Callable[..., Any])


def isolated_trials(task: Task) -> Task:
    """Decorator between ``@hydra.main`` and the task: under multirun each job is a clean process with all its ranks.

    A plain run is as it was. The task's return value must be a number or None; what it prints and writes lands in the
    job's folder and on the terminal as before.

    >>> @isolated_trials
    ... def main(cfg): ...
    """
    line = entry_point(task)
    end_with_parent()

    @functools.wraps(task)
    def run(config: Any) -> Any:
        if wanted():
            return run_isolated(config, line)
        return leave(task(config))

    return run  # type: ignore[return-value]


def end_with_parent() -> None:
    """In a trial's process, watch the process that waits for it; does nothing elsewhere.

    A search that is killed -9 can't stop its trials. They would run on for nobody, beside those of the resumed search.
    """
    parent = os.environ.pop(PARENT, None)  # not for what this process starts: ranks, workers, other apps
    if parent is not None:
        end_with(int(parent), _end_group)


def _end_group() -> None:
    os.killpg(0, signal.SIGTERM)  # this trial's own group with its ranks, see _wait()
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def entry_point(task: Callable[..., Any]) -> list[str]:
    """How to start the app that ``task`` belongs to: ``python -m package.module``, or ``python file.py``.

    A module must start the app under ``if __name__ == "__main__"``.
    """
    if task.__module__ != "__main__":
        return [sys.executable, "-m", task.__module__]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return [sys.executable, "-m", str(spec.name).removesuffix(".__main__")]
    return [sys.executable, os.path.abspath(task.__code__.co_filename)]


def wanted() -> bool:
    """Whether this process is a job of a sweep, not the trial itself."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def task_overrides() -> list[str]:
    """The overrides that this run, or the sweep's job that started it, was given."""
    from hydra.core.hydra_config import HydraConfig

    given = os.environ.get(OVERRIDES)
    if given:
        return [str(item) for item in json.loads(given)]
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def leave(score: Any) -> Any:
    """Leave the score where the job that started this process looks for it; every rank may call it, rank 0 writes."""
    path = os.environ.get(RESULT)
    if path and os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0":
        write_json(Path(path), {"score": None if score is None else repr(float(score))})
    return score


def run_isolated(config: Any, line: Sequence[str], extra: Sequence[str] = ()) -> float | None:
    """Run a trial in a clean process and wait for it.

    Args:
        config: The job's composed config.
        line: Command that starts the app, see :func:`entry_point`.
        extra: Further overrides.

    Returns:
        The score that it left.

    Raises:
        RuntimeError: If the process ends with an error or leaves no score.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    job = HydraConfig.get()
    out = Path(job.runtime.output_dir)
    (out / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, out / ".hydra" / "config.yaml")
    result = out / FILE
    result.unlink(missing_ok=True)
    overrides = [f"hydra.run.dir='{out}'", "hydra.output_subdir=null", "hydra.mode=RUN"]
    overrides += [f"hydra.job.num={job.job.num}", f"hydra.job.id='{job.job.id}'"]
    group = out / ".hydra" / "hydra" / "job_logging"
    group.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(job.job_logging, group / "trial.yaml")  # the app's own, which its config file may have changed
    overrides.append("hydra/job_logging=trial")
    where = ["--config-path", str(out / ".hydra"), "--config-name", "config"]
    environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
    environment |= {RESULT: str(result), OVERRIDES: json.dumps(list(job.overrides.task)), PARENT: str(os.getpid())}
    code = _wait([*line, *where, *overrides, *extra], environment, job.runtime.cwd)
    left = read_json(result)
    if code != 0 or left is None:
        raise RuntimeError(f"the trial's process ended with code {code}" + ("" if left else " and left no score"))
    return None if left["score"] is None else float(left["score"])


def _wait(line: Sequence[str], environment: dict[str, str], folder: str) -> int:
    """Run a command in a process group of its own; whatever ends this process early ends all of the group."""
    process = subprocess.Popen(line, env=environment, cwd=folder, start_new_session=True)
    try:
        return process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        raise
