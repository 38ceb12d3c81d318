"""Where a run is planned to end, in batches, or why nobody can tell."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping, Timer


def why_open(trainer: Any, horizon: str) -> str:
    """Why the run's end isn't planned, in words; empty where it is.

    Args:
        trainer: The trainer, during its fit.
        horizon: ``"auto"`` or ``"unknown"``, as the user has it.
    """
    if horizon == "unknown":
        return "horizon='unknown'"
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping):
            return f"{type(callback).__name__}(monitor={callback.monitor!r}) may end the run early"
    if trainer.max_steps not in (None, -1) or _timers(trainer):
        return ""
    if trainer.max_epochs in (None, -1):
        return "neither max_epochs, max_steps nor max_time is given"
    return "" if math.isfinite(trainer.num_training_batches) else "the length of an epoch isn't known"


def planned_batches(trainer: Any, batches: int) -> float | None:
    """The batches that the run is planned to have in all; None where nothing tells it (yet).

    ``max_time`` is an end as well: it is reckoned by the batches that the time so far took, alike on all ranks.

    Args:
        trainer: The trainer, during its fit.
        batches: Batches so far; with ``global_step`` they tell how many batches an optimizer step takes.
    """
    ends = []
    if trainer.max_steps not in (None, -1):
        steps = trainer.global_step
        ratio = batches / steps if steps and batches else float(trainer.accumulate_grad_batches)
        ends.append(trainer.max_steps * ratio)
    per_epoch = trainer.num_training_batches
    if trainer.max_epochs not in (None, -1) and math.isfinite(per_epoch):
        ends.append(float(trainer.max_epochs * per_epoch))
    ends += [end for timer in _timers(trainer) if (end := _timed(trainer, timer, batches)) is not None]
    return min(ends) if ends and min(ends) > 0 else None


def _timers(trainer: Any) -> list[Timer]:
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]
    return [timer for timer in timers if timer.time_remaining("train") is not None]


def _timed(trainer: Any, timer: Timer, batches: int) -> float | None:
    elapsed, remaining = timer.time_elapsed("train"), timer.time_remaining("train")
    if not batches or not elapsed or remaining is None:
        return None
    end = batches * (elapsed + max(remaining, 0.0)) / elapsed
    if trainer.world_size == 1:
        return float(end)
    kind = torch.float32 if trainer.strategy.root_device.type == "mps" else torch.float64
    ranks = torch.tensor(end, device=trainer.strategy.root_device, dtype=kind)
    return float(trainer.strategy.reduce(ranks, reduce_op="mean"))
