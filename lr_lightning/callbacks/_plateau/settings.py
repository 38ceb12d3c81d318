"""Checks of PlateauDecay's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lr_lightning.optim.schedulers import check_has_lr, flat, unwrap
from lr_lightning.rules.checks import MOST_STEPS, check_choice, check_count, check_name, check_number, nearest, shown
from lr_lightning.rules.plateau.configure import rule_classes
from lr_lightning.rules.plateau.patience import PatienceState

_OF_TORCH = ("mode", "factor", "patience", "threshold", "threshold_mode", "eps")


@dataclass(frozen=True)
class Feed:
    """How a rule is fed in a Trainer: what a mapping ``rule=`` may hold beside the rule's own settings.

    Attributes:
        horizon: ``"auto"`` or ``"unknown"``: whether the Trainer's limits are the planned end.
        on_resume: ``"keep"`` or ``"override"``: whose settings hold where a checkpoint's differ.
        read_every: With ``interval="step"``: steps between two reads from the device; None: chosen by the run's length.
    """

    horizon: str = "auto"
    on_resume: str = "keep"
    read_every: int | None = None

    def __post_init__(self) -> None:
        check_choice("horizon", self.horizon, ("auto", "unknown"))
        check_choice("on_resume", self.on_resume, ("keep", "override"))
        if self.read_every is not None:
            check_count("read_every", self.read_every, 1, MOST_STEPS)


def split(rule: Any) -> tuple[Any, Feed]:
    """What ``rule=`` says of the rule, and of how it is fed.

    Raises:
        ValueError: If a mapping has a key that nobody knows; the message names the nearest.
    """
    if not isinstance(rule, Mapping):
        return rule, Feed()
    feed = {item.name for item in fields(Feed)}
    known = feed | {"name"} | {item.name for kind in rule_classes().values() for item in fields(kind)}
    for key in rule:
        if key not in known:
            raise ValueError(f"rule has no setting {shown(key)}{nearest(str(key), known)}")
    return {k: v for k, v in rule.items() if k not in feed}, Feed(**{k: v for k, v in rule.items() if k in feed})


def checked_monitor(monitor: object) -> str:
    """The monitor, if it is a name."""
    return check_name("monitor", monitor, "the name of a metric")


def checked_warmup(warmup: Any, feed: Feed) -> int | float:
    """The warm-up as a number of batches (int) or a share of the run (float), whose end may be planned then."""
    if isinstance(warmup, float):
        if check_number("warmup", warmup, 0.0, 1.0) and feed.horizon == "unknown":
            raise ValueError(f"warmup={warmup} is a share of the run, but horizon='unknown'; give a number of batches")
        return warmup
    return check_count("warmup", warmup, 0)


def check_warmup_has_an_end(warmup: int | float, open_end: str) -> None:
    """Refuse a share of a run whose end isn't planned.

    Raises:
        MisconfigurationException: The message says why it isn't.
    """
    if isinstance(warmup, float) and warmup and open_end:
        raise MisconfigurationException(
            f"warmup={warmup} is a share of the run, whose end isn't planned: {open_end}; give a number of batches"
        )


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


def checked_restore(restore_best: Any, interval: str) -> str:
    """Where ``restore_best`` takes weights from: ``"memory"``, ``"checkpoint"``, or "" for nowhere."""
    check_choice("restore_best", restore_best, (False, True, "memory", "checkpoint"))
    if restore_best is False:
        return ""
    if interval == "step":
        raise ValueError("restore_best needs interval='epoch': the best value of single steps is noise")
    return "checkpoint" if restore_best == "checkpoint" else "memory"


def of_torch(scheduler: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments, and the patience rule's state, that go on where a ReduceLROnPlateau stands."""
    wanted = ("min_lrs", "best", "num_bad_epochs", "cooldown_counter", "last_epoch", "mode_worse", *_OF_TORCH)
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
        "best": None if best == scheduler.mode_worse else best,
        "bad": int(scheduler.num_bad_epochs),
        "cooldown": int(scheduler.cooldown_counter),
    }
    return arguments, state


def check_live(
    trainer: Any, optimizer: list[int] | None, min_lr: float | list[float], known: Sequence[int] = ()
) -> list[int]:
    """Check what only a live trainer can tell; returns the number of param groups of each optimizer watched.

    Args:
        trainer: The trainer, during its fit.
        optimizer: Indices of the optimizers watched; None: all.
        min_lr: Floors.
        known: How many groups there were when the training began, of a resumed one.

    Raises:
        MisconfigurationException: If there is no such optimizer, not one floor for each param group, or a
            ReduceLROnPlateau that cuts the same LR.
        ValueError: If there is no optimizer, or one has no LR.
    """
    count = len(trainer.optimizers)
    if optimizer and max(optimizer) >= count:
        raise MisconfigurationException(f"optimizer={max(optimizer)} is not there: the module has {count} optimizers")
    chosen = trainer.optimizers if optimizer is None else [trainer.optimizers[index] for index in optimizer]
    check_has_lr("PlateauDecay", chosen)
    _refuse_rivals(trainer, [unwrap(one) for one in chosen])
    groups = [len(unwrap(one).param_groups) for one in chosen]
    begun_with = list(known) or groups
    if not isinstance(min_lr, float) and len(min_lr) != sum(begun_with):
        raise MisconfigurationException(f"min_lr has {len(min_lr)} values for {sum(begun_with)} param groups")
    return begun_with


def floors(
    min_lr: float | list[float], known: Sequence[int], optimizers: Sequence[Any], told: set[str], only: Any = None
) -> float | list[float]:
    """``min_lr`` for the param groups that there are: groups added later get the last floor of their optimizer.

    Args:
        min_lr: One floor, or one for each of the groups that the training began with.
        known: How many those were, of each optimizer.
        optimizers: The optimizers watched.
        told: What was warned of.
        only: Of this optimizer alone.
    """
    if isinstance(min_lr, float):
        return min_lr
    found: list[float] = []
    for place, one in enumerate(optimizers):
        start = sum(known[:place])
        own, count = min_lr[start : start + known[place]], len(one.param_groups)
        if count > len(own) and "floors" not in told:
            told.add("floors")
            rank_zero_warn(
                f"PlateauDecay: min_lr has {len(min_lr)} values; param groups added later get the last one of their "
                f"optimizer, {own[-1]:g}"
            )
        if only is None or only is one:
            found += [own[min(index, len(own) - 1)] for index in range(count)]
    return found


def _refuse_rivals(trainer: Any, watched: list[Any]) -> None:
    for scheduler in flat(config.scheduler for config in trainer.lr_scheduler_configs):
        if not isinstance(scheduler, ReduceLROnPlateau):
            continue
        for optimizer in watched:
            if unwrap(scheduler.optimizer) is optimizer:
                kind, patience = type(scheduler).__name__, getattr(scheduler, "patience", None)
                asked = f", patience={patience}" if patience is not None else ""  # a PlateauLR may go by a trend
                raise MisconfigurationException(
                    f"PlateauDecay and the scheduler {kind} from configure_optimizers both cut the LR of "
                    f"{type(optimizer).__name__}: keep one of them. PlateauDecay(monitor, mode={scheduler.mode!r}, "
                    f"factor={scheduler.factor}{asked}) decides as that {kind} does"
                )
