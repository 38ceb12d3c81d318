"""A process that has imported everything once and forks a child for each job, so that fifty fits cost fifty fits.

The parent of the children counts what they report and kills them, by pid, where a plan says so. Linux only, like the
look-out for strays.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT = 120.0
"""Seconds a job may take; many times what any takes."""

_pipe = -1
# Marks seen, calls counted. A range test puts back what a training step's functions mention, but not this.
_counts = memoryview(bytearray(16)).cast("q")
_SEEN, _CALLS = 0, 1
_fatal: dict[str, Any] = {}


def mark(name: str) -> None:
    """Called by a job: tells the parent how far it is; a planned death by count of calls starts its count here."""
    if _pipe < 0:
        return
    sys.setprofile(None)
    os.write(_pipe, f"{name} {_counts[_CALLS]}\n".encode())
    if _fatal.get("count"):
        _counts[_CALLS] = 0
        sys.setprofile(_count)
    elif "calls" in _fatal and _counts[_SEEN] >= _fatal["mark"]:
        _counts[_CALLS] = -_fatal["calls"] if _counts[_SEEN] == _fatal["mark"] else _counts[_CALLS]
        sys.setprofile(_count)
    elif "functions" in _fatal and _counts[_SEEN] >= _fatal["mark"]:
        sys.setprofile(_die_in)
    _counts[_SEEN] += 1


def _count(*_: Any) -> None:
    """Called at each call and return, of Python and C functions; a count from below dies at 0."""
    _counts[_CALLS] += 1
    if _counts[_CALLS] == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def _die_in(_: Any, event: str, function: Any) -> None:
    if event == "c_call" and function.__name__ in _fatal["functions"]:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Ended:
    """What became of a job.

    Attributes:
        statuses: Exit code of each rank, negative for a signal.
        marks: Rank 0's marks, each with the seconds since the job began and, if counted, the calls since the last.
        overdue: Whether the time limit ended it.
        strays: Processes of its sessions that outlived it (they are killed then).
        folder: Where its ranks wrote.
    """

    statuses: list[int]
    marks: list[tuple[str, float, int]]
    overdue: bool
    strays: list[int]
    folder: Path
    output: list[str] = field(default_factory=list)

    @property
    def report(self) -> dict[str, Any]:
        """What rank 0's job returned."""
        return self.reports[0]

    @property
    def reports(self) -> list[dict[str, Any]]:
        """What each rank's job returned."""
        return [json.loads((self.folder / f"report-{rank}.json").read_text()) for rank in range(len(self.statuses))]


