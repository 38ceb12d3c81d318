"""What is done with each kind of object that a walk comes to: its keeper, and where to go on.

Followed are attributes, slots, items, closures' variables, default arguments, bound objects and what hangs on tensors;
of a user's own code class attributes and global variables as well (see ``shared``). Machinery (trainers, strategies,
loggers, other packages' internals) isn't.
"""

import ctypes
import functools
import io
import random
import sqlite3
import threading
import types
from array import array
from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Sampler

from lr_lightning.optim.rng import GENERATORS
from lr_lightning.optim.snapshot import kinds
from lr_lightning.optim.snapshot.containers import Attributes, Elements, Hooks, Items, Members, States
from lr_lightning.optim.snapshot.reach import DATA, OWNED, SHARED, WEAK, Place, Visitor, Walk
from lr_lightning.optim.snapshot.shared import (
    visit_cache,
    visit_class,
    visit_closure,
    visit_context_variable,
    visit_function,
)
from lr_lightning.optim.snapshot.values import Bytes, CData, Cell, Fixed, Generator, Part, Scripted, Slots
from lr_lightning.optim.snapshot.watched import (
    HASHES,
    ITERATORS,
    LOOKED_AT,
    OUTSIDE,
    Position,
    Unseen,
    Watched,
    frame_of,
    parts_of,
    runs_outside,
    watch,
    watch_frame,
    watch_writer,
)


def visit_object(walk: Walk, value: Any, place: Place, mode: int) -> None:
    """Attributes and slots."""
    members = kinds.slots_of(type(value))
    if members:
        slots = Slots(value, members)
        walk.add(slots, place)
        walk.follow(place, ".", slots.children(), mode)
    space = _namespace(value)
    if space is not None:
        root = place is None or place[0] is None
        if not root and runs_outside(value):
            walk.add(Unseen(f"a {type(value).__name__}, which runs with the world outside"), place)
            return
        _attributes(walk, value, space, place, mode)


def _namespace(value: Any) -> dict[str, Any] | None:
    try:
        space = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return space if type(space) is dict or (isinstance(space, dict) and space is not value) else None


def _attributes(walk: Walk, value: Any, space: dict[str, Any], place: Place, mode: int) -> None:
    walk.add(Attributes(value, space), place)
    walk.follow(place, ".", list(space.items()), mode)


def _module(walk: Walk, module: Any, place: Place, mode: int) -> None:
    space = vars(module)
    registries = {name: space.get(name, {}) for name in ("_parameters", "_buffers", "_modules")}
    for registry in registries.values():
        if isinstance(registry, dict) and walk.is_new(registry):  # a TorchScript module's are in C++
            walk.add(Items(registry), place)
    for name, flag in (("_modules", 0), ("_parameters", OWNED), ("_buffers", OWNED)):
        walk.follow(place, ".", list(registries[name].items()), mode & ~DATA | (0 if mode & SHARED else flag))
    if kinds.is_wrapper(module):
        return
    walk.add(Attributes(module, space), place)
    if "_concrete_type" in space:
        scripted = Scripted(module)
        walk.add(scripted, place)
        walk.follow(place, ".", list(scripted.saved.items()), mode)
    _hooks(walk, space, place, mode)
    walk.follow(place, ".", list(space.items()), mode)
    walk.follow(place, ".", _slots_children(walk, module, place), mode)


def _hooks(walk: Walk, space: dict[str, Any], place: Place, mode: int) -> None:
    for name, registry in space.items():
        base, hooks, _ = name.rpartition("_hooks")
        if hooks and isinstance(registry, dict) and walk.is_new(registry):
            walk.add(Hooks(registry, space.get(f"{base}_hooks", registry)), (place, ".", name))
            walk.follow((place, ".", name), "[", list(registry.items()), mode)


def _slots_children(walk: Walk, value: Any, place: Place) -> list[tuple[str, Any]]:
    members = kinds.slots_of(type(value))
    if not members:
        return []
    slots = Slots(value, members)
    walk.add(slots, place)
    return slots.children()


def _optimizer(walk: Walk, optimizer: Any, place: Place, mode: int) -> None:
    space, state = vars(optimizer), getattr(optimizer, "state", None)
    if isinstance(state, dict) and walk.is_new(state):
        walk.add(States(state), (place, ".", "state"))
        for held in state.values():
            items = held.items() if isinstance(held, dict) and walk.is_new(held) else [("state", held)]
            walk.follow((place, ".", "state[…]"), "[", list(items), OWNED | WEAK)
        walk.follow(place, "(", [("state", item) for item in state if isinstance(item, Tensor)], OWNED)
    walk.add(Attributes(optimizer, space), place)
    walk.follow(place, ".", [("param_groups", space.get("param_groups"))], OWNED)
    walk.follow(place, ".", list(space.items()), mode)


