"""Checks of PlateauDecay's arguments, and the words it uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._plateau.best_weights import BestWeights
from lr_lightning.callbacks._plateau.source import LOSS_NAMES
from lr_lightning.optim.param_groups import LRChange, apply_factor, get_lr, lr_factor, unwrap
from lr_lightning.rules.checks import check_choice, check_count, check_name, check_number, shown
from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.plateau.patience import PatienceState

NONFINITE_ROW = 5
CORRELATED = 0.55
_OF_TORCH = ("mode", "factor", "patience", "threshold", "threshold_mode", "eps")


def checked_monitor(monitor: object) -> str:
    """The monitor, if it is a name."""
    return check_name("monitor", monitor, "the name of a metric")


def checked_warmup(warmup: Any) -> int | float:
    """The warm-up as a number of batches (int) or a share of the run (float)."""
    if isinstance(warmup, float):
        return check_number("warmup", warmup, 0.0, 1.0)
    return check_count("warmup", warmup, 0)


def checked_floors(min_lr: Any) -> float | list[float]:
    """One floor, or one a param group."""
    if isinstance(min_lr, (str, bytes)) or not isinstance(min_lr, Sequence):
        return check_number("min_lr", min_lr, 0.0)
    if not min_lr:
        raise ValueError(f"min_lr must be a number, or a list with one a param group, got {min_lr!r}")
    return [check_number("min_lr", value, 0.0) for value in min_lr]


def checked_indices(optimizer: Any) -> list[int] | None:
    """Indices of optimizers, each once; None means all."""
    if optimizer is None:
        return None
    listed = isinstance(optimizer, Sequence) and not isinstance(optimizer, (str, bytes))
    indices = list(optimizer) if listed else [optimizer]
    for index in indices:
        check_count("optimizer", index, 0)
    if not indices or len(set(indices)) != len(indices):
        raise ValueError(f"optimizer must name at least one optimizer, each once, got {shown(optimizer)}")
    return indices


def best_weights(restore_best: Any, mode: str, monitor: str, interval: str) -> BestWeights | None:
    """The keeper of the best weights that ``restore_best`` asks for."""
    check_choice("restore_best", restore_best, (False, True, "memory", "checkpoint"))
    if restore_best is False:
        return None
    if interval == "step":
        raise ValueError("restore_best needs interval='epoch': the best value of single steps is noise")
    return BestWeights(mode, "checkpoint" if restore_best == "checkpoint" else "memory", monitor)


def of_torch(scheduler: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments, and the patience rule's state, that go on where a ReduceLROnPlateau stands."""
    wanted = ("min_lrs", "best", "num_bad_epochs", "cooldown_counter", "last_epoch", *_OF_TORCH)
    if lacking := [name for name in wanted if not hasattr(scheduler, name)]:
        raise ValueError(f"scheduler must be a ReduceLROnPlateau, got {shown(scheduler)}: no {lacking[0]}")
    floors = [float(x) for x in scheduler.min_lrs]
    arguments = {
        **{name: getattr(scheduler, name) for name in _OF_TORCH},
        "rule": "patience",
        "cooldown": scheduler.cooldown,
        "min_lr": floors[0] if len(set(floors)) == 1 else floors,
    }
    best = float(scheduler.best)
    state = {
        **PatienceState().to_dict(),
        "seen": int(scheduler.last_epoch),
        "best": best if math.isfinite(best) else None,
        "bad": int(scheduler.num_bad_epochs),
        "cooldown": int(scheduler.cooldown_counter),
    }
    return arguments, state


def checked_diagnose(diagnose: Any, rule: str) -> bool | str:
    """Whether to follow the training loss, and gradients too.

    Raises:
        ValueError: If it is neither a flag nor ``"gradients"``, or no rule would ask for these.
    """
    check_choice("diagnose", diagnose, (False, True, "gradients"))
    if diagnose == "gradients" and rule != "trend":
        raise ValueError(f"diagnose='gradients' tells plateaus of the trend rule apart, it doesn't go with {rule!r}")
    return bool(diagnose) if isinstance(diagnose, bool) else "gradients"


def missing(monitor: str, interval: str, available: dict[str, list[str]], validates: bool = True) -> str:
    """What to say when the metric never came: what is logged, and when."""
    logged = "; ".join(f"at {when}: {', '.join(names) or 'none'}" for when, names in available.items())
    if interval == "step" and monitor not in LOSS_NAMES:
        logged += f"; interval='step' also takes {' or '.join(LOSS_NAMES)}, the loss that is trained on"
    if not validates:
        logged += "; this fit has no validation (no val_dataloader, or limit_val_batches=0)"
    return f"PlateauDecay(monitor={monitor!r}, interval={interval!r}) never got its metric. Logged {logged}"


