"""The module's own ``lr`` or ``learning_rate``: what a checkpoint will be rebuilt with."""

import contextlib
import copy
import math
import warnings
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.optim import Optimizer

from lr_lightning.callbacks._schedulers import all_schedulers
from lr_lightning.callbacks._traces import MACHINERY
from lr_lightning.optim.foreign import is_scheduler
from lr_lightning.optim.group import coarseness
from lr_lightning.optim.param_groups import peak_lrs
from lr_lightning.optim.rng import rng_state
from lr_lightning.optim.snapshot import Kept
from lr_lightning.reporting.hparams import note_lr
from lr_lightning.rules.proportion import proportional

NAMES = ("lr", "learning_rate")

LRs = list[list[float]]
"""Of each param group of each optimizer."""


def note_lr_in_module(trainer: Trainer, new: float, old: float, at: str = "", resumed: bool = False) -> None:
    """Scale the module's own LR along, if a module rebuilt with it has the LRs that are now in use.

    What it would have is what ``configure_optimizers`` gives on a shallow copy of the module; nothing of that stays.
    Param groups that were added later aren't asked for. Where it would have others (the optimizer doesn't go by that
    LR, or one that wasn't tested does so too) the attribute stays and a warning says so; but not where it wouldn't have
    had those before the change either.

    Args:
        trainer: The fitting trainer; its optimizers have the new LR.
        new: The reference LR now.
        old: The reference LR before.
        at: Tells a later finding of the run from the first, for loggers that take no value twice.
        resumed: The LR came with a checkpoint: what the module doesn't go by has been said when it was found.
    """
    module = trainer.lightning_module
    held = {name: value for name in NAMES if (value := _held(module, name)) is not None}
    if not held or new == old:
        return
    in_use = [peak_lrs(optimizer, all_schedulers(trainer)) for optimizer in trainer.optimizers]
    for name, value in held.items():
        rebuilt = _rebuilt(trainer, {})
        if _same(in_use, rebuilt):
            return  # it is what the module was rebuilt with, or it writes no LR but tells it
        scaled = _scaled(trainer, value, in_use, rebuilt, (new, old))
        if scaled is not None and _write(module, name, scaled):
            note_lr(trainer, name, scaled, at)
        elif not resumed and (rebuilt is None or _in_use_before(rebuilt, in_use, old / new)):
            why = _why(scaled, rebuilt)
            rank_zero_warn(f"the module's own {name}={value:.4g} stays as it is, although the LR has changed: {why}")


def _scaled(
    trainer: Trainer, value: float, in_use: LRs, rebuilt: LRs | None, change: tuple[float, float]
) -> float | None:
    """What the LR must be for a rebuilt module to have the LRs in use; None: no value does it."""
    pairs = _pairs(in_use, rebuilt)
    # A module built for a resumed fit may have any LR: where it is off by another ratio than the change, by that one.
    others = [(now, was) for now, was in pairs or () if was > 0 and not _close(now, was)]
    for to, of in (change, *others[:1]):
        scaled: float = proportional(value, to, of, eps=coarseness(trainer.optimizers))
        if _same(in_use, _rebuilt(trainer, {value: scaled})):
            return scaled
    return None


def _why(scaled: float | None, rebuilt: LRs | None) -> str:
    if rebuilt is None:
        return "it can't be told which LRs a module rebuilt with it would have"
    return "a module rebuilt with it wouldn't have the LRs in use" if scaled is None else "it can't be written"


def _held(module: LightningModule, name: str) -> float | None:
    """The LR as an attribute or hyperparameter; a property is none, it follows by itself or can't."""
    for value in (vars(module).get(name), module.hparams.get(name)):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and math.isfinite(value):
            return float(value)
    return None


def _write(module: LightningModule, name: str, value: float) -> bool:
    try:
        if name in module.hparams:
            module.hparams[name] = value
        if name in vars(module):
            setattr(module, name, value)
    except Exception:  # a frozen OmegaConf config, a guard of the user's
        return False
    return True


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6)


def _pairs(in_use: LRs, rebuilt: LRs | None) -> list[tuple[float, float]] | None:
    """Each LR in use with the rebuilt module's; groups may have been added since; None: they are other optimizers."""
    if rebuilt is None or len(rebuilt) != len(in_use):
        return None
    if any(len(made) > len(used) for made, used in zip(rebuilt, in_use, strict=True)):
        return None
    return [pair for used, made in zip(in_use, rebuilt, strict=True) for pair in zip(used, made, strict=False)]


def _same(in_use: LRs, rebuilt: LRs | None) -> bool:
    pairs = _pairs(in_use, rebuilt)
    return pairs is not None and all(_close(now, made) for now, made in pairs)


def _in_use_before(rebuilt: LRs, in_use: LRs, back: float) -> bool:
    """Whether a module rebuilt before the change had the LRs then in use; ``back`` undoes it where it was made."""
    pairs = _pairs(in_use, rebuilt)
    return pairs is None or all(_close(now, made) or _close(now * back, made) for now, made in pairs)


def _rebuilt(trainer: Trainer, changes: dict[float, float]) -> LRs | None:
    """Peak LRs that the module would give its optimizers with other floats in it; None: it can't be asked."""
    module = trainer.lightning_module
    kept, reset = Kept({"module": module}, machinery=MACHINERY, tensors=False), rng_state()
    with contextlib.ExitStack() as undo, warnings.catch_warnings(), contextlib.suppress(Exception):
        undo.callback(reset)
        undo.callback(kept.restore)
        warnings.simplefilter("ignore")
        twin: Any = object.__new__(type(module))  # copy.copy() would lose the trainer
        twin.__dict__ = dict(vars(module))
        for space in (vars(twin), _own_hparams(twin)):
            for name, value in space.items():
                if isinstance(value, float) and value in changes:
                    space[name] = changes[value]
        made = list(_flat(twin.configure_optimizers()))
        optimizers = [one for one in made if isinstance(one, Optimizer)]
        schedulers = [one for one in made if is_scheduler(one)]
        return [peak_lrs(optimizer, schedulers) for optimizer in optimizers]
    return None


def _own_hparams(twin: Any) -> Any:
    hparams = vars(twin).get("_hparams")
    if hparams is None:
        return {}
    twin._hparams = copy.copy(hparams)
    return twin._hparams


def _flat(made: Any) -> Iterator[Any]:
    """What ``configure_optimizers`` may return, in order: one, a list, two lists, dictionaries."""
    if isinstance(made, dict):
        for key in ("optimizer", "lr_scheduler", "scheduler"):
            yield from _flat(made.get(key))
    elif isinstance(made, (list, tuple)):
        for one in made:
            yield from _flat(one)
    elif made is not None:
        yield made
