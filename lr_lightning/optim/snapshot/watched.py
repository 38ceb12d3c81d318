"""What can't be put back, or only by a substitute: iterators, generators, files, sockets, processes.

It is looked at before and after, and named if it isn't as it was.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import queue
import socket
import sqlite3
import subprocess
import threading
import types
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from multiprocessing.connection import _ConnectionBase
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

from lr_lightning.optim.snapshot.keeper import Keeper, StandIn, same

OUTSIDE = (socket.socket, subprocess.Popen, BaseProcess, Executor, _ConnectionBase, Thread)
"""Objects that run with the world outside. What holds one of them goes by the world's clock: winding back its counters
would set them apart from the other side's."""


def runs_outside(value: Any) -> bool:
    """Whether an object holds one that runs with the world outside."""
    return any(isinstance(item, OUTSIDE) for item in getattr(value, "__dict__", {}).values())


_BUILT_IN: tuple[Any, ...] = (
    [],
    (),
    "",
    b"",
    bytearray(),
    {},
    {}.keys(),
    {}.values(),
    {}.items(),
    set(),
    range(0),
    range(1 << 70),
)
ITERATORS: tuple[type, ...] = (
    *{type(iter(one)) for one in _BUILT_IN},
    *{type(reversed(one)) for one in _BUILT_IN if hasattr(one, "__reversed__")},
    *(enumerate, map, filter, zip),
    *(kind for kind in vars(itertools).values() if isinstance(kind, type) and hasattr(kind, "__next__")),
    type(iter(int, 1)),
)

HASHES: tuple[type, ...] = (
    *{type(hashlib.new(name)) for name in ("sha256", "blake2b", "sha3_256")},
    *(type(zlib.compressobj()), type(zlib.decompressobj())),
)
"""Objects that take in bytes, and can be copied."""

_FRAMES = ("gi_frame", "cr_frame", "ag_frame")


def copy_iterator(iterator: Any) -> Any:
    """An iterator that goes on where this one is, over the same things.

    Raises:
        TypeError: If one of its parts is a generator, or it can't be copied in this release of Python.
    """
    if isinstance(iterator, types.GeneratorType):
        raise TypeError("a generator can't be copied")
    make, parts, *state = iterator.__reduce__()
    made = make(*(copy_iterator(part) if isinstance(part, Iterator) else part for part in parts))
    for one in state:
        made.__setstate__(tuple(_copied(part) for part in one) if isinstance(one, tuple) else one)
    return made


def _copied(part: Any) -> Any:
    if isinstance(part, list):
        return part[:]  # itertools.cycle adds to its own
    return copy_iterator(part) if isinstance(part, Iterator) else part


def parts_of(iterator: Any) -> list[Any]:
    """What an iterator goes over, and the functions that it calls; empty where Python doesn't tell."""
    try:
        return [part for part in iterator.__reduce__()[1] if not isinstance(part, Iterator)]
    except TypeError:
        return []


class Position(StandIn):
    """Something that goes on and can be copied where it is, an iterator or a hash: its holders get a copy.

    Args:
        original: The object.
        copied: Copies it.

    Attributes:
        original: The object.

    Raises:
        TypeError: If it can't be copied.
    """

    def __init__(self, original: Any, copied: Callable[[Any], Any] = copy_iterator) -> None:
        self.original, self._copied, self._saved = original, copied, copied(original)
        self._now: Any = original

    def restore(self) -> None:
        """See :class:`Keeper`."""
        self._now = self._copied(self._saved)

    def current(self) -> Any:
        """The same copy for all holders."""
        return self._now


class Watched(Keeper):
    """An object that is looked at, before and after.

    Args:
        value: The object.
        look: Tells what can be seen of it; unequal answers mean that it has changed.
        what: What it is, in words.
    """

    def __init__(self, value: Any, look: Callable[[Any], Any], what: str) -> None:
        self._value, self._look, self.what = value, look, what
        self._before = self._seen()

    def _seen(self) -> Any:
        try:
            return self._look(self._value)
        except Exception as error:  # a closed file, a connection of another thread
            return type(error)

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return None if self._seen() == self._before else "went on"


class Unseen(Keeper):
    """Something outside of this process, or of which nothing can be seen from here."""

    def __init__(self, what: str) -> None:
        self.what = what

    def left(self) -> str | None:
        """Always: nobody can tell."""
        return "may have gone on"


class File(Watched):
    """A file; the position of one that is only read comes back."""

    def __init__(self, value: Any) -> None:
        super().__init__(value, lambda file: (file.closed, file.tell()), "a file")

    def restore(self) -> None:
        """See :class:`Keeper`."""
        with contextlib.suppress(OSError, ValueError):
            if self._value.readable() and not self._value.writable() and isinstance(self._before, tuple):
                self._value.seek(self._before[1])


class Memory(Keeper):
    """A file in memory."""

    what = "a file in memory"

    def __init__(self, value: Any) -> None:
        self._value, self._content, self._position = value, value.getvalue(), value.tell()

    def restore(self) -> None:
        """See :class:`Keeper`."""
        self._value.seek(0)
        self._value.truncate()
        self._value.write(self._content)
        self._value.seek(self._position)


def watch(value: Any) -> Keeper | None:
    """A keeper of something that isn't plain data; None: of no state that is known of."""
    if isinstance(value, (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)):
        return Watched(value, _frame, "a generator")
    if isinstance(value, (io.StringIO, io.BytesIO)):
        return None if value.closed else Memory(value)
    if isinstance(value, io.IOBase):
        return File(value)
    if isinstance(value, sqlite3.Connection):
        return Watched(value, lambda connection: connection.total_changes, "a database")
    if isinstance(value, OUTSIDE):
        return Unseen(f"a {type(value).__name__}")
    for kind, look in _LOOKS:
        if isinstance(value, kind):
            return Watched(value, look, f"a {type(value).__name__}")
    return None


# Of these another thread may be waiting: they aren't put back behind its back.
_LOOKS: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (queue.SimpleQueue, lambda one: one.qsize()),
    (threading.Event, lambda one: one.is_set()),
    (threading.Semaphore, lambda one: one._value),
    (type(csv.reader([])), lambda one: one.line_num),
)
LOOKED_AT = tuple(kind for kind, _ in _LOOKS)


def watch_frame(value: Any) -> Keeper:
    """A keeper of a pandas table or series, whose own state is its package's affair: its shape and a sample."""
    return Watched(value, lambda frame: (frame.shape, frame.tail(100).to_json()), f"a {type(value).__name__}")


def watch_writer(value: Any) -> Keeper:
    """A keeper of a writer of event files, which come about in another thread: what it has on disk after flushing."""

    def look(writer: Any) -> Any:
        writer.flush()
        return {path: path.stat().st_size for path in Path(writer.log_dir).glob("*tfevents*")}

    return Watched(value, look, "a SummaryWriter")


class _Same:
    """Objects that are compared by identity, and held: a freed one's address would be given away again."""

    def __init__(self, objects: Iterable[Any]) -> None:
        self._objects = list(objects)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and same(self._objects, other._objects)

    __hash__ = None  # type: ignore[assignment]


def _frame(generator: Any) -> Any:
    frame = frame_of(generator)
    return frame and (frame.f_lasti, list(frame.f_locals), _Same(frame.f_locals.values()))


def frame_of(generator: Any) -> Any:
    """A generator's or coroutine's frame, None when it has ended."""
    return next((frame for name in _FRAMES if (frame := getattr(generator, name, None)) is not None), None)