def _loader(walk: Walk, loader: Any, place: Place, mode: int) -> None:
    space = vars(loader)
    walk.add(Attributes(loader, space), place)
    # Its iterator has a position of its own, and workers: whoever draws from it elsewhere takes a loader's twin.
    held = [item for item in space.items() if not _is_loader_iterator(item[1])]
    held.sort(key=lambda item: item[0].startswith("_"))  # Lightning keeps the arguments under private names as well
    walk.follow(place, ".", held, mode | DATA)


def _is_loader_iterator(value: Any) -> bool:
    return type(value).__name__.endswith("DataLoaderIter")


def _loader_iterator(walk: Walk, iterator: Any, place: Place, mode: int) -> None:
    walk.add(Watched(iterator, lambda one: one._num_yielded, "an iterator of a DataLoader"), place)


def _data(walk: Walk, value: Any, place: Place, mode: int) -> None:
    space = _namespace(value)
    walk.follow(place, ".", _slots_children(walk, value, place), mode | DATA)
    if space is not None:
        _attributes(walk, value, space, place, mode | DATA)


def _dict(walk: Walk, value: dict[Any, Any], place: Place, mode: int) -> None:
    items = Items(value)
    walk.add(items, place)
    _holder(walk, value, items.saved.items(), place, mode)


def _elements(walk: Walk, value: Any, place: Place, mode: int) -> None:
    elements = Elements(value)
    walk.add(elements, place)
    _holder(walk, value, enumerate(elements.saved), place, mode)


def _set(walk: Walk, value: set[Any], place: Place, mode: int) -> None:
    members = Members(value)
    walk.add(members, place)
    _holder(walk, value, enumerate(members.saved), place, mode)


def _fixed(walk: Walk, value: Any, place: Place, mode: int) -> None:
    if isinstance(value, tuple) and len(value) <= kinds.MANY and any(isinstance(item, _REPLACED) for item in value):
        walk.add(Fixed(value), place)
    _holder(walk, value, enumerate(value), place, mode)


def _holder(walk: Walk, value: Any, items: Iterable[tuple[Any, Any]], place: Place, mode: int) -> None:
    many = len(value) > kinds.MANY
    if many:
        items = list(items)
        if not any(walk.has_state(item) for item in {type(item): item for _, item in items}.values()):
            return
    walk.follow(place, "[", items, mode, late=many)
    if type(value) not in (dict, list, tuple, set, deque, frozenset):
        visit_object(walk, value, place, mode)


_BOOKS = ("ds_id", "_is_flat_param")
"""Marks of parameters that DeepSpeed's ZeRO-3 and FSDP1 keep their books on."""


def _tensor(walk: Walk, tensor: Tensor, place: Place, mode: int) -> None:
    walk.tensors[id(tensor)] = [tensor, place, mode]
    space = vars(tensor)
    if not any(hasattr(tensor, mark) for mark in _BOOKS):
        walk.add(Items(space), place)
        walk.follow(place, ".", list(space.items()), mode)
    elif isinstance(shard := space.get("ds_tensor"), Tensor):
        walk.follow(place, ".", [("ds_tensor", shard)], OWNED)
    if tensor.is_leaf:
        hung = [("grad", tensor.grad), ("_backward_hooks", tensor._backward_hooks)]
        walk.follow(place, ".", [item for item in hung if item[1] is not None], mode)


def _array(walk: Walk, value: np.ndarray, place: Place, mode: int) -> None:
    walk.tensors[id(value)] = [value, place, mode]
    if value.dtype.hasobject:
        walk.follow(place, "[", enumerate(value.flat), mode, late=value.size > kinds.MANY)
    if type(value) is not np.ndarray:
        visit_object(walk, value, place, mode)


def _function(walk: Walk, value: Any, place: Place, mode: int) -> None:
    if kinds.is_machinery(value.__module__):
        return
    visit_closure(walk, value, place, mode)
    visit_function(walk, value, place, mode)


def _cell(walk: Walk, value: types.CellType, place: Place, mode: int) -> None:
    cell = Cell(value)
    walk.add(cell, place)
    holder, _, key = place or (None, "", "")
    walk.follow(holder, "(", [(key, cell.saved)], mode)


