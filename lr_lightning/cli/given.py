"""What the user said on the command line, as far as it decides what the command may change by itself."""

import re
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

_LR = re.compile(r"(model|optimizer)\.(.*\.)?\w*(lr|learning_rate)")
DEFAULT_OPTIMIZER = "adamw"
DEFAULT_SCORE = "val_loss"


class Refused(CompactHydraException, ValueError):
    """A setting that makes no sense; Hydra prints it without a traceback."""


def overrides() -> list[str]:
    """The overrides of this run, or of this job of a sweep."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def key_of(override: str) -> str:
    """The key of an override, without its sign.

    >>> key_of("+model.width=3"), key_of("~callbacks.lr_curves")
    ('model.width', 'callbacks.lr_curves')
    """
    return override.split("=")[0].lstrip("+~").split("@")[0]


def check_sweeper() -> None:
    """See that a sweeper on the command line has something to sweep.

    Raises:
        Refused: If the run is a single one: Hydra reads sweepers under ``-m`` alone.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode == RunMode.MULTIRUN:
        return
    said = [item for item in HydraConfig.get().overrides.hydra if re.match(r"hydra[/.]sweeper\b", item)]
    if said:
        raise Refused(f"{said[0]} has no effect in a single run: lr-lightning -m … searches")


def swept() -> list[str]:
    """The overrides that differ between the jobs of a sweep: those that weren't given to it as they stand."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return []
    record = Path(HydraConfig.get().sweep.dir) / "multirun.yaml"
    if not record.is_absolute():
        record = Path(HydraConfig.get().runtime.cwd) / record
    if not record.is_file():
        return []
    whole: Any = OmegaConf.select(OmegaConf.load(record), "hydra.overrides.task", default=[])
    return [item for item in overrides() if item not in list(whole)]


def swept_lr() -> str:
    """The swept override that is an LR of the model's or optimizer's, or ``""``."""
    return next((item for item in swept() if _LR.fullmatch(key_of(item))), "")


def chosen_optimizer() -> str:
    """What the user said of the optimizer, or ``""`` if it is the command's default."""
    for item in overrides():
        if key_of(item) == "optimizer" or key_of(item).startswith("optimizer."):
            return item
    if not HydraConfig.initialized():
        return ""
    choice = HydraConfig.get().runtime.choices.get("optimizer")
    return "" if choice in (None, DEFAULT_OPTIMIZER) else f"optimizer={choice}"
