"""Plain attributes of Python objects and global RNGs: what training steps change besides tensors of the model.

Everything here is put back in place: whoever holds a reference to a list, a tensor or a generator sees its old content.
"""

import copy
import random
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

try:
    from torch.distributed.tensor import DTensor
except ImportError:  # torch 2.4
    from torch.distributed._tensor import DTensor

Restore = Callable[[], Any]

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
# Frameworks keep their training state in parameters, buffers and optimizers; their other attributes are machinery.
_FRAMEWORKS = frozenset(
    ("torch", "deepspeed", "lightning", "pytorch_lightning", "lightning_fabric", "builtins", "numpy")
)
_DEPTH = 3  # how far into user objects held by user objects plain attributes are followed
_MANY = 1000  # a dataset's longer containers are data, not state
# Objects that hold one of these run with the world outside (a logging client, a pool): they can't be wound back.
_LIVE = frozenset(("_thread", "threading", "_io", "socket", "_socket", "queue", "asyncio", "multiprocessing"))
_BASE_ATTRIBUTES = frozenset(vars(nn.Module())) | frozenset(vars(LightningModule()))


def local(tensor: Tensor) -> Tensor:
    """The storage that this rank owns: a DTensor's (FSDP2, tensor parallel) shard, any other tensor itself."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_users(value: Any) -> bool:
    """Whether an object's class is the user's own or of a library that isn't training machinery."""
    return type(value).__module__.split(".")[0] not in _FRAMEWORKS


def plain_state(holder: Any, small: bool = False, skip: frozenset[str] = _BASE_ATTRIBUTES) -> Restore:
    """Remember an object's attributes: numbers, strings, tensors, arrays, generators, containers and objects of them.

    Args:
        holder: An object with a ``__dict__``.
        small: Leave out tensors, arrays and long containers (a dataset holds its data in them).
        skip: Names to leave alone.

    Returns:
        A function that puts them back, drops those that were added, and keeps the identity of what was there.
    """
    return Keeper(small=small)._attributes(holder, skip, _DEPTH)


class Keeper:
    """Remembers values; each object is followed once, so that shared and circular references end.

    Args:
        small: Leave out tensors, arrays and long containers.
        clone: How a tensor's own storage is copied.
        weak: Let go of tensors that nobody else holds any more, and make new ones of their copies when needed: a copy
            of optimizer state then costs its size once, not twice, while another state is in use.
    """

    def __init__(
        self, small: bool = False, clone: Callable[[Tensor], Tensor] | None = None, weak: bool = False
    ) -> None:
        self._small, self._weak = small, weak
        self._clone = clone or (lambda tensor: local(tensor).clone())
        self._seen: dict[int, Any] = {}  # by id; holds the objects, so that no id is given away twice

    def keep(self, value: Any, depth: int = _DEPTH) -> Restore:
        """A function that brings ``value`` back to what it is now and returns it; other objects come back as they are.

        Args:
            value: Anything.
            depth: How many levels of further user objects (meters, buffers, helpers) are followed.
        """
        if isinstance(value, _SCALARS) or id(value) in self._seen:
            return lambda: value
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            return (lambda: value) if self._small else self._tensor(value)
        if isinstance(value, np.ndarray):
            return (lambda: value) if self._small or value.dtype.hasobject else _array(value)
        if isinstance(value, _GENERATORS):
            return _generator(value)
        if isinstance(value, (list, dict, set, deque, tuple)):
            return (lambda: value) if self._small and len(value) > _MANY else self._container(value, depth)
        if depth > 0 and _is_followed(value):
            put_back = self._attributes(value, frozenset(), depth - 1)
            return lambda: (put_back(), value)[1]
        return lambda: value

    def _attributes(self, holder: Any, skip: frozenset[str], depth: int) -> Restore:
        attributes = vars(holder)
        saved = {name: self.keep(value, depth) for name, value in attributes.items() if name not in skip}

        def put_back() -> None:
            for name in [name for name in attributes if name not in saved and name not in skip]:
                del attributes[name]
            for name, keeper in saved.items():
                attributes[name] = keeper()

        return put_back

    def _tensor(self, tensor: Tensor) -> Restore:
        data, make = self._clone(tensor), _maker(tensor)
        held: Callable[[], Tensor | None] = weakref.ref(tensor) if self._weak else lambda: tensor

        @torch.no_grad()
        def back() -> Tensor:
            original = held()
            if original is None:
                return make(data)
            if local(original).shape == data.shape:
                local(original).copy_(data)
            return original

        return back

    def forget(self) -> None:
        """End the bookkeeping of what has been followed; what was kept stays kept."""
        self._seen.clear()

    def _container(self, value: Any, depth: int) -> Restore:
        """Containers are refilled in place."""
        if isinstance(value, dict):
            keepers: Any = {key: self.keep(item, depth) for key, item in value.items()}
        else:
            keepers = [self.keep(item, depth) for item in value]

        def back() -> Any:
            items: Any = (
                {k: keep() for k, keep in keepers.items()} if isinstance(value, dict) else [k() for k in keepers]
            )
            if not isinstance(value, tuple):
                value.clear()
                value.update(items) if isinstance(value, (dict, set)) else value.extend(items)
            return value

        return back


def _is_followed(value: Any) -> bool:
    if not hasattr(value, "__dict__") or isinstance(value, (nn.Module, type)) or not is_users(value):
        return False
    return not any(type(item).__module__.split(".")[0] in _LIVE for item in vars(value).values())


def _maker(tensor: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that makes a tensor like ``tensor`` of a copy of its own storage."""
    device = tensor.device
    if not isinstance(tensor, DTensor):
        return lambda data: data.to(device, copy=True)
    mesh, placements, shape, stride = tensor.device_mesh, tensor.placements, tensor.shape, tensor.stride()
    return lambda data: DTensor.from_local(
        data.to(device, copy=True), mesh, placements, run_check=False, shape=shape, stride=stride
    )


def _array(array: np.ndarray) -> Restore:
    data = array.copy()

    def back() -> np.ndarray:
        if array.shape == data.shape and array.flags.writeable:
            array[...] = data
        return array

    return back


def _generator(generator: Any) -> Restore:
    state: Any
    put: Callable[[Any], Any]
    if isinstance(generator, torch.Generator):
        state, put = generator.get_state(), generator.set_state
    elif isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        state, put = copy.deepcopy(bits.state), lambda s: setattr(bits, "state", s)
    elif isinstance(generator, np.random.RandomState):
        state, put = generator.get_state(), generator.set_state
    else:
        state, put = generator.getstate(), generator.setstate
    return lambda: (put(state), generator)[1]


def rng_state() -> Restore:
    """Remember the global RNGs of torch (all devices), numpy and Python; the returned function puts them back."""
    cpu, python, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    def put_back() -> None:
        torch.set_rng_state(cpu)
        random.setstate(python)
        np.random.set_state(numpy_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return put_back
