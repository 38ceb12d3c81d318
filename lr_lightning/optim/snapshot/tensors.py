"""Keepers of tensors and arrays: content, shape, storage and flags."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lr_lightning.optim.snapshot.keeper import Keeper, StandIn

try:
    from torch.distributed.tensor import DTensor
except ImportError:  # torch 2.4
    from torch.distributed._tensor import DTensor

Clone = Callable[[Tensor], Tensor]
_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def local(tensor: Tensor) -> Tensor:
    """The storage that this rank owns: a DTensor's (FSDP2, tensor parallel) shard, any other tensor itself."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def is_freed(tensor: Tensor) -> bool:
    """Whether a sharding strategy has taken the storage away; reading such a tensor may end the process."""
    return tensor.layout is torch.strided and tensor.untyped_storage().nbytes() < tensor.element_size() * _extent(
        tensor
    )


def _extent(tensor: Tensor) -> int:
    if tensor.numel() == 0:
        return 0
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.storage_offset() + reach + 1)


class Tensors(StandIn):
    """A tensor's content and what hangs on it: gradient, hooks, ``requires_grad``, class (lazy parameters).

    Args:
        tensor: The tensor.
        clone: Copies a tensor's own storage.
        weak: Let go of the tensor when nobody else holds it any more, and make a new one of the copy when asked: a copy
            of optimizer state then costs its size once, not twice, while another state is in use.
    """

    what = "a tensor"

    def __init__(self, tensor: Tensor, clone: Clone, weak: bool = False) -> None:
        self._class, self._leaf = type(tensor), tensor.is_leaf
        self._requires_grad = tensor.requires_grad
        self._held: Callable[[], Tensor | None] = weakref.ref(tensor) if weak else lambda: tensor
        self._make = _maker(tensor)
        self._saved: Tensor | None = None
        self._alias: Tensor | None = None
        self.grad = tensor.grad if self._leaf else None
        self._hooks = [getattr(tensor, name, None) for name in _HOOKS] if self._leaf else []
        if is_lazy(tensor):
            return
        own = local(tensor)
        if is_freed(own):
            return
        self._saved = clone(own)
        # The same storage, seen with the shape of now: the way back for a tensor that is resized or given other data.
        if not weak and own is not tensor and not isinstance(tensor, DTensor) and not hasattr(tensor, "ds_id"):
            self._alias = own

    @torch.no_grad()
    def restore(self) -> None:
        """See :class:`Keeper`."""
        tensor = self._held()
        if tensor is None:
            return
        if type(tensor) is not self._class:
            if self._saved is None:  # materialized meanwhile
                tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            tensor.__class__ = self._class
        if self._saved is not None:
            self._fill(tensor, self._saved)
        self._restore_flags(tensor)

    def _fill(self, tensor: Tensor, saved: Tensor) -> None:
        own = local(tensor)
        if self._alias is not None and not _same_memory(own, self._alias) and not is_freed(self._alias):
            tensor.data = own = self._alias
        if is_freed(own):
            return  # a strategy has taken the storage away since: the content is elsewhere
        if own.shape != saved.shape:
            if hasattr(tensor, "ds_id"):  # ZeRO-3 gathers and frees parameters itself; their content is elsewhere
                if saved.numel() == 0:  # small ones stay gathered from the first use on: those are the sweep's weights
                    tensor.partition()
                return
            raise RuntimeError(f"its shape is {tuple(own.shape)} and was {tuple(saved.shape)}")
        if not self._leaf and torch.equal(own, saved.to(own.device)):
            return  # a backward may still need it, and would refuse a tensor that was written to
        _copy(own, saved)

    def _restore_flags(self, tensor: Tensor) -> None:
        if not self._leaf:
            return
        if not tensor.is_leaf:
            tensor.detach_()
        if tensor.requires_grad != self._requires_grad:
            tensor.requires_grad_(self._requires_grad)
        if tensor.grad is not self.grad:
            try:
                tensor.grad = self.grad
            except RuntimeError:  # FSDP1 changes the parameter's shape; the gradient of the old one is spent
                tensor.grad = None
        for name, hooks in zip(_HOOKS, self._hooks, strict=True):
            if getattr(tensor, name, None) is not hooks:
                setattr(tensor, name, hooks)

    def original(self) -> Tensor | None:
        """The tensor that was copied; None if nobody holds it any more."""
        return self._held()

    def current(self) -> Tensor:
        """The tensor, or a new one of the copy where it is gone."""
        tensor = self._held()
        if tensor is None:
            assert self._saved is not None
            tensor = self._make(self._saved)
            self._held = weakref.ref(tensor)
        return tensor

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        tensor = self._held()
        if tensor is None or self._saved is None:
            return None
        own = local(tensor)
        if is_freed(own):
            return None
        if own.shape != self._saved.shape:
            return None if hasattr(tensor, "ds_id") else "its shape didn't come back"
        if own.device != self._saved.device or own.layout is not torch.strided or _bits_equal(own, self._saved):
            return None
        return "its content didn't come back"


