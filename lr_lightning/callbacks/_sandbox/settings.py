"""A range test's settings, checked when it is built."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from lightning.pytorch import Callback

from lr_lightning.optim.schedulers import check_has_lr, unwrap
from lr_lightning.rules.checks import (
    MOST_STEPS,
    check_choice,
    check_count,
    check_flag,
    check_keys,
    check_name,
    nearest,
    shown,
)
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.range_test.protocol import SweepSettings


def checked_list(name: str, values: Any) -> tuple[Any, ...]:
    """The items of a list, for arguments that take several.

    Raises:
        ValueError: If it is no list, tuple or other sequence; a string is none.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise ValueError(f"{name} must be a list, got {shown(values)}")
    return tuple(values)


def check_device(name: str, device: object) -> None:
    """Refuse what torch knows no device by.

    Raises:
        ValueError: If ``device`` is neither None nor a device's name.
    """
    if device is None or isinstance(device, torch.device):
        return
    try:
        known = isinstance(device, str) and torch.device(device) is not None
    except RuntimeError:
        known = False
    if not known:
        raise ValueError(f"{name} must be a device such as 'cpu' or 'cuda:0', or None, got {shown(device)}")


def check_device_is_here(name: str, device: Any) -> None:
    """Refuse a device that this machine lacks, before anything is copied to it.

    Raises:
        ValueError: If nothing can be put there.
    """
    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError: as the backend likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{name}={device!r} can't be used on this machine: {reason}") from None


@dataclass(frozen=True)
class SandboxSettings:
    """How steps are taken inside of a fit: the ``sandbox=`` of :class:`~lr_lightning.LRRangeTest`.

    Attributes:
        num_batches: How many training batches the sweep cycles through; None goes through the data instead and keeps
            none of them.
        keep_callbacks: Other callbacks that must see the sweep's batches, as classes or names of classes; what they
            keep is not restored.
        isolate_data: Fetch the sweep's batches in a worker process, for datasets with an RNG or a position of their
            own; only needed with ``num_workers=0``.
        snapshot_device: Where to keep the copy of the training state, e.g. ``"cpu"`` for models that don't fit twice on
            the accelerator; None keeps it beside the original.
        force: Also test optimizers whose LR isn't a step size (Prodigy, D-Adaptation, schedule-free).
        rerun_on_resume: Test again when a fit is resumed from a checkpoint. By default a finished test isn't repeated,
            and one that is new in a resumed fit doesn't start.

    Raises:
        ValueError: If a value isn't valid; the message quotes it.
    """

    num_batches: int | None = protocol.CYCLED_BATCHES
    keep_callbacks: Sequence[type | str] = ()
    isolate_data: bool = False
    snapshot_device: Any = None
    force: bool = False
    rerun_on_resume: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_callbacks", checked_list("keep_callbacks", self.keep_callbacks))
        if self.num_batches is not None:
            check_count("num_batches", self.num_batches, 1, MOST_STEPS)
        for kind in self.keep_callbacks:
            if not isinstance(kind, type):
                check_name("keep_callbacks", kind, "callback classes or their names")
        for flag in ("isolate_data", "force", "rerun_on_resume"):
            check_flag(flag, getattr(self, flag))
        check_device("snapshot_device", self.snapshot_device)

    def kept(self, callbacks: Iterable[Callback]) -> list[Callback]:
        """Those of ``callbacks`` that take part in the sweep.

        Raises:
            ValueError: If a name is that of none of them; the message names the nearest one.
        """
        callbacks = list(callbacks)
        names = {kind.__name__ for callback in callbacks for kind in type(callback).__mro__ if kind is not object}
        for kind in self.keep_callbacks:
            if isinstance(kind, str) and kind not in names:
                near = nearest(kind, {type(callback).__name__ for callback in callbacks})
                raise ValueError(f"keep_callbacks names {kind!r}, which this trainer doesn't have{near}")
        return [callback for callback in callbacks if any(_is_a(callback, kind) for kind in self.keep_callbacks)]


def _is_a(callback: Callback, kind: type | str) -> bool:
    if isinstance(kind, str):
        return any(base.__name__ == kind for base in type(callback).__mro__)
    return isinstance(callback, kind)


def sandbox_settings(value: Any, defaults: Mapping[str, Any] | None = None) -> SandboxSettings:
    """The settings that ``sandbox=`` gives: None, a mapping of :class:`SandboxSettings`' arguments, or one.

    Args:
        value: What was given.
        defaults: The keys that may be given, with their values where they aren't; None: all, with their own.

    Raises:
        ValueError: If it is something else, or has a key that is none; the message names the nearest one.
    """
    if isinstance(value, SandboxSettings):
        return value
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise ValueError(f"sandbox must be a mapping, such as {{'num_batches': 4}}, got {shown(value)}")
    check_keys("sandbox", value, [item.name for item in fields(SandboxSettings)] if defaults is None else defaults)
    return SandboxSettings(**{**(defaults or {}), **value})


@dataclass(frozen=True)
class RangeTestSettings(SweepSettings):
    """What :class:`~lr_lightning.LRRangeTest` was asked for; its docstring explains each name."""

    evaluate: str = "train"
    val_batches: int = 1
    at_epochs: Sequence[int] = (0,)
    optimizer: int | None = None
    name: str = "range_test"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("evaluate", self.evaluate, ("train", "val"))
        check_count("val_batches", self.val_batches, 1, MOST_STEPS)
        object.__setattr__(self, "at_epochs", checked_list("at_epochs", self.at_epochs))
        for epoch in self.at_epochs:
            check_count("at_epochs", epoch, 0)
        if self.optimizer is not None:
            check_count("optimizer", self.optimizer, 0)
        check_name("name", self.name, "a tag such as 'range_test'")

    def record(self) -> Mapping[str, Any]:
        """The settings as plain types, for the records in event files."""
        own = {name: getattr(self, name) for name in ("evaluate", "val_batches", "optimizer", "name")}
        return {**super().record(), **own, "at_epochs": list(self.at_epochs)}


def check_optimizers(owner: str, optimizers: Sequence[Any], force: bool = False, hint: str = "") -> None:
    """Refuse optimizers whose LR can't be found by trying.

    Args:
        owner: The callback, for the message.
        optimizers: Those to sweep.
        force: Take those whose LR is there but is no step size.
        hint: What the message adds for those.

    Raises:
        ValueError: If there is none, one has no LR (``lr=None``), or its LR isn't a step size; the message names it.
    """
    check_has_lr(owner, optimizers)
    for optimizer in optimizers:
        why = why_lr_is_no_step_size(optimizer)
        if why and not force:
            raise ValueError(f"{owner} can't test this optimizer: {why}{hint}")


def why_lr_is_no_step_size(optimizer: Any) -> str | None:
    """Why a range test says nothing about this optimizer; None if its LR is a step size.

    >>> why_lr_is_no_step_size(torch.optim.SGD([torch.zeros(1)], lr=0.1)) is None
    True
    """
    inner = unwrap(optimizer)
    name = type(inner).__name__
    keys = {key for group in inner.param_groups for key in group}
    if "d" in keys or "prodigy" in name.lower() or "dadapt" in name.lower():
        return f"{name} estimates its own step size, its lr is a factor on that and belongs at 1"
    if "schedulefree" in name.lower() or {"weight_sum", "lr_max"} <= keys:
        return f"{name} averages its iterates, so the loss in a sweep lags behind the LR; tune it by whole runs"
    return None
