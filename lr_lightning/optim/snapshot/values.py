"""Keepers of what is neither a container nor a tensor: slots, closures' variables, bytes, C data, random generators."""

import ctypes
from collections.abc import Callable, Iterable, Mapping
from types import CellType
from typing import Any

from lr_lightning.optim.rng import generator_state
from lr_lightning.optim.snapshot.keeper import ABSENT, Keeper, StandIn


class Slots(Keeper):
    """What an object holds in ``__slots__``."""

    def __init__(self, owner: Any, members: Iterable[Any]) -> None:
        self.owner = owner
        self.saved = [(member, _slot(member, owner)) for member in members]
        self._stand_ins: dict[int, StandIn] = {}

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        for index, (member, value) in enumerate(self.saved):
            if id(value) in stand_ins:
                self._stand_ins[index] = stand_ins[id(value)]
                self.saved[index] = (member, None)

    def restore(self) -> None:
        """See :class:`Keeper`."""
        for index, (member, saved) in enumerate(self.saved):
            wanted = self._stand_ins[index].current() if index in self._stand_ins else saved
            now = _slot(member, self.owner)
            if now is wanted:
                continue
            if wanted is ABSENT:
                member.__delete__(self.owner)
            else:
                member.__set__(self.owner, wanted)

    def children(self) -> list[tuple[str, Any]]:
        """Names and values of the slots that hold something."""
        return [(member.__name__, value) for member, value in self.saved if value is not ABSENT]


class Cell(Keeper):
    """A closure's variable."""

    def __init__(self, cell: CellType) -> None:
        self.cell, self.saved = cell, _cell(cell)
        self._stand_in: StandIn | None = None

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        self._stand_in = stand_ins.get(id(self.saved))

    def restore(self) -> None:
        """See :class:`Keeper`."""
        wanted = self._stand_in.current() if self._stand_in else self.saved
        if _cell(self.cell) is wanted:
            return
        if wanted is ABSENT:
            del self.cell.cell_contents
        else:
            self.cell.cell_contents = wanted


class Fixed(StandIn):
    """A tuple that holds what others take the place of: its holders get a tuple of these."""

    def __init__(self, value: tuple[Any, ...]) -> None:
        self.original, self._now = value, value
        self._stand_ins: dict[int, StandIn] = {}

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        self._stand_ins = {number: stand_ins[id(x)] for number, x in enumerate(self.original) if id(x) in stand_ins}

    def restore(self) -> None:
        """See :class:`Keeper`; the others may not have been restored yet."""
        self._now = ()

    def current(self) -> Any:
        """The same tuple for all holders."""
        if not self._now and self._stand_ins:
            items = [self._stand_ins[i].current() if i in self._stand_ins else x for i, x in enumerate(self.original)]
            make = getattr(type(self.original), "_make", type(self.original))  # a named tuple's
            self._now = make(items)
        return self._now or self.original


class Part(Keeper):
    """What an object holds as a whole: a function's defaults, a partial's arguments.

    Args:
        read: Gives it.
        write: Puts it there.
    """

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], Any]) -> None:
        self._read, self._write, self._saved = read, write, read()
        self._stand_in: StandIn | None = None

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        self._stand_in = stand_ins.get(id(self._saved))

    def restore(self) -> None:
        """See :class:`Keeper`."""
        wanted = self._stand_in.current() if self._stand_in else self._saved
        if self._read() is not wanted:
            self._write(wanted)


class Bytes(Keeper):
    """The content of a ``bytearray`` or an ``array.array``."""

    def __init__(self, value: Any) -> None:
        self.value, self._saved = value, value[:]

    def restore(self) -> None:
        """See :class:`Keeper`."""
        self.value[:] = self._saved


class CData(Keeper):
    """Memory that ctypes has a view of: a process's own, or shared with others (``multiprocessing.Value``)."""

    def __init__(self, value: Any) -> None:
        self.value, self._saved = value, bytes(memoryview(value).cast("B"))

    def restore(self) -> None:
        """See :class:`Keeper`."""
        ctypes.memmove(ctypes.addressof(self.value), self._saved, len(self._saved))


class Scripted(Keeper):
    """Attributes of a TorchScript module, which are in C++: what is read of them is a copy, but for tensors."""

    def __init__(self, module: Any) -> None:
        self._inner = module._c
        self.saved = {name: self._inner.getattr(name) for name in module._concrete_type.get_attributes()}

    def restore(self) -> None:
        """See :class:`Keeper`."""
        for name, value in self.saved.items():
            self._inner.setattr(name, value)


class Generator(Keeper):
    """A random number generator's state."""

    what = "a random number generator"

    def __init__(self, value: Any) -> None:
        self._state, self._put = generator_state(value)

    def restore(self) -> None:
        """See :class:`Keeper`."""
        self._put(self._state)


def _slot(member: Any, owner: Any) -> Any:
    try:
        return member.__get__(owner)
    except AttributeError:
        return ABSENT


def _cell(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT
