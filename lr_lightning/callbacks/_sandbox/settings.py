"""A range test's settings, checked when it is built."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lr_lightning.optim.param_groups import unwrap
from lr_lightning.rules.checks import MOST_STEPS, check_choice, check_count, check_name, shown
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.probes import schedule
from lr_lightning.rules.range_test.readings import check_rule

MOST_REPEATS = 1000


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
class RangeTestSettings:
    """What :class:`~lr_lightning.LRRangeTest` was asked for; its docstring explains each name."""

    min_lr: float
    max_lr: float
    num_steps: int
    spacing: str
    rule: str
    num_batches: int | None
    repeats: int
    confirm: str | None
    budget: int
    horizon: str
    evaluate: str
    val_batches: int
    at_epochs: tuple[int, ...]
    optimizer: int | None
    keep_callbacks: tuple[type, ...]
    name: str

    def __post_init__(self) -> None:
        ladder(self.min_lr, self.max_lr, self.num_steps, self.spacing)
        check_rule(self.rule)
        check_count("repeats", self.repeats, 1, MOST_REPEATS)
        check_count("val_batches", self.val_batches, 1, MOST_STEPS)
        check_count("budget", self.budget, 1)
        check_choice("confirm", self.confirm, (None, "probes"))
        check_choice("horizon", self.horizon, ("auto", "decay", "constant"))
        check_choice("evaluate", self.evaluate, ("train", "val"))
        if self.num_batches is not None:
            check_count("num_batches", self.num_batches, 1, MOST_STEPS)
        if self.optimizer is not None:
            check_count("optimizer", self.optimizer, 0)
        for epoch in self.at_epochs:
            check_count("at_epochs", epoch, 0)
        for kind in self.keep_callbacks:
            if not isinstance(kind, type):
                raise ValueError(f"keep_callbacks takes callback classes, got {shown(kind)}")
        check_name("name", self.name, "a tag such as 'range_test'")
        self._check_budget()

    def _check_budget(self) -> None:
        if self.confirm is None:
            return
        swept = self.num_steps * self.repeats
        if not schedule(self.budget - swept)[0]:
            raise ValueError(f"budget must leave steps for probes after {swept} steps of sweeping, got {self.budget}")

    def record(self) -> dict[str, Any]:
        """The settings as plain types, for the records in event files."""
        plain = asdict(self)
        return {**plain, "at_epochs": list(self.at_epochs), "keep_callbacks": [k.__name__ for k in self.keep_callbacks]}


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
