"""Whether what is searched can be searched, by the app's own config, before the first job."""

import logging
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lr_lightning.rules.checks import nearest, shown
from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings
from lr_lightning.sweeper.errors import SearchRefused

log = logging.getLogger(__name__)


def check_axes(settings: SearchSettings, config: Any) -> None:
    """See that the keys of numbers hold numbers.

    Args:
        settings: What is searched.
        config: The app's composed config.

    Raises:
        SearchRefused: If such a key holds a mapping, a word or a flag.
    """
    for at, axis in enumerate(settings.axes):
        if axis.choices or axis.name.startswith("+"):
            continue
        try:
            held = OmegaConf.select(config, axis.name)
        except OmegaConfBaseException:  # an interpolation that the job alone can resolve
            continue
        key = _setting(settings, axis)
        if OmegaConf.is_dict(held):
            inside = ", ".join(_below(axis.name, held))
            raise SearchRefused(f"{key}={axis.name} is a mapping, no number; it holds {inside}")
        held = OmegaConf.to_container(held) if OmegaConf.is_list(held) else held
        if isinstance(held, (list, bool)) or (isinstance(held, str) and not _is_number(held)):
            raise SearchRefused(f"{key}={axis.name} holds {shown(held)}, no number; for words and flags give choices")
        if at and isinstance(held, int) and not axis.integer and _counts(axis):
            log.warning(
                "%s is %s in the config, and any number from %g to %g is tried; whole numbers alone: int(interval(…)) "
                "or integer: true",
                *(axis.name, held, axis.low, axis.high),
            )


def _counts(axis: Axis) -> bool:
    """Whether a range looks like one of whole numbers."""
    return axis.low >= 1.0 and axis.low.is_integer() and axis.high.is_integer()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _setting(settings: SearchSettings, axis: Axis) -> str:
    return "hydra.sweeper.param" if axis is settings.axes[0] else "hydra.sweeper.params"


def check_lines(check: Any, lines: list[list[str]], settings: SearchSettings, config: Any) -> None:
    """Compose each job's config before the first job runs.

    Args:
        check: Hydra's check of a batch.
        lines: Overrides of jobs.
        settings: What is searched.
        config: The app's composed config, for names.

    Raises:
        SearchRefused: If the config has no such key; the message names the nearest.
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException

    try:
        check(lines)
    except MissingConfigException:  # a choice that the group hasn't: Hydra lists those that it has
        raise
    except ConfigCompositionException as error:
        wrong = [axis.name for axis in settings.axes if f"'{axis.name}'" in str(error)]
        if not wrong:
            raise
        key = _setting(settings, next(axis for axis in settings.axes if axis.name == wrong[0]))
        near = nearest_key(wrong[0], keys_of(config))
        raise SearchRefused(f"{key}={wrong[0]}: the config has no such key{near} (+{wrong[0]} adds it)") from None


def nearest_key(name: str, known: Iterable[str]) -> str:
    """As :func:`nearest`, for keys with dots: one that ends in the same word is meant, wherever it stands.

    >>> nearest_key("model.lr", ["model.scheduler", "model.optimizer.lr"])
    "; did you mean 'model.optimizer.lr'?"
    """
    keys = list(known)
    same = [key for key in keys if key.rpartition(".")[2] == name.rpartition(".")[2]]
    if not same:
        return nearest(name, keys)
    return f"; did you mean {max(same, key=lambda key: SequenceMatcher(None, name, key).ratio())!r}?"


def keys_of(config: Any) -> list[str]:
    """The keys of all values of an app's config, with dots."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return [name for key, value in plain.items() if key != "hydra" for name in _below(str(key), value)]


def _below(key: str, value: Any) -> list[str]:
    if not hasattr(value, "items") or not value:
        return [key]
    return [name for part, item in value.items() for name in _below(f"{key}.{part}", item)]