class Warm:
    """The client: ``with Warm() as warm: warm.run("module:function", folder, …)``."""

    def __enter__(self) -> "Warm":
        paths = os.pathsep.join([str(ROOT), str(ROOT / "lr_lightning" / "plugins"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.chaos.warm"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def run(
        self,
        job: str,
        folder: Path,
        *,
        ranks: int = 1,
        kill: dict[str, Any] | None = None,
        limit: float = LIMIT,
        environment: dict[str, str] | None = None,
        ok: bool = False,
        **arguments: Any,
    ) -> Ended:
        """Run ``job(**arguments)`` in ``ranks`` forked children, in ``folder``.

        Args:
            job: ``module:function``; what it returns (JSON) is the report.
            folder: Its working folder, made where it is missing.
            ranks: Processes; each has ``LOCAL_RANK`` and friends in its environment if there are several.
            kill: ``mark``: index of the mark after which ``rank`` (default 0) is killed, and then either ``seconds``
                (the parent sends SIGKILL) or ``calls`` (the child sends it to itself at that Python or C call) or
                ``functions`` (the same, when it is about to call a C function of one of these names).
                ``{"count": True}`` kills nobody and counts those calls.
            limit: Seconds until everything is killed.
            environment: Set in the children.
            ok: Insist on success.
            arguments: The job's.
        """
        folder.mkdir(parents=True, exist_ok=True)
        request = {"job": job, "arguments": arguments, "folder": str(folder), "ranks": ranks, "kill": kill or {}}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(
            json.dumps({**request, "limit": limit, "environment": environment or {}}, default=str) + "\n"
        )
        self._process.stdin.flush()
        ended = Ended(**json.loads(self._process.stdout.readline()), folder=folder)
        ended.output = [(folder / f"output-{rank}.txt").read_text() for rank in range(ranks)]
        assert not ended.overdue, f"{job} took over {limit} s:\n" + "\n".join(text[-4000:] for text in ended.output)
        assert not ended.strays, f"{job} left processes behind"
        assert not ok or ended.statuses == [0] * ranks, "\n".join(text[-4000:] for text in ended.output)
        return ended


# The server


def main() -> None:
    """Import, warm up, and serve requests from stdin until it closes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a job prints is no answer
    for name in ("tests.conftest", "tests.chaos.fits"):
        importlib.import_module(name)
    importlib.import_module("tests.chaos.fits").warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(_serve(request)) + "\n")
        answers.flush()
    os._exit(0)  # torch takes seconds to tidy up


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    begun = time.monotonic()
    port = _free_port()
    children = [_fork(request, rank, port) for rank in range(request["ranks"])]
    marks, overdue = _watch(request, children, begun)
    strays = [pid for pid, _ in children for pid in settle(pid)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in children]
    return {"statuses": statuses, "marks": marks, "overdue": overdue, "strays": strays}


def _watch(
    request: dict[str, Any], children: list[tuple[int, int]], begun: float
) -> tuple[list[tuple[str, float, int]], bool]:
    """Read marks until every child has closed its pipe; kill where the plan says so."""
    kill, limit = request["kill"], begun + request["limit"]
    victim, fd_of_victim = children[kill.get("rank", 0)]
    marks: list[tuple[str, float, int]] = []
    seen, due = 0, None
    pipes = {fd: b"" for _, fd in children}
    while pipes:
        now = time.monotonic()
        if due is not None and now >= due:
            os.kill(victim, signal.SIGKILL)
            due = None
        if now >= limit:
            for pid, _ in children:
                os.killpg(pid, signal.SIGKILL)
            return marks, True
        wait = (due if due is not None else min(limit, now + 1.0)) - now
        for fd in select.select(list(pipes), [], [], max(0.0, wait))[0]:
            data = os.read(fd, 65536)
            lines = (pipes[fd] + data).split(b"\n")
            if not data:
                del pipes[fd]
                os.close(fd)
                continue
            pipes[fd] = lines.pop()
            if fd == children[0][1]:
                now = time.monotonic() - begun
                marks += [(name, now, int(calls)) for name, calls in (line.decode().split() for line in lines)]
            if fd == fd_of_victim:
                seen += len(lines)
                if "seconds" in kill and seen > kill["mark"] >= seen - len(lines):
                    due = time.monotonic() + kill["seconds"]
    return marks, False


def _fork(request: dict[str, Any], rank: int, port: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    global _pipe, _fatal
    code = 1
    try:
        os.setsid()
        os.close(reading)
        _pipe = writing
        _fatal = request["kill"] if request["kill"].get("rank", 0) == rank else {}
        _child(request, rank, port)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _child(request: dict[str, Any], rank: int, port: int) -> None:
    folder = Path(request["folder"])
    os.chdir(folder)
    output = os.open(folder / f"output-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    if request["ranks"] > 1:
        ranks = {"LOCAL_RANK": rank, "RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": request["ranks"], "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in ranks.items()}, MASTER_ADDR="127.0.0.1")
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # it is cached from the server's environment
    module, _, function = request["job"].partition(":")
    found = getattr(importlib.import_module(module), function)(**request["arguments"])
    (folder / f"report-{rank}.json").write_text(json.dumps(found))


def settle(session: int, patience: float = 15.0) -> list[int]:
    """Wait for a session's processes to end, kill the rest by pid, and return their ids."""
    deadline = time.monotonic() + patience
    while (left := members(session)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left


def members(session: int) -> list[int]:
    """Live processes of a session."""
    return [pid for pid, sid in _sessions() if sid == session]


def _sessions() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                yield int(stat.parent.name), int(sid)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    from tests.chaos import warm  # the jobs' `mark` must be this module's, not __main__'s

    warm.main()