def warn_of_missing(monitor: str, interval: str, available: dict[str, list[str]]) -> None:
    """At the end of a fit whose validation never ran."""
    rank_zero_warn(f"{missing(monitor, interval, available)}; no validation ran, and the LR was never decayed")


def entry_of(decision: Decision, reason: str, change: LRChange, factor: float, epoch: int, step: int) -> dict[str, Any]:
    """A decision as plain types, for the history."""
    return {
        "epoch": epoch,
        "step": step,
        "action": decision.action if decision.action != "keep" else "wait",
        "cause": decision.cause,
        "reason": reason,
        "old_lr": change.old,
        "new_lr": change.new,
        "factor": factor,
        "evidence": {key: float(value) for key, value in decision.evidence.items()},
    }


def warn_of_noise(monitor: str, state: Any, decision: Decision, warned: set[str]) -> None:
    """Warn of values that are no evidence, and, once, of noise that the trend rule isn't made for."""
    if state.nonfinite_row == NONFINITE_ROW:
        rank_zero_warn(
            f"PlateauDecay: {monitor} was not finite {NONFINITE_ROW} times in a row; such values are no evidence"
        )
    correlation = decision.evidence.get("correlation", 0.0)
    if correlation > CORRELATED and "correlation" not in warned:
        warned.add("correlation")
        rank_zero_warn(
            f"PlateauDecay: the noise of {monitor} is strongly correlated from one observation to the next "
            f"(lag 1: {correlation:.2f}): each tells less, and decays come later"
        )


def why_unchanged(min_lr: float | list[float], eps: float) -> str:
    """What to say when a decay changes no LR."""
    small = f", or would change by no more than eps={eps:g}" if eps else ""
    return f"every LR is at min_lr={min_lr}{small}"


def line_of(entry: dict[str, Any]) -> str:
    """A decision in one line: "decay ×0.5 at epoch 41 (step 5,248): …, LR 0.1 → 0.05"."""
    when = f"at epoch {entry['epoch']} (step {entry['step']:,}): {entry['reason']}"
    if entry["action"] == "wait":
        return f"wait {when}, LR stays at {entry['new_lr']:.4g}"
    if entry["factor"] == 1.0:  # a kick of the momentum
        return f"{entry['action']} {when}, LR {entry['new_lr']:.4g}"
    return f"{entry['action']} ×{entry['factor']:g} {when}, LR {entry['old_lr']:.4g} → {entry['new_lr']:.4g}"


def check_live(trainer: Any, optimizer: list[int] | None, min_lr: float | list[float]) -> list[int]:
    """Check what only a live trainer can tell; returns the number of param groups of each optimizer watched.

    Raises:
        MisconfigurationException: If there is no such optimizer, or not one floor for each param group.
    """
    count = len(trainer.optimizers)
    if optimizer and max(optimizer) >= count:
        raise MisconfigurationException(f"optimizer={max(optimizer)} is not there: the module has {count} optimizers")
    chosen = trainer.optimizers if optimizer is None else [trainer.optimizers[index] for index in optimizer]
    groups = [len(unwrap(one).param_groups) for one in chosen]
    if not isinstance(min_lr, float) and len(min_lr) != sum(groups):
        raise MisconfigurationException(f"min_lr has {len(min_lr)} values for {sum(groups)} param groups")
    return groups


def unchanged(optimizers: Sequence[Any]) -> LRChange:
    """The LR where a cut is put off."""
    lr = get_lr(optimizers[0].param_groups[0])
    return LRChange(0, 0, lr, lr)


def join(optimizers: Sequence[Any], known: list[int], factor_of: Callable[[Any], float]) -> list[int]:
    """Give param groups that were added since ``known`` was counted the factor so far; returns the new counts."""
    counts = [len(one.param_groups) for one in optimizers]
    if counts != known:
        for place, one in enumerate(optimizers):
            for group in one.param_groups[known[place] if place < len(known) else 0 :]:
                apply_factor(group, factor_of(one))
    return counts


def schedule_lr(optimizers: Sequence[Any]) -> float:
    """The highest LR that the schedule sets, without anybody's factor."""
    lrs = [get_lr(group) / lr_factor(group) for optimizer in optimizers for group in optimizer.param_groups]
    return max(lrs, default=0.0)
