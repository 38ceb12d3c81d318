"""Where a run is planned to end, in batches, or why nobody can tell."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping, Timer


class Plan:
    """Where a run is planned to end, and from when on values count.

    Args:
        horizon: ``"auto"`` or ``"unknown"``, as the user has it.
        warmup: A number of batches, or a share of the planned run.

    Attributes:
        end: The planned end in batches, as it was last looked up; None: unknown.
        schedule_lr: The schedule's LR at the last observation.
    """

    def __init__(self, horizon: str, warmup: int | float) -> None:
        self._horizon, self._warmup = horizon, warmup
        self.end: float | None = None
        self.schedule_lr: float | None = None

    def why_open(self, trainer: Any) -> str:
        """Why the end isn't planned, in words; empty where it is."""
        return why_open(trainer, self._horizon)

    def look(self, trainer: Any, batches: int) -> float | None:
        """Where the run is planned to end, in batches."""
        self.end = None if self.why_open(trainer) else planned_batches(trainer, batches)
        return self.end

    def warming(self, trainer: Any, batches: int, schedule_lr: float) -> bool:
        """Whether values don't count yet: inside of ``warmup``, or while the schedule raises the LR."""
        now, before = schedule_lr, self.schedule_lr
        self.schedule_lr = now
        end = self.look(trainer, batches)
        limit = self._warmup if isinstance(self._warmup, int) else self._warmup * (end or 0.0)
        return batches <= limit if limit else before is not None and now > before * (1 + 1e-6)


def validation_due(trainer: Any, batches: int) -> bool:
    """Whether a validation belongs right behind this batch: one that a fit resumed there leaves out."""
    every, per_epoch = trainer.val_check_batch, trainer.num_training_batches
    if not (trainer.enable_validation and batches and every and math.isfinite(every) and math.isfinite(per_epoch)):
        return False
    if trainer.check_val_every_n_epoch is None:
        return bool(batches % every == 0)
    epochs, within = divmod(batches - 1, int(per_epoch))
    return bool((epochs + 1) % trainer.check_val_every_n_epoch == 0 and (within + 1) % every == 0)


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
