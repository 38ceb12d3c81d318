"""A range test's settings, checked when it is built."""

from dataclasses import asdict, dataclass
from typing import Any

from lr_lightning.rules.probes import schedule
from lr_lightning.rules.range_test import check_rule
from lr_lightning.rules.sweep import SPACINGS, check_count, check_range


def check_choice(name: str, value: object, choices: tuple[Any, ...]) -> None:
    """Refuse a value that isn't one of ``choices``.

    Raises:
        ValueError: The message quotes the value and lists the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


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
        check_range(self.min_lr, self.max_lr)
        check_count("num_steps", self.num_steps, 2)
        check_choice("spacing", self.spacing, SPACINGS)
        check_rule(self.rule)
        check_count("repeats", self.repeats, 1)
        check_count("val_batches", self.val_batches, 1)
        check_choice("confirm", self.confirm, (None, "probes"))
        check_choice("horizon", self.horizon, ("auto", "decay", "constant"))
        check_choice("evaluate", self.evaluate, ("train", "val"))
        if self.num_batches is not None:
            check_count("num_batches", self.num_batches, 1)
        if self.optimizer is not None:
            check_count("optimizer", self.optimizer, 0)
        for epoch in self.at_epochs:
            check_count("at_epochs", epoch, 0)
        for kind in self.keep_callbacks:
            if not isinstance(kind, type):
                raise ValueError(f"keep_callbacks takes callback classes, got {kind!r}")
        if not isinstance(self.name, str) or not self.name.strip("/"):
            raise ValueError(f"name must be a tag such as 'range_test', got {self.name!r}")
        self._check_budget()

    def _check_budget(self) -> None:
        if self.confirm is None:
            return
        check_count("budget", self.budget, 1)
        swept = self.num_steps * self.repeats
        if not schedule(self.budget - swept)[0]:
            raise ValueError(f"budget must leave steps for probes after {swept} steps of sweeping, got {self.budget}")

    def record(self) -> dict[str, Any]:
        """The settings as plain types, for the records in event files."""
        plain = asdict(self)
        return {**plain, "at_epochs": list(self.at_epochs), "keep_callbacks": [k.__name__ for k in self.keep_callbacks]}
