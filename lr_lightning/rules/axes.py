"""The axes of a search: the LR and the parameters searched with it, each with its own scale."""

import math
from dataclasses import dataclass
from typing import Any

from lr_lightning.rules.sweep import check_range

SCALES: tuple[str, ...] = ("log", "linear")
Value = float | int | str


@dataclass(frozen=True)
class Axis:
    """One searched parameter.

    Attributes:
        name: Its name, for Hydra its key (``model.lr``).
        low: Lower end of the range, in the parameter's own unit. Unused with ``choices``.
        high: Upper end of the range.
        scale: ``"log"`` (LRs, weight decays, batch sizes) or ``"linear"`` (dropout, momentum).
        integer: Round to whole numbers.
        choices: A list instead of a range, in the order of its effect (``[16, 32, 64]``): neighbours inform each other.
        widen: Whether a minimum at a border moves that border. Choices never widen.

    Raises:
        ValueError: If the range is empty, a bound of a log axis is not positive, the scale is unknown, or there are
            fewer than two choices.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    scale: str = "log"
    integer: bool = False
    choices: tuple[Value, ...] = ()
    widen: bool = True

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale of {self.name} must be one of {', '.join(SCALES)}, got {self.scale!r}")
        if self.choices:
            if len(self.choices) < 2 or len(set(self.choices)) < len(self.choices):
                raise ValueError(f"choices of {self.name} must be at least 2 different values, got {self.choices!r}")
        elif self.scale == "log":
            _named(self.name, lambda: check_range(self.low, self.high))
        elif not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self.name}: low must be below high, got low={self.low!r} and high={self.high!r}")

    @property
    def can_widen(self) -> bool:
        """Whether the borders may move."""
        return self.widen and not self.choices

    @property
    def decades(self) -> float:
        """Length of the range: in decades on a log axis, 1 on any other."""
        return math.log10(self.high / self.low) if self.scale == "log" and not self.choices else 1.0

    def place(self, value: Value) -> float:
        """Where a value stands: 0 at ``low``, 1 at ``high``, in the axis's scale; outside of that after widening."""
        if self.choices:
            return self.choices.index(value) / (len(self.choices) - 1)
        number = float(value)
        if self.scale == "log":
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def value(self, place: float) -> Value:
        """The value at a place, the inverse of :meth:`place`; 6 digits are kept so that it reads well in a command.

        >>> Axis("lr", 1e-4, 1.0).value(0.5)
        0.01
        """
        if self.choices:
            return self.choices[min(max(round(place * (len(self.choices) - 1)), 0), len(self.choices) - 1)]
        if self.scale == "log":
            number = self.low * (self.high / self.low) ** place
        else:
            number = self.low + (self.high - self.low) * place
        return round(number) if self.integer else float(f"{number:.6g}")


def axis_from(name: str, settings: dict[str, Any]) -> Axis:
    """Build an axis from a config's mapping.

    Raises:
        ValueError: If a key is unknown or a value does not fit.
    """
    known = ("low", "high", "scale", "integer", "choices", "widen")
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"{name}: unknown setting {unknown[0]!r}; known are {', '.join(known)}")
    if "choices" in settings:
        return Axis(name, **{**settings, "choices": tuple(settings["choices"])})
    for key in ("low", "high"):
        if isinstance(settings.get(key), bool) or not isinstance(settings.get(key), (int, float)):
            raise ValueError(f"{name}: {key} must be a number (or give choices), got {settings.get(key)!r}")
    return Axis(name, **{**settings, "low": float(settings["low"]), "high": float(settings["high"])})


def _named(name: str, check: Any) -> None:
    try:
        check()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
