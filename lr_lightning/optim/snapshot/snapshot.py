"""The copy of a training state, and what it says of things that can't be copied."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lr_lightning.optim.param_groups import unwrap
from lr_lightning.optim.snapshot import kinds
from lr_lightning.optim.snapshot.containers import Some
from lr_lightning.optim.snapshot.keeper import Keeper, StandIn
from lr_lightning.optim.snapshot.reach import DATA, OWNED, WEAK, Place, Walk, path
from lr_lightning.optim.snapshot.tensors import Array, Tensors, WatchedArray, WatchedTensor, local
from lr_lightning.optim.snapshot.visits import visit_object, visitor_of
from lr_lightning.optim.snapshot.watched import Position

# What is neither parameter, buffer nor optimizer state is copied up to so many bytes in all: attributes of modules,
# and what datasets and loaders hold. What is beyond is watched.
STATE_BYTES, DATA_BYTES = 256 << 20, 4 << 20
# DeepSpeed's engine decides by them when to step, and saves them; its other attributes are machinery.
_ENGINE_COUNTERS = ("global_steps", "global_samples", "micro_steps", "skipped_steps")


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


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


class Kept:
    """All that is reachable from some objects, as it is now; :meth:`restore` may be called many times.

    Args:
        roots: What to start from; the names begin the paths in :meth:`left`.
        device: Where copies of tensors are kept; None: where the tensors are.
        machinery: Types whose objects aren't followed (a trainer, its strategy, loggers and callbacks).
        data: Whether the roots are loaders and data sets: of them less is copied and more only watched.
        tensors: Whether tensors and arrays are kept as well.
    """

    def __init__(
        self,
        roots: Mapping[str, Any],
        device: torch.device | str | None = None,
        machinery: tuple[type, ...] = (),
        data: bool = False,
        tensors: bool = True,
    ) -> None:
        walk = Walk(visitor_of, machinery)
        walk.run(roots, DATA if data else 0, default=visit_object)
        if not tensors:
            walk.tensors.clear()
        self._take(walk, device)

    def _take(self, walk: Walk, device: torch.device | str | None) -> None:
        self._device, self._nbytes = device, 0
        self._failed: dict[str, str] = {path(place): why for place, why in walk.failed}
        self._allowance = {0: STATE_BYTES, DATA: DATA_BYTES}
        self._copies: dict[tuple[Any, ...], Tensor] = {}
        self._keepers: list[Keeper] = []
        weak: dict[int, StandIn] = {id(k.iterator): k for k in walk.keepers if isinstance(k, Position)}
        for value, place, mode in walk.tensors.values():
            try:
                keeper = self._tensor(value, mode)
            except Exception as error:
                # Without these nothing is as before; and where memory has run out, another place for copies helps.
                if mode & OWNED or _out_of_memory(error):
                    raise
                self._failed[path(place)] = f"can't be copied: {type(error).__name__}: {error}"
                continue
            keeper.place = place
            self._keepers.append(keeper)
            if mode & WEAK and isinstance(keeper, Tensors):
                weak[id(value)] = keeper
        self._keepers += walk.keepers
        self._copies.clear()
        if weak:
            for keeper in self._keepers:
                keeper.stand_in(weak)
        # Whoever holds a stand-in asks for it when it is restored.
        self._keepers.sort(key=lambda keeper: not isinstance(keeper, StandIn))

    def _tensor(self, value: Any, mode: int) -> Keeper:
        if not mode & OWNED:
            size, kind = value.nbytes if isinstance(value, np.ndarray) else local(value).nbytes, mode & DATA
            if size > self._allowance[kind]:
                return WatchedArray(value) if isinstance(value, np.ndarray) else WatchedTensor(value)
            self._allowance[kind] -= size
        if isinstance(value, np.ndarray):
            return Array(value)
        return Tensors(value, self._clone, weak=bool(mode & WEAK) and not isinstance(value, nn.Parameter))

    def _clone(self, own: Tensor) -> Tensor:
        strided = own.layout is torch.strided and own.numel() > 0
        key = (own.data_ptr(), own.dtype, own.shape, own.stride(), own.device) if strided else (id(own),)
        if key in self._copies:  # the same memory under another name
            return self._copies[key]
        same = self._device is None or own.device == torch.device(self._device)
        clone = own.clone() if same else own.to(self._device, copy=True)
        self._nbytes += clone.numel() * clone.element_size()
        if strided:
            self._copies[key] = clone
        return clone

    def nbytes(self) -> int:
        """Bytes of the copies of tensors on this rank."""
        return self._nbytes

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back, in place: whoever holds a reference to a tensor or a list sees the old values again.

        A part that can't be put back doesn't keep the others from it; :meth:`left` tells of it.
        """
        for keeper in self._keepers:
            try:
                keeper.restore()
            except Exception as error:
                self._fail(keeper.place, f"{type(error).__name__}: {error}")

    def _fail(self, place: Place, why: str) -> None:
        self._failed[path(place)] = why

    @torch.no_grad()
    def left(self) -> list[str]:
        """What isn't as it was, each with its path and in words; to be asked after :meth:`restore`."""
        found = dict(self._failed)
        for keeper in self._keepers:
            try:
                why = keeper.left()
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
            if why:
                found.setdefault(path(keeper.place), f"{keeper.what} {why}".strip())
        return [f"{where} ({why})" for where, why in found.items()]


