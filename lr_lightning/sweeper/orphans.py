"""Processes that end with the one that started them, also after its kill -9."""

import os
import threading
import time
from collections.abc import Callable

PATROL = 0.5
"""Seconds between two looks at the parent process."""

_watched: set[int] = set()


def end_with(parent: int, end: Callable[[], object]) -> None:
    """Call ``end`` in a thread when ``parent`` is no longer this process's parent; once a process."""
    if os.getpid() not in _watched:
        _watched.add(os.getpid())
        threading.Thread(target=_watch, args=(parent, end), daemon=True, name="lr-lightning-parent").start()


def _watch(parent: int, end: Callable[[], object]) -> None:
    while os.getppid() == parent:
        time.sleep(PATROL)
    end()
