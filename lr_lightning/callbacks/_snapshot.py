"""A bit-exact copy of a training state, in memory, without communication: every rank copies what it holds.

Local shards are cloned, never gathered: reading a full state dict would need collectives, and on sharded strategies
even creates optimizer state that a run without range test doesn't have.
"""

import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lr_lightning.param_groups import unwrap

try:
    from torch.distributed.tensor import DTensor
except ImportError:  # torch 2.4
    from torch.distributed._tensor import DTensor

Restore = Callable[[], Any]

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
# Frameworks keep their training state in parameters, buffers and optimizers; their other attributes are machinery.
_FRAMEWORKS = frozenset(
    ("torch", "deepspeed", "lightning", "pytorch_lightning", "lightning_fabric", "builtins", "numpy")
)
_DEPTH = 3  # how far into user objects held by user objects plain attributes are followed
_BASE_ATTRIBUTES = frozenset(vars(nn.Module())) | frozenset(vars(LightningModule()))


def local(tensor: Tensor) -> Tensor:
    """The storage that this rank owns: a DTensor's (FSDP2, tensor parallel) shard, any other tensor itself."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def reshard(module: nn.Module) -> None:
    """Free FSDP2's gathered parameters.

    Its root group stays gathered after a forward without backward (validation, sanity check); ``parameters()`` would
    then give buffers that FSDP2 frees later, and copying into them crashes the process.
    """
    for fsdp in _fsdp2_modules(module):
        fsdp.reshard()


def _fsdp2_modules(module: nn.Module) -> Iterator[Any]:
    try:
        from torch.distributed.fsdp import FSDPModule
    except ImportError:  # torch < 2.6 has it under a private name only
        return
    yield from (m for m in module.modules() if isinstance(m, FSDPModule))


class Snapshot:
    """The state of a model, its optimizers, schedulers and precision plugin; :meth:`restore` may be called many times.

    Memory: one more copy of this rank's parameters, buffers and optimizer state (at the start of a fit there is none of
    the last).

    Args:
        model: The strategy's wrapped model.
        optimizers: Optimizers, wrapped or not.
        schedulers: Learning-rate schedulers.
        stateful: Further objects with ``state_dict`` and ``load_state_dict`` (a precision plugin with its GradScaler).
        holders: Further objects whose plain attributes are to come back (a datamodule).
        device: Where the tensors' copies are kept; None: where the tensors are.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Iterable[Any],
        schedulers: Iterable[Any] = (),
        stateful: Iterable[Any] = (),
        holders: Iterable[Any] = (),
        device: torch.device | str | None = None,
    ) -> None:
        self._model, self._device = model, device
        reshard(model)
        optimizers = list(optimizers)
        self._tensors = [
            (tensor, self._clone(tensor), tensor.requires_grad) for tensor in _unique(_tensors_of(model, optimizers))
        ]
        self._gradients = [(p, None if p.grad is None else self._clone(p.grad)) for p in model.parameters()]
        self._buffers = [(m, dict(m._buffers), m.training) for m in model.modules()]
        self._optimizers = [self._optimizer(unwrap(optimizer)) for optimizer in optimizers]
        self._stateful = [(s, copy.deepcopy(s.state_dict())) for s in (*schedulers, *stateful)]
        modules = (m for m in model.modules() if _is_users(m))
        self._plain = [plain_state(holder) for holder in (*modules, *holders) if holder is not None]

    def nbytes(self) -> int:
        """Bytes of the tensors' copies on this rank."""
        clones = [clone for _, clone, _ in self._tensors] + [g for _, g in self._gradients if g is not None]
        clones += [value for _, states, _ in self._optimizers for state in states.values() for value in _leaves(state)]
        return sum(clone.numel() * clone.element_size() for clone in clones)

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back, in place: whoever holds a reference to a tensor or a list sees the old values again."""
        reshard(self._model)
        self._restore_buffers()
        self._restore_tensors()
        self._restore_gradients()
        self._restore_optimizers()
        self._restore_stateful()
        self._restore_plain()

    def _restore_buffers(self) -> None:
        """A module may have put another tensor in a buffer's place."""
        for module, buffers, training in self._buffers:
            module._buffers.clear()
            module._buffers.update(buffers)
            module.training = training

    def _restore_tensors(self) -> None:
        for tensor, clone, requires_grad in self._tensors:
            local(tensor).copy_(clone)
            if tensor.is_leaf and tensor.is_floating_point():
                tensor.requires_grad_(requires_grad)

    def _restore_gradients(self) -> None:
        for parameter, gradient in self._gradients:
            if gradient is None or parameter.grad is None or local(parameter.grad).shape != gradient.shape:
                parameter.grad = None  # FSDP1 changes the shape; at a step's end such gradients are spent
            else:
                local(parameter.grad).copy_(gradient)

    def _restore_optimizers(self) -> None:
        for optimizer, states, groups in self._optimizers:
            for parameter in [p for p in optimizer.state if p not in states]:
                del optimizer.state[parameter]
            for parameter, state in states.items():
                _restore_mapping(optimizer.state[parameter], state)
            for group, saved in zip(optimizer.param_groups, groups, strict=True):
                _restore_mapping(group, saved, keep=("params",))

    def _restore_stateful(self) -> None:
        for stateful, state in self._stateful:
            stateful.load_state_dict(copy.deepcopy(state))

    def _restore_plain(self) -> None:
        for put_back in self._plain:
            put_back()

    def _clone(self, tensor: Tensor) -> Tensor:
        own = local(tensor)
        if self._device is None or own.device == torch.device(self._device):
            return own.clone()
        return own.to(self._device, copy=True)

    def _optimizer(self, optimizer: Any) -> tuple[Any, dict[Any, Any], list[dict[str, Any]]]:
        states = {parameter: self._clone_tree(state) for parameter, state in optimizer.state.items()}
        groups = [{k: self._clone_tree(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        return optimizer, states, groups

    def _clone_tree(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._clone(value)
        if isinstance(value, dict):
            return {k: self._clone_tree(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._clone_tree(v) for v in value)
        return copy.deepcopy(value)


def plain_state(holder: Any, small: bool = False, depth: int = _DEPTH) -> Restore:
    """Remember an object's plain attributes: numbers, strings, tensors, arrays, generators, and containers of them.

    Args:
        holder: An object with a ``__dict__``.
        small: Leave out tensors and arrays (a dataset holds its data in them).
        depth: How many levels of further user objects (meters, buffers, helpers) are followed.

    Returns:
        A function that puts them back, drops those that were added, and keeps the identity of what was there.
    """
    attributes = vars(holder)
    present = frozenset(attributes)
    keepers = {name: _keeper(value, small, depth) for name, value in attributes.items() if name not in _BASE_ATTRIBUTES}
    saved = {name: keeper for name, keeper in keepers.items() if keeper is not None}

    def put_back() -> None:
        for name in [n for n, v in attributes.items() if n not in present and n not in _BASE_ATTRIBUTES]:
            if _keeper(attributes[name], small=False, depth=1) is not None:
                del attributes[name]
        for name, keeper in saved.items():
            attributes[name] = keeper()

    return put_back


def _is_users(value: Any) -> bool:
    return type(value).__module__.split(".")[0] not in _FRAMEWORKS


def _keeper(value: Any, small: bool, depth: int) -> Restore | None:
    """A function that brings ``value`` back to what it is now and returns it; None: it isn't plain."""
    if isinstance(value, _SCALARS):
        return lambda: value
    if isinstance(value, Tensor):
        return None if small else _tensor_keeper(value)
    if isinstance(value, np.ndarray):
        return None if small or value.dtype.hasobject else _array_keeper(value)
    if isinstance(value, (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)):
        return _generator_keeper(value)
    if isinstance(value, (list, dict, set, deque, tuple)):
        return _container_keeper(value, small, depth) if len(value) <= 1000 or not small else None
    if depth > 0 and hasattr(value, "__dict__") and not isinstance(value, (nn.Module, type)) and _is_users(value):
        return _object_keeper(value, small, depth)
    return None


def _object_keeper(value: Any, small: bool, depth: int) -> Restore:
    put_back = plain_state(value, small, depth - 1)

    def back() -> Any:
        put_back()
        return value

    return back


def _tensor_keeper(tensor: Tensor) -> Restore:
    data = local(tensor).clone()

    def back() -> Tensor:
        with torch.no_grad():
            if local(tensor).shape == data.shape:
                local(tensor).copy_(data)
        return tensor

    return back


def _array_keeper(array: np.ndarray) -> Restore:
    data = array.copy()

    def back() -> np.ndarray:
        if array.shape == data.shape and array.flags.writeable:
            array[...] = data
        return array

    return back


def _generator_keeper(generator: Any) -> Restore:
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

    def back() -> Any:
        put(state)
        return generator

    return back


def _container_keeper(value: Any, small: bool, depth: int) -> Restore:
    """Containers are refilled in place; their non-plain items come back as they are, by identity."""

    def keeper(item: Any) -> Restore:
        return _keeper(item, small, depth) or (lambda: item)

    items: Any = {k: keeper(v) for k, v in value.items()} if isinstance(value, dict) else [keeper(v) for v in value]

    def back() -> Any:
        restored = {k: keep() for k, keep in items.items()} if isinstance(items, dict) else [keep() for keep in items]
        if not isinstance(value, tuple):
            value.clear()
            value.update(restored) if isinstance(value, (dict, set)) else value.extend(restored)
        return value

    return back


def _tensors_of(model: nn.Module, optimizers: list[Any]) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
    for optimizer in optimizers:
        for group in unwrap(optimizer).param_groups:
            yield from group["params"]
        yield from (p for p in unwrap(optimizer).state if isinstance(p, Tensor))
        # DeepSpeed ZeRO-3: the fp32 masters are in no param group between steps …
        yield from getattr(optimizer, "fp32_partitioned_groups_flat", None) or ()
    # … and the parameters are empty, their shards hang on them.
    for parameter in model.parameters():
        if getattr(parameter, "ds_tensor", None) is not None:
            yield parameter.ds_tensor


def _unique(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    seen: set[int] = set()
    for tensor in tensors:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _leaves(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, (dict, list, tuple)):
        for value in state.values() if isinstance(state, dict) else state:
            yield from _leaves(value)


def _restore_mapping(target: Any, saved: dict[str, Any], keep: tuple[str, ...] = ()) -> None:
    for key in [key for key in target if key not in saved and key not in keep]:
        del target[key]
    for key, value in saved.items():
        current = target.get(key)
        if isinstance(value, Tensor) and isinstance(current, Tensor) and local(current).shape == value.shape:
            local(current).copy_(value)
        else:
            target[key] = copy.deepcopy(value)


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
