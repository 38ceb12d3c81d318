"""A callback that hashes everything a hook can see: whatever a range test leaves behind shows up as another hash."""

import hashlib
import random

import lightning as L
import numpy as np
import torch

from lr_lightning import LRRangeTest, LRSearch
from lr_lightning.optim import snapshot as _snapshot


def digest(value) -> str:
    """Hash of nested tensors (this rank's shard), containers and plain values, bit for bit."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()[:12]


def _feed(sha, value) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach()
        value = value.to_local() if hasattr(value, "to_local") else value
        # A clone: .numpy() on live storage would make it non-resizable and break FSDP2.
        value = value.contiguous().cpu().clone()
        sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    elif isinstance(value, dict):
        for key, item in value.items():
            sha.update(b"tensor" if isinstance(key, torch.Tensor) else str(key).encode())
            _feed(sha, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _feed(sha, item)
    else:
        sha.update(repr(value).encode())


def shard(parameter):
    """What this rank holds of a parameter, without the padding that ZeRO-3 leaves uninitialized on the last rank."""
    if not hasattr(parameter, "ds_tensor"):
        return parameter
    held = parameter.ds_tensor.reshape(-1)
    return held[: max(0, parameter.ds_numel - torch.distributed.get_rank() * held.numel())]


def rng() -> str:
    return digest([torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()])


def optimizer_state(trainer) -> list:
    return [
        [dict(state) for state in optimizer.state.values()]
        + [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        for optimizer in trainer.optimizers
    ]


class Said(list, L.Callback):
    """What steps say: a sandbox doesn't put back what a callback is, only what the module sees."""


class Spy(L.Callback):
    """Records (hook, counters, what) for every training hook.

    Each entry keeps its hashes by name, so that a difference says what leaked.
    """

    def __init__(self):
        self.events: list[tuple] = []

    def _add(self, trainer, hook, **hashes):
        counters = (trainer.global_step, trainer.current_epoch, trainer.fit_loop.total_batch_idx)
        self.events.append((hook, counters, hashes))

    @staticmethod
    def _state(trainer, module) -> dict:
        model = trainer.strategy.model
        plain = {k: v for k, v in vars(module).items() if isinstance(v, (bool, int, float, str, list))}
        return {
            "parameters": digest([shard(p) for p in model.parameters()]),
            "buffers": digest(list(model.buffers())),
            "optimizer": digest(optimizer_state(trainer)),
            "schedulers": digest([_plain_scheduler(c.scheduler) for c in trainer.lr_scheduler_configs]),
            "precision": digest(trainer.precision_plugin.state_dict()),
            "rng": rng(),
            "attributes": digest(
                {k: v for k, v in plain.items() if not k.startswith(("_", "ds_"))}
            ),  # DeepSpeed counts engines
            "metrics": digest([vars_of_metric(m) for m in module.modules() if hasattr(m, "_defaults")]),
        }

    def on_train_epoch_start(self, trainer, module):
        self._add(trainer, "epoch_start", **self._state(trainer, module))

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        seen = {"batch": digest(batch), "index": batch_idx, "training": module.training}
        seen |= {"callbacks": others(trainer), "loggers": len(trainer.loggers), "stop": trainer.should_stop}
        connector = trainer._logger_connector
        seen |= {"logged": sorted(connector._callback_metrics), "first_iteration": connector._first_loop_iter}
        # FSDP2's root is gathered after the sanity check and sharded after a range test; its values count, not that.
        _snapshot.reshard(trainer.strategy.model)
        self._add(trainer, "batch_start", **seen, **self._state(trainer, module))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        grads = digest([p.grad for p in trainer.strategy.model.parameters() if p.grad is not None])
        self._add(trainer, "optimizer_step", gradients=grads, lrs=[float(g["lr"]) for g in optimizer.param_groups])

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self._add(trainer, "batch_end", outputs=digest(outputs), index=batch_idx, metrics=digest(metrics(trainer)))

    def on_validation_end(self, trainer, module):
        self._add(trainer, "validation_end", metrics=digest(metrics(trainer)))

    def on_train_epoch_end(self, trainer, module):
        self._add(trainer, "epoch_end", metrics=digest(metrics(trainer)))

    def on_train_end(self, trainer, module):
        self._add(trainer, "end", **self._state(trainer, module))


def metrics(trainer) -> dict:
    return {k: float(v) for k, v in sorted(trainer.callback_metrics.items())}


def vars_of_metric(metric) -> dict:
    return {k: getattr(metric, k) for k in (*metric._defaults, "_update_count", "_computed")}


def _plain_scheduler(scheduler) -> dict:
    return {k: v for k, v in scheduler.state_dict().items() if not callable(v)}


_KNOWN_FROM_THE_START = frozenset(("attributes", "optimizer", "schedulers"))  # a LR set by hand is there earlier


def first_difference(a: "Spy", b: "Spy") -> str | None:
    """The first event that differs and the names of what differs in it; None if all are the same."""
    started = False
    for i, (x, y) in enumerate(zip(a.events, b.events, strict=False)):
        started |= x[0] == "batch_start"
        keys = {k for k in {*x[2], *y[2]} if x[2].get(k) != y[2].get(k)}
        if not started:
            keys -= _KNOWN_FROM_THE_START
        if keys or x[:2] != y[:2]:
            return f"event {i}: {x[:2]} against {y[:2]}: {sorted(keys)}"
    return None if len(a.events) == len(b.events) else f"{len(a.events)} events against {len(b.events)}"


def others(trainer) -> list[str]:
    """The callbacks, but for the range test or search itself."""
    return sorted(type(c).__name__ for c in trainer.callbacks if not isinstance(c, (LRRangeTest, LRSearch)))
