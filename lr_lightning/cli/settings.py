"""Checks of the command's own settings, before anything is built from them."""

import os
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lr_lightning.rules.checks import check_count, check_name, shown

_NAMED_CHECKPOINTS = ("best", "last", "hpc", "registry")
_NEEDED = ("trainer", "model", "data")


def check_settings(cfg: DictConfig) -> None:
    """Refuse what no training could be built from.

    Args:
        cfg: The composed config, see ``conf/config.yaml``.

    Raises:
        ValueError: If a value makes no sense; the message names its key and quotes it.
    """
    check_name("name", cfg.get("name"), "a folder of logs")
    check_name("score", cfg.get("score"), "a metric")
    if cfg.get("seed") is not None:
        check_count("seed", cfg.seed, 0, 2**32 - 1)
    _check_checkpoint(cfg.get("ckpt_path"))
    for group in ("trainer", "model", "data", "optimizer"):
        entry = cfg.get(group)
        if entry is None and group not in _NEEDED:
            continue
        if not OmegaConf.is_dict(entry) or "_target_" not in entry:
            raise ValueError(f"{group} must be a mapping with _target_, the class to build, got {shown(plain(entry))}")
    for group in ("callbacks", "logger"):
        _check_entries(group, cfg.get(group))


def _check_checkpoint(path: Any) -> None:
    if path is None or path in _NAMED_CHECKPOINTS or (isinstance(path, str) and "://" in path):
        return
    if not isinstance(path, str) or not path or not os.path.exists(path):
        raise ValueError(
            f"ckpt_path must be a checkpoint's path, 'last', 'best' or null, got {shown(path)}: no such file"
        )


def _check_entries(group: str, entries: Any) -> None:
    if entries is None:
        return
    if not OmegaConf.is_dict(entries):
        raise ValueError(f"{group} must be a mapping of names to entries with _target_, got {shown(plain(entries))}")
    for key, entry in entries.items():
        if entry is not None and not (OmegaConf.is_dict(entry) and "_target_" in entry):
            raise ValueError(f"{group}.{key} must be a mapping with _target_ or null, got {shown(plain(entry))}")


def check_optimizer(build: Any, described: Any) -> None:
    """Try the optimizer on one weight: torch checks its arguments, and the message names the key.

    Args:
        build: What the config's ``optimizer`` gave; nothing is tried if it isn't to be called with parameters.
        described: The config's ``optimizer``, for the message.

    Raises:
        ValueError: If the optimizer refuses its arguments.
    """
    import torch

    if build is None or not callable(build):
        return
    try:
        build([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"optimizer can't be built from {shown(plain(described))}: {reason}") from None


def plain(node: Any) -> Any:
    """A config's node as plain types, for messages."""
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
