"""One clean process a trial: multirun with ddp, and trials that cannot take the search down.

Under ``-m`` Lightning starts the other ranks with the whole command line, so that each of them runs a sweep of its own.
Here the job of a sweep starts the user's program once more for that one job, as Hydra's own rerun does; ranks then join
that.
"""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from lr_lightning.sweeper import handover
from lr_lightning.sweeper.errors import TrialRefused
from lr_lightning.sweeper.orphans import end_with
from lr_lightning.sweeper.program import Program, running

PARENT = "LR_LIGHTNING_PARENT"
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

    A plain run is as it was. A trial gets the job as the task would have: config with its types, ``HydraConfig``,
    working directory, environment and logging. The program is started again as it was started, with Python's options
    and the arguments that it takes for itself, under any decorators; it must start the app under ``if __name__ ==
    "__main__"``. The task returns its score, a number or a mapping of numbers; what it prints and writes lands in the
    job's folder and on the terminal as before.

    >>> @isolated_trials
    ... def main(cfg): ...
    """
    program = running()
    if handover.handed() is not None:
        _become_trial()

    inner: Any = task
    while isinstance(inner, functools.partial):  # Hydra looks for the config beside the function, not in functools
        inner = inner.func

    @functools.wraps(inner)
    def run(config: Any) -> Any:
        job = handover.handed()
        if job is not None:
            os.chdir(job["cwd"])
            return _as_trial(task, config)
        return run_isolated(config, program) if wanted() else task(config)

    return run  # type: ignore[return-value]


def wanted() -> bool:
    """Whether this process is a job of a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _become_trial() -> None:
    """What a trial's process needs before Hydra reads its job."""
    from hydra.core.utils import setup_globals

    setup_globals()  # Hydra's resolvers, which its rerun leaves out
    parent = os.environ.pop(PARENT, None)  # not for what this process starts: ranks, workers, other apps
    if parent is not None:
        # A search that is killed -9 can't stop its trials. They would run on beside those of the resumed search.
        end_with(int(parent), _end_group)
    before = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        handover.leave_error(error)
        before(kind, error, trace)

    sys.excepthook = tell


def _as_trial(task: Callable[[Any], Any], config: Any) -> Any:
    """Run the task and leave its score, or why there is none."""
    try:
        value = task(config)
        handover.leave(value)
    except (Exception, SystemExit) as error:
        handover.leave_error(error)
        raise
    return value


def _end_group() -> None:
    os.killpg(0, signal.SIGTERM)  # this trial's own group with its ranks, see _wait()
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def run_isolated(config: Any, program: Program | None) -> Any:
    """Run a trial in a clean process and wait for it.

    Args:
        config: The job's composed config.
        program: What starts the app, as it was where the task was decorated.

    Returns:
        What its task returned.

    Raises:
        RuntimeError: If there is no program to start, or its process ends with an error or leaves no score; the
            message has the trial's own error.
        TrialRefused: If the trial found that no other could have a score either.
    """
    from hydra.core.hydra_config import HydraConfig

    if program is None:
        raise RuntimeError(
            "isolated_trials starts the program again for each trial; a notebook or python -c has none: put the app "
            "into a file, or leave the decorator out"
        )
    now = running()  # a launcher's worker is another program, with other arguments
    home = now is not None and now.command == program.command
    own = now.own if now is not None and home else program.own
    arguments, more = handover.hand_over(config, home)
    environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN} | more | {PARENT: str(os.getpid())}
    code = _wait([*program.command, *own, *arguments], environment, HydraConfig.get().runtime.cwd)
    left = handover.taken(more)
    if left is not None and left.get("refused"):
        raise TrialRefused(left["error"])
    if left is not None and "error" in left:
        raise RuntimeError(f"the trial's process ended with code {code}: {left['error']}")
    if left is None or code != 0:
        name = " ".join(program.command[1:])
        why = "" if code else f": does {name} start its app under if __name__ == '__main__'?"
        raise RuntimeError(f"the trial's process ended with code {code}" + ("" if left else f" and left no score{why}"))
    return handover.value_of(left["value"])


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
