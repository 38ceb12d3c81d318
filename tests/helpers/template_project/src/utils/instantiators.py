"""Builds the entries of a keyed group."""

from typing import Any

import hydra
from omegaconf import DictConfig


def each_of(group: DictConfig | None) -> list[Any]:
    if not group:
        return []
    if not isinstance(group, DictConfig):
        raise TypeError(f"a keyed group is meant, got {group!r}")
    return [hydra.utils.instantiate(e) for e in group.values() if isinstance(e, DictConfig) and "_target_" in e]
