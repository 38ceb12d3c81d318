"""All schedulers of a fit: those that Lightning was told of, and those that a module steps by itself."""

from typing import Any

from lightning.pytorch import Trainer

from lr_lightning.callbacks._sandbox.traces import MACHINERY
from lr_lightning.optim.foreign import is_scheduler
from lr_lightning.optim.schedulers import flat
from lr_lightning.optim.snapshot import reachable


def all_schedulers(trainer: Trainer) -> list[Any]:
    """Schedulers of the trainer's optimizers: Lightning's first, then others that module or datamodule hold."""
    configured = [config.scheduler for config in trainer.lr_scheduler_configs]
    roots = {"module": trainer.lightning_module, "datamodule": getattr(trainer, "datamodule", None)}
    held = [value for value in reachable(roots, MACHINERY) if is_scheduler(value, trainer.optimizers)]
    nested = {id(inner) for one in (*configured, *held) for inner in flat(getattr(one, "_schedulers", ()))}
    known = nested | set(map(id, configured))
    return configured + [one for one in held if id(one) not in known]
