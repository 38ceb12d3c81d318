"""One search, one folder: a second process that would run the same jobs there is refused."""

import logging
import os
import platform
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from lr_lightning.sweeper.errors import SearchRefused
from lr_lightning.sweeper.files import read_json, write_json

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds to wait for a holder that has just died: workers of its launcher keep the lock until they have ended, too."""


def hold(folder: Path) -> BaseFileLock | None:
    """Hold a search's shared folder as long as this process lives; the system frees it with the process.

    Returns:
        The lock, to be kept; None on a filesystem without locks.

    Raises:
        SearchRefused: If another process holds it; the message says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / "lock"), folder / "holder.json"
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        found = read_json(holder) or {}
        who = f"process {found.get('pid', '?')} on {found.get('host', '?')}"
        raise SearchRefused(f"{folder.parent} is being searched by {who}: wait for its end, or stop it") from None
    except (NotImplementedError, OSError) as error:
        log.warning("%s can't be locked (%s): don't search in it twice at a time", folder, error)
        return None
    write_json(holder, {"pid": os.getpid(), "host": platform.node()})
    return lock
