"""What users have put into a trainer: attributes of its own, callbacks and loggers of their classes.

A sandbox mutes callbacks and loggers, yet a step may call a method of one, and change what it holds.
"""

from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from lr_lightning.optim.snapshot import runs_outside
from lr_lightning.optim.snapshot.kinds import is_users

_HOLDERS = ("callbacks", "_loggers")


def belongings(trainer: Trainer, kept: Sequence[Any]) -> dict[str, Any]:
    """The users' objects by name; those of their callbacks that take part in the steps are left out."""
    found = {f"trainer.{name}": value for name, value in vars(trainer).items() if _is_own_value(name, value)}
    for name, owners in (("callback", trainer.callbacks), ("logger", trainer.loggers)):
        for number, owner in enumerate(owners):
            if _is_own_object(owner) and not any(owner is one for one in kept):
                found[f"{name}[{number}]"] = owner
    return found


def attributes_back(trainer: Trainer) -> Callable[[], None]:
    """Remember a trainer's attributes; the returned function puts them back and takes off those added since."""
    space = vars(trainer)
    before = dict(space)

    def put_back() -> None:
        for name in set(space) - set(before):
            del space[name]
        space.update(before)

    return put_back


def _is_own_value(name: str, value: Any) -> bool:
    machinery = isinstance(value, (LightningModule, LightningDataModule))
    container = isinstance(value, (dict, list, set)) and name not in _HOLDERS
    return not machinery and (container or is_users(type(value).__module__))


def _is_own_object(owner: Any) -> bool:
    # Ours note what a sweep finds; a progress bar's own thread writes to it, and so do those of whoever runs one.
    ours = any(base.__module__.startswith("lr_lightning.") for base in type(owner).__mro__)
    return is_users(type(owner).__module__) and not (ours or isinstance(owner, ProgressBar) or runs_outside(owner))
