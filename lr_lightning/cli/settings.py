"""Checks of the command's own settings, before anything is built from them."""

import os
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lr_lightning.cli.given import Refused
from lr_lightning.rules.checks import check_count, check_flag, check_name, check_number, shown

_NAMED_CHECKPOINTS = ("best", "last", "hpc", "registry")
_NEEDED = ("trainer", "model", "data")


_COUNTS = {
    "max_epochs": -1, "max_steps": -1, "accumulate_grad_batches": 1, "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
}  # fmt: skip
"""Least values of the Trainer's whole numbers; it takes other types and ends in a bare AssertionError steps later."""
_SHARES = ("limit_train_batches", "limit_val_batches")
_FLAGS = ("enable_progress_bar", "enable_checkpointing", "enable_model_summary")


def check_settings(cfg: DictConfig) -> None:
    """Refuse what no training could be built from.

    Args:
        cfg: The composed config, see ``conf/config.yaml``.

    Raises:
        ValueError: If a value makes no sense; the message names its key and quotes it.
    """
    _refusing(check_name, "name", cfg.get("name"), "a folder of logs")
    _refusing(check_name, "score", cfg.get("score"), "a metric")
    if cfg.get("seed") is not None:
        _refusing(check_count, "seed", cfg.seed, 0, 2**32 - 1)
    _check_checkpoint(cfg.get("ckpt_path"))
    for group in ("trainer", "model", "data", "optimizer"):
        entry = cfg.get(group)
        if entry is None and group not in _NEEDED:
            continue
        if not OmegaConf.is_dict(entry) or "_target_" not in entry:
            raise Refused(f"{group} must be a mapping with _target_, the class to build, got {shown(plain(entry))}")
    for group in ("callbacks", "logger"):
        _check_entries(group, cfg.get(group))
    _check_trainer(cfg.trainer)


def _check_trainer(trainer: DictConfig) -> None:
    for key, least in _COUNTS.items():
        if trainer.get(key) is not None:
            _refusing(check_count, f"trainer.{key}", trainer[key], least)
    for key in _SHARES:
        value = trainer.get(key)
        if value is not None and not isinstance(value, float):
            _refusing(check_count, f"trainer.{key}", value, 0)
        elif value is not None:
            _refusing(check_number, f"trainer.{key}", value, 0.0, 1.0)
    for key in _FLAGS:
        if trainer.get(key) is not None:
            _refusing(check_flag, f"trainer.{key}", trainer[key])
    if trainer.get("gradient_clip_val") is not None:
        _refusing(check_number, "trainer.gradient_clip_val", trainer.gradient_clip_val, 0.0)


def _refusing(check: Callable[..., object], *arguments: object) -> None:
    """A check whose error Hydra prints without a traceback."""
    try:
        check(*arguments)
    except ValueError as error:
        raise Refused(str(error)) from None


def _check_checkpoint(path: Any) -> None:
    if path is None or path in _NAMED_CHECKPOINTS or (isinstance(path, str) and "://" in path):
        return
    if not isinstance(path, str) or not path or not os.path.exists(path):
        raise Refused(f"ckpt_path must be a checkpoint's path, 'last', 'best' or null, got {shown(path)}: no such file")


def _check_entries(group: str, entries: Any) -> None:
    if entries is None:
        return
    if not OmegaConf.is_dict(entries):
        raise Refused(f"{group} must be a mapping of names to entries with _target_, got {shown(plain(entries))}")
    for key, entry in entries.items():
        if entry is not None and not (OmegaConf.is_dict(entry) and "_target_" in entry):
            raise Refused(f"{group}.{key} must be a mapping with _target_ or null, got {shown(plain(entry))}")


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
        raise Refused(f"optimizer can't be built from {shown(plain(described))}: {reason}") from None


def plain(node: Any) -> Any:
    """A config's node as plain types, for messages."""
    return OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
