"""The axes of a search: the LR and the parameters searched with it, each with its own scale."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from lr_lightning.rules.checks import check_choice, check_flag, check_name, check_number, check_range, is_number, shown

SCALES: tuple[str, ...] = ("log", "linear")
Value: TypeAlias = Any
"""A number; of choices a string, a boolean or None as well."""
_MOST_DECADES = 300.0
"""Widening ends where a float does."""


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
            Numbers, strings (config groups, too), booleans or None.
        widen: Whether a minimum at a border moves that border. Choices never widen, and a linear range doesn't begin to
            reach below 0, nor whole numbers below 1.

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
        check_name("param", self.name, "the key of a parameter")
        check_choice(f"scale of {self.name}", self.scale, SCALES)
        for flag in ("integer", "widen"):
            check_flag(f"{flag} of {self.name}", getattr(self, flag))
        if not isinstance(self.choices, tuple) or len(self.choices) > 0:
            self._check_choices()
        elif self.scale == "log":
            check_range(self.low, self.high, (f"{self.name}: low", f"{self.name}: high"))
        else:
            for end in ("low", "high"):
                check_number(f"{self.name}: {end}", getattr(self, end))
            if self.low >= self.high:
                raise ValueError(f"{self.name}: low must be below high, got low={self.low!r} and high={self.high!r}")

    def _check_choices(self) -> None:
        plain = isinstance(self.choices, tuple) and all(
            c is None or isinstance(c, (str, bool)) or is_number(c) for c in self.choices
        )
        if not plain or len(self.choices) < 2 or len(set(self.choices)) < len(self.choices):
            raise ValueError(
                f"choices of {self.name} must be at least 2 different numbers, strings, booleans or null, "
                f"got {shown(self.choices)}"
            )

    @property
    def can_widen(self) -> bool:
        """Whether the borders may move."""
        return self.widen and not self.choices

    @property
    def floor(self) -> float:
        """Where widening downwards ends: no share or size turns negative, and no whole number becomes none."""
        if self.integer and self.low >= 1.0:
            return 1.0
        return 0.0 if self.scale == "linear" and self.low >= 0.0 else -math.inf

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
            start = math.log10(self.low)
            place = min(max(place, (-_MOST_DECADES - start) / self.decades), (_MOST_DECADES - start) / self.decades)
            number = self.low * 10.0 ** (self.decades * place)
        else:
            number = self.low + (self.high - self.low) * place
        number = max(number, self.floor)
        return round(number) if self.integer else float(f"{number:.6g}")


def axis_from(name: str, settings: dict[str, Any]) -> Axis:
    """Build an axis from a config's mapping.

    Raises:
        ValueError: If a key is unknown or a value does not fit.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"{name} must be a mapping such as {{low: 0, high: 0.5}}, got {shown(settings)}")
    known = ("low", "high", "scale", "integer", "choices", "widen")
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise ValueError(f"{name}: unknown setting {shown(unknown[0])}; known are {', '.join(known)}")
    if "choices" in settings:
        listed = settings["choices"]
        return Axis(name, **{**settings, "choices": tuple(listed) if isinstance(listed, (list, tuple)) else listed})
    for key in ("low", "high"):
        if not is_number(settings.get(key)):
            raise ValueError(f"{name}: {key} must be a number (or give choices), got {shown(settings.get(key))}")
    return Axis(name, **{**settings, "low": float(settings["low"]), "high": float(settings["high"])})
