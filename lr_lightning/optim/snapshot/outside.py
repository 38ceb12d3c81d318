"""What steps do outside of this process: files they write, programs they start, connections they open.

None of it can be put back, so it is named. While a sweep takes its steps, Python's own ways to the outside are replaced
by functions that note who calls them with what, and call the real ones. An audit hook (PEP 578) would see all of them,
but can't be taken off again: each ``id()`` of the process, of which copying and compiling take many, would cost .5 µs
more for good.
"""

import builtins
import contextlib
import functools
import io
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from lr_lightning.optim.snapshot import kinds
from lr_lightning.optim.snapshot.keeper import ABSENT

# Owner and name of a function, and of its arguments those that are paths that it may change: place and keyword.
_PATHS: tuple[tuple[Any, str, tuple[tuple[int, str], ...]], ...] = (
    (builtins, "open", ((0, "file"),)),
    (io, "open", ((0, "file"),)),
    (os, "open", ((0, "path"),)),
    (os, "remove", ((0, "path"),)),
    (os, "unlink", ((0, "path"),)),
    (os, "truncate", ((0, "path"),)),
    (os, "mkdir", ((0, "path"),)),
    (os, "rmdir", ((0, "path"),)),
    (os, "rename", ((0, "src"), (1, "dst"))),
    (os, "replace", ((0, "src"), (1, "dst"))),
    (os, "link", ((1, "dst"),)),
    (os, "symlink", ((1, "dst"),)),
    (shutil, "rmtree", ((0, "path"),)),
    (sqlite3, "connect", ((0, "database"),)),
    (torch, "save", ((1, "f"),)),  # opens files in C++
)
# Functions that do something outside by being called, with the argument that tells most of it.
_ACTS: tuple[tuple[Any, str, tuple[int, str] | None], ...] = (
    (subprocess.Popen, "__init__", (1, "args")),
    (os, "system", (0, "command")),
    (os, "fork", None),
    (socket.socket, "connect", (1, "address")),
    (socket.socket, "sendto", (2, "address")),
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Code that writes for itself, whoever calls it: compilers' caches, imports, a loader's workers.
_FOR_THEMSELVES = (
    "torch._inductor", "torch._dynamo", "torch._functorch", "torch.utils.cpp_extension", "torch.utils.data",
    "triton", "numba", "importlib", "_frozen_importlib", "matplotlib.font_manager",
)  # fmt: skip
_NO_FILES = ("/dev/", "/proc/", "/sys/")  # nothing that lasts

MOST = 1000
"""Paths that are looked at; a step that writes another file each time is known by far fewer."""


class Outside:
    """What this thread does outside of the process, as far as Python's own functions see it."""

    def __init__(self) -> None:
        self._paths: dict[str, tuple[Any, str]] = {}
        self._acts: dict[str, str] = {}

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """From here to the end of the block everything counts that this thread does."""
        me = _me()
        before = _noting.get(me)
        with _swapped():
            _noting[me] = self
            try:
                yield
            finally:
                del _noting[me]
                if before is not None:
                    _noting[me] = before

    def note_paths(self, name: str, paths: list[Any]) -> None:
        """Take in that a function is about to be called with paths that it may change."""
        named = [os.path.abspath(os.fsdecode(path)) for path in paths if isinstance(path, (str, bytes, os.PathLike))]
        new = [path for path in named if path not in self._paths and not path.startswith(_NO_FILES)]
        if new and len(self._paths) < MOST and (by := _by()) is not None:
            self._paths |= {path: (_look(path), f"{name} in {by}") for path in new}

    def note_act(self, name: str, what: str) -> None:
        """Take in that a function is about to be called."""
        if what not in self._acts and len(self._acts) < MOST and (by := _by()) is not None:
            self._acts[what] = f"{name} in {by}"

    def left(self) -> list[str]:
        """What isn't as it was, each with its path and in words; a file that came and went is none."""
        found = []
        for path, (before, how) in self._paths.items():
            now = _look(path)
            if now != before:
                what = "changed" if before and now else "removed" if before else "created"
                found.append(f"{path} (a file {what}: {how})")
        return [*found, *(f"{told} ({how})" for told, how in self._acts.items())]


_noting: dict[tuple[int, int], Outside] = {}
"""Who takes in what which thread does; a forked process's is its own affair."""
_lock, _users, _originals = threading.Lock(), [0], list[tuple[Any, str, Any]]()


def _me() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


@contextlib.contextmanager
def _swapped() -> Iterator[None]:
    with _lock:
        _users[0] += 1
        if _users[0] == 1:
            _swap_in()
    try:
        yield
    finally:
        with _lock:
            _users[0] -= 1
            if _users[0] == 0:
                _swap_out()


def _swap_in() -> None:
    for owner, name, places in _PATHS:
        _swap(owner, name, functools.partial(_note_paths, owner, name, places))
    for owner, name, place in _ACTS:
        _swap(owner, name, functools.partial(_note_act, owner, name, place))


def _swap(owner: Any, name: str, note: Callable[..., None]) -> None:
    original = getattr(owner, name, None)
    if original is None:  # another operating system
        return

    @functools.wraps(original)
    def told(*args: Any, **kwargs: Any) -> Any:
        one = _noting.get(_me())
        if one is not None:
            with contextlib.suppress(Exception):
                note(one, args, kwargs)
        return original(*args, **kwargs)

    _originals.append((owner, name, vars(owner).get(name, ABSENT)))
    setattr(owner, name, told)


def _swap_out() -> None:
    while _originals:
        owner, name, original = _originals.pop()
        if original is ABSENT:  # inherited
            delattr(owner, name)
        else:
            setattr(owner, name, original)


def _note_paths(
    owner: Any, name: str, places: tuple[tuple[int, str], ...], one: Outside, args: Any, kwargs: Mapping[str, Any]
) -> None:
    if name == "open" and not _is_written(_argument((1, "flags" if owner is os else "mode"), args, kwargs)):
        return
    if any(kwargs.get(key) is not None for key in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
        return  # not from the working directory
    one.note_paths(_full(owner, name), [_argument(place, args, kwargs) for place in places])


def _note_act(
    owner: Any, name: str, place: tuple[int, str] | None, one: Outside, args: Any, kwargs: Mapping[str, Any]
) -> None:
    full = _full(owner, name)
    one.note_act(full, full if place is None else str(_argument(place, args, kwargs))[:80])


def _full(owner: Any, name: str) -> str:
    if isinstance(owner, type):
        return owner.__name__ if name == "__init__" else f"{owner.__name__}.{name}"
    return name if owner in (builtins, io) else f"{owner.__name__}.{name}"


def _argument(place: tuple[int, str], args: Any, kwargs: Mapping[str, Any]) -> Any:
    number, keyword = place
    return args[number] if number < len(args) else kwargs.get(keyword)


def _is_written(how: str | int | None) -> bool:
    return bool(how & _WRITES) if isinstance(how, int) else bool(how and set(how) & set("wax+"))


def _look(path: str) -> Any:
    """What tells that a file has been written to; None: it isn't there. A folder's files speak for themselves."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return found.st_mode, found.st_ino
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns


def _by() -> str | None:
    """Who does it: the nearest function that is the user's, or else an installed package's; None: nobody's.

    The stack ends for this at the sweep, which is this package's, and so do its own records.
    """
    frame, package = sys._getframe(1), None
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        if kinds.is_users(name):
            return name_of(frame)
        if name.startswith(_FOR_THEMSELVES):  # also with an installed package's help, such as a lock
            return None
        if name.startswith("lr_lightning.") and name != __name__:
            return package
        if package is None and not _is_library(name):
            package = name_of(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return package


def _is_library(name: str) -> bool:
    first = name.split(".")[0]
    return first in sys.stdlib_module_names or first in ("torch", "lr_lightning") or kinds.is_machinery(name)


def name_of(frame: types.FrameType) -> str:
    """The function that a frame runs, with its object's class."""
    owner, name = frame.f_locals.get("self"), frame.f_code.co_name
    return f"{type(owner).__name__}.{name}" if owner is not None else name
