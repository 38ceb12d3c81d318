"""Checks of PlateauDecay's arguments, and the words it uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lr_lightning.callbacks._best_weights import BestWeights
from lr_lightning.callbacks._plateau_source import LOSS_NAMES
from lr_lightning.param_groups import LRChange
from lr_lightning.rules.plateau import Decision, check_choice, check_number
from lr_lightning.rules.sweep import check_count


def checked_monitor(monitor: object) -> str:
    """The monitor, if it is a name."""
    if not isinstance(monitor, str) or not monitor:
        raise ValueError(f"monitor must be the name of a metric, got {monitor!r}")
    return monitor


def checked_warmup(warmup: Any) -> int | float:
    """The warm-up as a number of batches (int) or a share of the run (float)."""
    if isinstance(warmup, float):
        return check_number("warmup", warmup, 0.0, 1.0)
    return check_count("warmup", warmup, 0)


def checked_floors(min_lr: Any) -> float | list[float]:
    """One floor, or one a param group."""
    if isinstance(min_lr, (str, bytes)) or not isinstance(min_lr, Sequence):
        return check_number("min_lr", min_lr, 0.0)
    return [check_number("min_lr", value, 0.0) for value in min_lr]


def checked_indices(optimizer: Any) -> list[int] | None:
    """Indices of optimizers, each once; None means all."""
    if optimizer is None:
        return None
    indices = [optimizer] if isinstance(optimizer, int) else list(optimizer)
    for index in indices:
        check_count("optimizer", index, 0)
    if not indices or len(set(indices)) != len(indices):
        raise ValueError(f"optimizer must name at least one optimizer, each once, got {optimizer!r}")
    return indices


def best_weights(restore_best: Any, mode: str, monitor: str, interval: str) -> BestWeights | None:
    """The keeper of the best weights that ``restore_best`` asks for."""
    check_choice("restore_best", restore_best, (False, True, "memory", "checkpoint"))
    if restore_best is False:
        return None
    if interval == "step":
        raise ValueError("restore_best needs interval='epoch': the best value of single steps is noise")
    return BestWeights(mode, "checkpoint" if restore_best == "checkpoint" else "memory", monitor)


def missing(monitor: str, interval: str, available: dict[str, list[str]]) -> str:
    """What to say when the metric never came: what is logged, and when."""
    logged = "; ".join(f"at {when}: {', '.join(names) or 'none'}" for when, names in available.items())
    if interval == "step" and monitor not in LOSS_NAMES:
        logged += f"; interval='step' also takes {' or '.join(LOSS_NAMES)}, the loss that is trained on"
    return f"PlateauDecay(monitor={monitor!r}, interval={interval!r}) never got its metric. Logged {logged}"


def entry_of(decision: Decision, reason: str, change: LRChange, factor: float, epoch: int, step: int) -> dict[str, Any]:
    """A decision as plain types, for the history."""
    return {
        "epoch": epoch,
        "step": step,
        "action": decision.action,
        "cause": decision.cause,
        "reason": reason,
        "old_lr": change.old,
        "new_lr": change.new,
        "factor": factor,
        "evidence": {key: float(value) for key, value in decision.evidence.items()},
    }


def line_of(entry: dict[str, Any]) -> str:
    """A decision in one line: "decay ×0.5 at epoch 41 (step 5,248): …, LR 0.1 → 0.05"."""
    return (
        f"{entry['action']} ×{entry['factor']:g} at epoch {entry['epoch']} (step {entry['step']:,}): "
        f"{entry['reason']}, LR {entry['old_lr']:.4g} → {entry['new_lr']:.4g}"
    )