class WatchedTensor(Keeper):
    """A tensor too big to copy: changes in place are noticed by its version."""

    what = "a tensor too big to be copied"

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._before = tensor, self._look(tensor)

    @staticmethod
    def _look(tensor: Tensor) -> tuple[Any, ...]:
        return tensor._version, tensor.shape, tensor.dtype, tensor.data_ptr()

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return None if self._look(self._tensor) == self._before else "was changed in place"


class Array(Keeper):
    """A NumPy array's content and shape; an array of objects keeps their order and identity."""

    what = "an array"

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.saved = array, array.copy()

    def restore(self) -> None:
        """See :class:`Keeper`."""
        if not self.saved.dtype.hasobject and np.array_equal(self.array, self.saved, equal_nan=False):
            return  # perhaps a read-only one
        if self.array.shape != self.saved.shape:
            self.array.resize(self.saved.shape, refcheck=False)
        self.array[...] = self.saved


class WatchedArray(Keeper):
    """An array too big to copy: a sample of it is compared."""

    what = "an array too big to be copied"
    SAMPLE = 4096

    def __init__(self, array: np.ndarray) -> None:
        self._array, self._before = array, self._look(array)

    def _look(self, array: np.ndarray) -> tuple[Any, ...]:
        if array.dtype.hasobject:
            return (array.shape,)
        a_side = max(1, round(self.SAMPLE ** (1 / max(1, array.ndim))))
        some = array[tuple(slice(None, None, max(1, size // a_side)) for size in array.shape)]
        return array.shape, array.dtype, hash(some.tobytes())

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return None if self._look(self._array) == self._before else "was changed in place"


def _same_memory(first: Tensor, second: Tensor) -> bool:
    if first.layout is not torch.strided or second.layout is not torch.strided:
        return first.layout is second.layout and first.shape == second.shape
    return (first.data_ptr(), first.shape, first.stride(), first.dtype) == (
        second.data_ptr(), second.shape, second.stride(), second.dtype,
    )  # fmt: skip


def _copy(own: Tensor, saved: Tensor) -> None:
    """Each element of an expanded tensor once: it can't be written to as a whole."""
    if own.layout is torch.strided:
        for dim, (size, stride) in enumerate(zip(own.shape, own.stride(), strict=True)):
            if stride == 0 and size > 1:
                own, saved = own.narrow(dim, 0, 1), saved.narrow(dim, 0, 1)
    own.copy_(saved)


def _bits_equal(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first, second) or bool(((first == second) | ((first != first) & (second != second))).all())


def _maker(tensor: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that makes a tensor like ``tensor`` of a copy of its own storage."""
    device = tensor.device
    if isinstance(tensor, nn.Parameter) or not isinstance(tensor, DTensor):
        return lambda data: data.to(device, copy=True)
    mesh, placements, shape, stride = tensor.device_mesh, tensor.placements, tensor.shape, tensor.stride()
    return lambda data: DTensor.from_local(
        data.to(device, copy=True), mesh, placements, run_check=False, shape=shape, stride=stride
    )
