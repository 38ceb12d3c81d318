"""Starts fits on several processes, with a time limit, and looks for what they leave behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from tests.helpers.spy import first_difference

ROOT = Path(__file__).parents[2]
LIMIT = 240  # seconds for one launch; many times what it takes


@dataclass
class Launched:
    """What a launch left.

    Attributes:
        returncode: Of the process that was started.
        output: Everything that all ranks printed.
        strays: Process ids that outlived it.
        folder: Where the ranks wrote.
    """

    returncode: int
    output: str
    strays: list[int]
    folder: Path
    reports: dict[str, dict] = field(default_factory=dict)

    def ranks(self, case, run="tested"):
        """The reports of all ranks on one fit."""
        paths = sorted(self.folder.glob(f"{case}/{run}-rank*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def differences(self, case):
        """Per rank, what differs between the fit with a range test and the one with its LR set by hand."""
        pairs = zip(self.ranks(case, "tested"), self.ranks(case, "plain"), strict=True)
        return [first_difference(*(SimpleNamespace(events=r["events"]) for r in pair)) for pair in pairs]


def launch(folder, *cases, limit=LIMIT, **environment):
    """Run cases of ``tests/distributed/cases.py`` in one job of as many processes as they ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    inherited = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "RANK")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "lr_lightning" / "plugins"), inherited.get("PYTHONPATH", "")])
    settings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "DS_ACCELERATOR": "cpu"}
    settings |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp"), "PYTHONPATH": paths, "LIMIT": str(limit)}
    with (folder / "output.txt").open("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.distributed.worker", str(folder), *cases],
            cwd=ROOT, env={**inherited, **settings, **environment}, start_new_session=True,
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            returncode = process.wait(limit)
        except subprocess.TimeoutExpired:
            returncode = None
        strays = settle(process.pid)
        output.seek(0)
        text = output.read()
    if returncode is None:
        raise AssertionError(f"{cases} took over {limit} s:\n{text[-6000:]}")
    return Launched(returncode, text, strays, folder)


def run(folder, *cases, **kwargs):
    """:func:`launch`, and insist on success."""
    launched = launch(folder, *cases, **kwargs)
    assert launched.returncode == 0, launched.output[-6000:]
    assert not launched.strays
    return launched


def settle(session, patience=15):
    """Wait for a session's processes to end, kill the rest, and return their ids."""
    deadline = time.monotonic() + patience
    while (left := members(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


def members(session):
    """Live processes of a session (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
