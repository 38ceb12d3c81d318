"""The module's own ``lr`` or ``learning_rate``: what a checkpoint will be rebuilt with."""

import contextlib
import copy
import itertools
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
from lr_lightning.optim.param_groups import coarseness, peak_lrs
from lr_lightning.optim.rng import rng_state
from lr_lightning.optim.snapshot import Kept
from lr_lightning.reporting.hparams import note_lr
from lr_lightning.rules.proportion import proportional

NAMES = ("lr", "learning_rate")


def note_lr_in_module(trainer: Trainer, new: float, old: float, at: str = "") -> None:
    """Scale the module's own LR along, if a module rebuilt with it has the LRs that are now in use.

    What it would have is what ``configure_optimizers`` gives on a shallow copy of the module; nothing of that stays.
    Where it would have others (the optimizer doesn't go by that LR, or one that wasn't tested does so too) the
    attribute stays and a warning says so.

    Args:
        trainer: The fitting trainer; its optimizers have the new LR.
        new: The reference LR now.
        old: The reference LR before.
        at: Tells a later finding of the run from the first, for loggers that take no value twice.
    """
    module = trainer.lightning_module
    held = {name: value for name in NAMES if (value := _held(module, name)) is not None}
    if not held or new == old:
        return
    in_use = [peak_lrs(optimizer, all_schedulers(trainer)) for optimizer in trainer.optimizers]
    for name, value in held.items():
        if _Close(in_use) == _rebuilt(trainer, {}):
            return  # it is what the module was rebuilt with, or it writes no LR but tells it
        scaled = proportional(value, new, old, eps=coarseness(trainer.optimizers))
        rebuilt = _rebuilt(trainer, {value: scaled})
        if rebuilt is None:
            why = "it can't be told which LRs a module rebuilt with it would have"
        elif _Close(in_use) != rebuilt:
            why = "a module rebuilt with it wouldn't have the LRs in use"
        elif _write(module, name, scaled):
            note_lr(trainer, name, scaled, at)
            continue
        else:
            why = "it can't be written"
        rank_zero_warn(f"the module's own {name}={value:.4g} stays as it is, although the LR has changed: {why}")


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


class _Close:
    """LRs up to rounding."""

    def __init__(self, lrs: list[list[float]]) -> None:
        self._lrs = lrs

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list) or list(map(len, other)) != list(map(len, self._lrs)):
            return False
        pairs = zip(itertools.chain.from_iterable(other), itertools.chain.from_iterable(self._lrs), strict=True)
        return all(math.isclose(a, b, rel_tol=1e-6) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]


def _rebuilt(trainer: Trainer, changes: dict[float, float]) -> list[list[float]] | None:
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