_NAMED = 12  # in one warning


def in_words(traces: list[str]) -> str:
    """A warning that names what couldn't be put back; empty if all could."""
    if not traces:
        return ""
    more = f" and {len(traces) - _NAMED} more" if len(traces) > _NAMED else ""
    return (
        "All that a range test can put back is as it was before the steps it took; these it can't put back: "
        f"{', '.join(traces[:_NAMED])}{more}"
    )


def reachable(roots: Mapping[str, Any], machinery: tuple[type, ...] = ()) -> list[Any]:
    """All objects that a snapshot of these roots would go into, those without state left out."""
    walk = Walk(visitor_of, machinery)
    walk.run(roots, default=visit_object)
    return walk.found()


class Snapshot(Kept):
    """The state of a model, its optimizers, schedulers and all that they hold, without communication.

    Every rank copies what it holds. Local shards are cloned, never gathered: reading a full state dict would need
    collectives, and on sharded strategies even creates optimizer state that a run without range test doesn't have.

    Memory: one more copy of this rank's parameters, buffers and optimizer state (at the start of a fit there is none of
    the last), and of what else the objects hold, up to 256 MiB.

    Args:
        model: The strategy's wrapped model.
        optimizers: Optimizers, wrapped or not.
        schedulers: Learning-rate schedulers.
        others: Further objects by name (a precision plugin, a datamodule).
        device: Where the tensors' copies are kept; None: where the tensors are.
        machinery: See :class:`Kept`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Iterable[Any],
        schedulers: Iterable[Any] = (),
        others: Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
        machinery: tuple[type, ...] = (),
    ) -> None:
        self._model = model
        reshard(model)
        optimizers = list(optimizers)
        walk = Walk(visitor_of, machinery)
        walk.run({"module": _inner(model), "model": model})
        engines = [optimizer for optimizer in optimizers if _is_deepspeeds(optimizer)]
        plain = [unwrap(optimizer) if _is_deepspeeds(optimizer) else optimizer for optimizer in optimizers]
        walk.run(_numbered("optimizer", plain), default=visit_object)
        # DeepSpeed ZeRO-3: the fp32 masters are in no param group between steps.
        masters = [getattr(engine, "fp32_partitioned_groups_flat", None) or () for engine in engines]
        walk.run(_numbered("masters", masters), OWNED)
        walk.run(
            _numbered("loss_scaler", [getattr(engine, "loss_scaler", None) for engine in engines]), 0, visit_object
        )
        if type(model).__module__.startswith("deepspeed"):
            walk.add(Some(model, _ENGINE_COUNTERS), (None, "", "model"))
        walk.run({**_numbered("scheduler", schedulers), **(others or {})}, default=visit_object)
        self._take(walk, device)

    def restore(self) -> None:
        """See :class:`Kept`."""
        reshard(self._model)
        super().restore()


def _numbered(name: str, values: Iterable[Any]) -> dict[str, Any]:
    values = list(values)
    return {name if len(values) == 1 else f"{name}[{i}]": value for i, value in enumerate(values)}


def _is_deepspeeds(optimizer: Any) -> bool:
    return type(optimizer).__module__.startswith("deepspeed")


def _inner(model: nn.Module) -> nn.Module:
    """The user's module inside of a strategy's wrappers, so that paths begin with it."""
    while kinds.is_wrapper(model) and isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model
