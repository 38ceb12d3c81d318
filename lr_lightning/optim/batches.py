"""Whole copies of batches: a training step may change its own in place, and a range test shows a batch many times."""

import copy
import gc
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor

_LEAVES = (str, bytes, int, float, complex, type(None), type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def copy_batch(batch: Any) -> Any:
    """A batch that shares no tensor, container or object with the original.

    Tensors are cloned by themselves and not with their storage, which may be a whole dataset's; everything else is
    copied as :func:`copy.deepcopy` does.

    Args:
        batch: Anything that a loader gives: tensors, containers, dataclasses, objects of any class.

    Raises:
        TypeError: If something in it can't be copied (a generator, an open file, a lock); the message names it.

    >>> batch = {"x": torch.ones(2)}
    >>> copied = copy_batch(batch)
    >>> copied["x"].zero_().tolist(), batch["x"].tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    try:
        return copy.deepcopy(batch, {id(tensor): _clone(tensor) for tensor in _tensors_in(batch)})
    except Exception as error:  # a class's own __deepcopy__ or __reduce__ may raise anything
        raise TypeError(f"a batch of type {type(batch).__name__} can't be copied: {error}") from error


def can_copy(batch: Any) -> bool:
    """Whether :func:`copy_batch` works on it."""
    try:
        copy_batch(batch)
    except TypeError:
        return False
    return True


def _clone(tensor: Tensor) -> Tensor:
    if tensor.is_leaf and tensor.requires_grad:  # a clone would be no leaf: its gradient would be nowhere
        return tensor.detach().clone().requires_grad_()
    return tensor.clone()


def _tensors_in(batch: Any) -> Iterator[Tensor]:
    seen: dict[int, Any] = {}
    todo = [batch]
    while todo:
        item = todo.pop()
        if isinstance(item, _LEAVES) or id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, torch.Tensor):
            yield item
        else:
            todo += gc.get_referents(item)