def _method(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.follow(place, ".", [("__self__", value.__self__), ("__func__", getattr(value, "__func__", None))], mode)


def _partial(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.add(
        Part(lambda: value.args, lambda args: value.__setstate__((value.func, args, value.keywords, vars(value)))),
        place,
    )
    walk.follow(place, ".", [("func", value.func), ("args", value.args), ("keywords", value.keywords)], mode)
    visit_object(walk, value, place, mode)


def _iterator(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.follow(place, "(", [("part", part) for part in parts_of(value)], mode)
    try:
        walk.add(Position(value), place)
    except TypeError:
        try:
            inner = value.__reduce__()[1]
        except TypeError:  # Python 3.14 doesn't show them any more
            walk.add(Unseen("an iterator"), place)
            return
        walk.follow(place, "(", [("part", part) for part in inner], mode)


def _watched(walk: Walk, value: Any, place: Place, mode: int) -> None:
    keeper = watch(value)
    if keeper is not None:
        walk.add(keeper, place)
    frame = frame_of(value)
    if frame is not None:
        walk.follow(place, "(", list(frame.f_locals.items()), mode)


def _generator(walk: Walk, value: Any, place: Place, mode: int) -> None:
    if not isinstance(value, random.SystemRandom):
        walk.add(Generator(value), place)


def _threads_own(walk: Walk, value: threading.local, place: Place, mode: int) -> None:
    space = vars(value)  # this thread's
    walk.add(Items(space), place)
    walk.follow(place, ".", list(space.items()), mode)


def _c_data(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.add(CData(value), place)


def _shared_c_data(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.follow(place, ".", [("_obj", vars(value).get("_obj"))], mode)


def _hash(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.add(Position(value, lambda one: one.copy()), place)


def _read_only(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.follow(place, "[", list(value.items()), mode)


def _frame(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.add(watch_frame(value), place)


def _event_writer(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.add(watch_writer(value), place)


def _bytes(walk: Walk, value: Any, place: Place, mode: int) -> None:
    walk.add(Bytes(value), place)


_WATCHED = (
    types.GeneratorType,
    types.AsyncGeneratorType,
    types.CoroutineType,
    io.IOBase,
    sqlite3.Connection,
    *OUTSIDE,
    *LOOKED_AT,
)
_REPLACED = (*ITERATORS, *HASHES, tuple)  # what is in these may be another object after a restore
# In this order: a subclass goes with the first that fits.
_BEFORE: tuple[tuple[Any, Visitor], ...] = (
    (type, visit_class), (Tensor, _tensor), (np.ndarray, _array), (GENERATORS, _generator), (nn.Module, _module),
    (dict, _dict),
    ((list, deque), _elements), (set, _set), ((tuple, frozenset), _fixed), ((bytearray, array), _bytes),
    (types.FunctionType, _function), ((types.MethodType, types.BuiltinMethodType), _method), (types.CellType, _cell),
    (functools.partial, _partial), (functools._lru_cache_wrapper, visit_cache), (ContextVar, visit_context_variable),
    (threading.local, _threads_own), (ITERATORS, _iterator), (HASHES, _hash), (_WATCHED, _watched),
    ((ctypes._SimpleCData, ctypes.Structure, ctypes.Union, ctypes.Array), _c_data),
    (types.MappingProxyType, _read_only),
)  # fmt: skip
# By name: whoever has such an object has imported its package, and nobody else shall.
_BY_NAME = {
    "multiprocessing.sharedctypes": _shared_c_data, "pandas.core.frame": _frame, "pandas.core.series": _frame,
    "torch.utils.tensorboard.writer": _event_writer,
}  # fmt: skip
_AFTER: tuple[tuple[Any, Visitor], ...] = (
    (Optimizer, _optimizer), (DataLoader, _loader), ((Dataset, Sampler), _data)
)  # fmt: skip


def visitor_of(cls: type) -> Visitor | None:
    """The visitor of a type; None: it holds no state, or is machinery."""
    if kinds.is_plain(cls):
        return None
    for types_, visitor in _BEFORE:
        if issubclass(cls, types_):
            return visitor
    if cls.__name__.endswith("DataLoaderIter"):
        return _loader_iterator
    if cls.__module__ in _BY_NAME:
        return _BY_NAME[cls.__module__]
    if kinds.is_machinery(cls.__module__):
        return None
    for types_, visitor in _AFTER:
        if issubclass(cls, types_):
            return visitor
    return visit_object if cls.__dictoffset__ or kinds.slots_of(cls) else None
