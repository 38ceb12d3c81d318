"""A bit-exact copy of a training state, in memory, without communication: every rank copies what it holds.

Local shards are cloned, never gathered: reading a full state dict would need collectives, and on sharded strategies
even creates optimizer state that a run without range test doesn't have.
"""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lr_lightning.optim.attributes import Keeper, Restore, is_users, local, plain_state
from lr_lightning.optim.param_groups import unwrap

# Kept by _optimizer(); the rest of an optimizer's attributes are plain (a wrapper's own step counter).
_OPTIMIZER_SKIP = frozenset(("param_groups", "state", "defaults"))
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
        self._model, self._device, self._nbytes = model, device, 0
        reshard(model)
        _refuse_lazy(model)
        optimizers = list(optimizers)
        self._tensors = [
            (tensor, self._clone(tensor), tensor.requires_grad) for tensor in _unique(_tensors_of(model, optimizers))
        ]
        self._gradients = [(p, None if p.grad is None else (p.grad, self._clone(p.grad))) for p in model.parameters()]
        self._buffers = [(m, dict(m._buffers), m.training) for m in model.modules()]
        self._optimizers = [self._optimizer(unwrap(optimizer)) for optimizer in optimizers]
        self._stateful = [(s, copy.deepcopy(s.state_dict())) for s in (*schedulers, *stateful)]
        self._plain = [plain_state(unwrap(optimizer), skip=_OPTIMIZER_SKIP) for optimizer in optimizers]
        self._plain += [plain_state(m) for m in model.modules() if is_users(m)]
        self._plain += [plain_state(holder) for holder in holders if holder is not None]
        self._plain += _deepspeed_state(model, optimizers)

    def nbytes(self) -> int:
        """Bytes of the copies of parameters, buffers, gradients and optimizer state on this rank."""
        return self._nbytes

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
            if tensor.is_leaf and (tensor.is_floating_point() or tensor.is_complex()):
                tensor.requires_grad_(requires_grad)

    def _restore_gradients(self) -> None:
        """Gradients matter in the middle of an accumulation window only; elsewhere they are spent."""
        for parameter, saved in self._gradients:
            if saved is None or saved[0].shape != parameter.shape:  # FSDP1 changes the shape
                parameter.grad = None
            else:
                gradient, clone = saved
                local(gradient).copy_(clone)
                parameter.grad = gradient

    def _restore_optimizers(self) -> None:
        for put_back in self._optimizers:
            put_back()

    def _restore_stateful(self) -> None:
        for stateful, state in self._stateful:
            stateful.load_state_dict(copy.deepcopy(state))

    def _restore_plain(self) -> None:
        for put_back in self._plain:
            put_back()

    def _clone(self, tensor: Tensor) -> Tensor:
        own = local(tensor)
        same = self._device is None or own.device == torch.device(self._device)
        clone = own.clone() if same else own.to(self._device, copy=True)
        self._nbytes += clone.numel() * clone.element_size()
        return clone

    def _optimizer(self, optimizer: Any) -> Restore:
        """State and groups; parameters are among the model's tensors already and come back by identity."""
        keeper = Keeper(clone=self._clone, weak=True)
        states = {p: {k: keeper.keep(v) for k, v in state.items()} for p, state in optimizer.state.items()}
        groups = [
            (group, list(group["params"]), {k: keeper.keep(v) for k, v in group.items() if k != "params"})
            for group in optimizer.param_groups
        ]
        keeper.forget()

        def put_back() -> None:
            current = dict(optimizer.state)
            optimizer.state.clear()
            for parameter, keepers in states.items():
                restored = {key: keep() for key, keep in keepers.items()}
                optimizer.state[parameter] = current.get(parameter, {})
                optimizer.state[parameter].clear()
                optimizer.state[parameter].update(restored)
            for group, parameters, keepers in groups:
                for key in [key for key in group if key not in keepers and key != "params"]:
                    del group[key]
                group["params"][:] = parameters
                group.update({key: keep() for key, keep in keepers.items()})
            optimizer.param_groups[:] = [group for group, _, _ in groups]

        return put_back


def _refuse_lazy(model: nn.Module) -> None:
    lazy = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if is_lazy(tensor)]
    if lazy:
        raise ValueError(
            f"{lazy[0]} is not yet initialized (torch.nn.Lazy…): there is nothing to copy. Run a dummy batch through "
            "the model in setup() or configure_optimizers()"
        )


def _deepspeed_state(model: nn.Module, optimizers: Iterable[Any]) -> list[Restore]:
    """Step counters of DeepSpeed's engine and its loss scaler's state, which are in no state dict that it loads."""

    def counters() -> Restore:
        saved = {name: vars(model)[name] for name in _ENGINE_COUNTERS if name in vars(model)}
        return lambda: vars(model).update(saved)

    scalers = (getattr(optimizer, "loss_scaler", None) for optimizer in optimizers)
    return [counters(), *(plain_state(s) for s in scalers if hasattr(s, "__dict__"))]


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
