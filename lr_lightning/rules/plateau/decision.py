"""A stream of metric values in, "keep" or "decay" out: the rules that tell a plateau from progress, by name.

Every rule is a frozen dataclass of settings with two methods, and holds nothing that changes::

    rule = make_rule("trend", mode="min")
    state = rule.start()
    for value in values:
        state, decision = rule.observe(state, value, at=epoch, horizon=max_epochs)
        if decision.action == "decay":
            lr *= 0.5

``state`` is an immutable value with ``to_dict`` and a ``from_dict`` of plain numbers, so a stream that is interrupted
anywhere goes on as if it had not been. ``at`` is where the observation stands (epochs, steps, seconds: any clock that
grows; by default the number of observations), ``horizon`` where the run is planned to end on the same clock
(``None``: unknown).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from lr_lightning.rules.checks import check_choice, check_number, is_number, shown

Action = Literal["keep", "decay", "kick", "unkick"]
Mode = Literal["min", "max"]
MODES: tuple[str, ...] = ("min", "max")


@dataclass(frozen=True)
class Decision:
    """What to do after one observation, and why.

    Attributes:
        action: ``"keep"``, ``"decay"``, ``"kick"`` (raise LR or momentum for a while) or ``"unkick"`` (take that back).
        reason: The evidence in words, ready for a log line.
        cause: What kind of decision: ``"progress"``, ``"waiting"``, ``"plateau"``, ``"flat"``, ``"endgame"``,
            ``"kick"``, ``"cooldown"``, ``"non-finite"``.
        evidence: The numbers behind it (p-value, window, noise, ...), plain floats.
        cuts: By how many cuts at once the LR is to fall, where the action is to decay.
        waits: What a cut of a plateau is put off for: ``"samples"`` (of the weights), ``"weights"``
            (they move on), ``"endgame"``; empty where none is.

    >>> Decision("decay", "no trend over 12 observations", cause="plateau").decays
    True
    """

    action: Action
    reason: str
    cause: str = "progress"
    evidence: Mapping[str, float] = field(default_factory=dict)
    cuts: int = 1
    waits: str = ""

    @property
    def decays(self) -> bool:
        """Whether the LR is to be cut."""
        return self.action == "decay"


@runtime_checkable
class PlateauState(Protocol):
    """What a rule remembers: immutable, plain numbers."""

    @property
    def seen(self) -> int:
        """Observations so far, non-finite ones included."""

    @property
    def nonfinite_row(self) -> int:
        """Non-finite observations in a row up to now."""

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types, fit for a checkpoint."""


@runtime_checkable
class PlateauRule(Protocol):
    """Settings of a rule with its pure functions."""

    @property
    def name(self) -> str:
        """The name under which ``make_rule`` finds it."""

    @property
    def mode(self) -> str:
        """``"min"`` or ``"max"``."""

    def start(self) -> Any:
        """The state before the first observation."""

    def observe(
        self, state: Any, value: float, at: float | None = None, horizon: float | None = None
    ) -> tuple[Any, Decision]:
        """The state after one more observation, and the decision on it."""

    def restart(self, state: Any) -> Any:
        """Forget the values of the current stage (the LR was changed by something else), keep the counters."""

    def load(self, state: Mapping[str, Any]) -> Any:
        """The state that ``state.to_dict()`` came from."""


def check_mode(mode: object) -> None:
    """Refuse anything but min and max.

    Raises:
        ValueError: If ``mode`` is neither.

    >>> check_mode("max")
    """
    check_choice("mode", mode, MODES)


def check_factor(factor: object) -> None:
    """Refuse a multiplier that doesn't lower an LR.

    Raises:
        ValueError: If ``factor`` isn't a number above 0 and below 1.

    >>> check_factor(0.5)
    """
    check_number("factor", factor, 0.0, 1.0, open_low=True, open_high=True)


def check_at(at: float | None, seen: int, last: float) -> float:
    """The position of a new observation: ``at``, or the count of observations; it never runs backwards.

    Raises:
        ValueError: If ``at`` is not finite or before the position of the observation before.
    """
    if at is None:
        return float(seen)
    if not is_number(at) or at < last:
        raise ValueError(f"at must be finite and not before the last observation's {last:g}, got {shown(at)}")
    return float(at)
