"""All that is reachable from some objects, kept, and what is said of things that can't be put back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lr_lightning.optim.snapshot.keeper import Keeper, StandIn
from lr_lightning.optim.snapshot.reach import DATA, OWNED, WEAK, Place, Walk, path
from lr_lightning.optim.snapshot.tensors import Array, Tensors, WatchedArray, WatchedTensor, local
from lr_lightning.optim.snapshot.values import Fixed
from lr_lightning.optim.snapshot.visits import visit_object, visitor_of
from lr_lightning.optim.snapshot.watched import Position

# What is neither parameter, buffer nor optimizer state is copied up to so many bytes in all: attributes of modules,
# and what datasets and loaders hold. What is beyond is watched.
STATE_BYTES, DATA_BYTES = 256 << 20, 4 << 20


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


class Kept:
    """All that is reachable from some objects, as it is now; :meth:`restore` may be called many times.

    Args:
        roots: What to start from; the names begin the paths in :meth:`left`.
        device: Where copies of tensors are kept; None: where the tensors are.
        machinery: Types whose objects aren't followed (a trainer, its strategy, loggers and callbacks).
        data: Whether the roots are loaders and data sets: of them less is copied and more only watched.
        tensors: Whether tensors and arrays are kept as well.
        beside: Of the same moment, and restored just before this one. Its roots aren't followed again, tensors that it
            has a copy of aren't copied twice, and what others take the place of (an iterator that two hold) is its
            alone, so that both get the same.

    Attributes:
        stand_ins: What others take the place of, by id.
        roots: What those beside this one needn't follow again: a snapshot's model.
    """

    roots: tuple[Any, ...] = ()

    def __init__(
        self,
        roots: Mapping[str, Any],
        device: torch.device | str | None = None,
        machinery: tuple[type, ...] = (),
        data: bool = False,
        tensors: bool = True,
        beside: "Kept | None" = None,
    ) -> None:
        walk = Walk(visitor_of, machinery)
        # Lightning hangs methods of the module on each callback: a model is come to from any of them.
        for root in beside.roots if beside else ():
            walk.is_new(root)
        walk.run(roots, DATA if data else 0, default=visit_object)
        if not tensors:
            walk.tensors.clear()
        for key in beside.copied() if beside else ():
            walk.tensors.pop(key, None)
        self._take(walk, device, beside.stand_ins if beside else {})

    def _take(
        self, walk: Walk, device: torch.device | str | None, given: Mapping[int, StandIn] = MappingProxyType({})
    ) -> None:
        self._device, self._nbytes = device, 0
        self._failed: dict[str, str] = {path(place): why for place, why in walk.failed}
        self._allowance = {0: STATE_BYTES, DATA: DATA_BYTES}
        self._copies: dict[tuple[Any, ...], Tensor] = {}
        self._keepers: list[Keeper] = []
        replaced = {id(k.original): k for k in walk.keepers if isinstance(k, (Position, Fixed))}
        self.stand_ins: dict[int, StandIn] = {key: given.get(key, own) for key, own in replaced.items()}
        weak = dict(self.stand_ins)
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
        elsewhere = {id(own) for key, own in replaced.items() if key in given}
        self._keepers += [keeper for keeper in walk.keepers if id(keeper) not in elsewhere]
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

    def copied(self) -> set[int]:
        """Ids of the tensors that there are copies of and that still live."""
        tensors = (keeper.original() for keeper in self._keepers if isinstance(keeper, Tensors))
        return {id(tensor) for tensor in tensors if tensor is not None}

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
