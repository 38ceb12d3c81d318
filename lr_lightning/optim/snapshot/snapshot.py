"""The copy of a training state: a model with its optimizers and schedulers, on any strategy."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from lr_lightning.optim.param_groups import unwrap
from lr_lightning.optim.snapshot import kinds
from lr_lightning.optim.snapshot.containers import Some
from lr_lightning.optim.snapshot.kept import Kept
from lr_lightning.optim.snapshot.reach import OWNED, Walk
from lr_lightning.optim.snapshot.visits import visit_object, visitor_of

# DeepSpeed's engine decides by them when to step, and saves them; its other attributes are machinery.
_ENGINE_COUNTERS = ("global_steps", "global_samples", "micro_steps", "skipped_steps")


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
        self.roots = _inner(model), model
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
