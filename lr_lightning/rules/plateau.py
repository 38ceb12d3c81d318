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
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from lr_lightning.rules.checks import check_choice, check_flag, check_number, is_number, shown
from lr_lightning.rules.plateau_cut import least_change
from lr_lightning.rules.plateau_drift import Drift
from lr_lightning.rules.plateau_gradients import Agreement
from lr_lightning.rules.plateau_kick import TRIAL, check_kick

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
            ``"restart"``, ``"kick"``, ``"cooldown"``, ``"non-finite"``.
        evidence: The numbers behind it (p-value, window, noise, ...), plain floats.
        cuts: By how many cuts at once the LR is to fall, where the action is to decay.
        waits: What a cut of a plateau is put off for: ``"window"`` (a longer one), ``"samples"`` (of the weights),
            ``"weights"`` (they move on), ``"endgame"``; empty where none is.

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


def rule_classes() -> dict[str, Any]:
    """The rules by name; the first is the default.

    >>> sorted(rule_classes())
    ['dlib', 'patience', 'trend']
    """
    from lr_lightning.rules.plateau_dlib import DlibRule
    from lr_lightning.rules.plateau_patience import PatienceRule
    from lr_lightning.rules.plateau_trend import TrendRule

    return {"trend": TrendRule, "patience": PatienceRule, "dlib": DlibRule}


def make_rule(name: str = "trend", **settings: Any) -> PlateauRule:
    """Build a rule by name.

    Args:
        name: ``"trend"``, ``"patience"`` or ``"dlib"``.
        **settings: The fields of that rule's dataclass.

    Raises:
        ValueError: If the name is unknown or the rule has no such setting.

    >>> make_rule("patience", patience=3).mode
    'min'
    """
    classes = rule_classes()
    check_choice("rule", name, classes)
    fields = [f for f in classes[name].__dataclass_fields__ if not f.startswith("_")]
    for key in settings:
        if key not in fields:
            value, known = shown(settings[key]), ", ".join(fields)
            raise ValueError(f"rule {name!r} has no setting {key!r}, got {value}; it has {known}")
    rule: PlateauRule = classes[name](**settings)
    return rule


def observe(
    rule: PlateauRule,
    state: Any,
    value: float,
    at: float | None,
    horizon: float | None,
    drift: Drift | None,
    gradients: Agreement | None = None,
) -> tuple[Any, Decision]:
    """One more observation, with how weights and gradients move where that is known; only the trend rule asks for it.

    >>> rule = make_rule("trend")
    >>> state, decision = observe(rule, rule.start(), 1.0, 1.0, 100.0, None)
    >>> decision.action
    'keep'
    """
    from lr_lightning.rules.plateau_trend import TrendRule

    if isinstance(rule, TrendRule):
        return rule.observe(state, value, at, horizon, drift, gradients)
    return rule.observe(state, value, at, horizon)


def restart(rule: PlateauRule, state: Any, value: float, at: float | None) -> tuple[Any, Decision | None]:
    """The state where something else raises the LR, and the decision that ends a kick if one is on trial.

    >>> rule = make_rule("trend")
    >>> restart(rule, rule.start(), 1.0, 1.0)[1] is None
    True
    """
    from lr_lightning.rules.plateau_trend import TrendRule

    if isinstance(rule, TrendRule) and state.stage.kicked == TRIAL:
        state = replace(state, at=check_at(at, state.seen, state.at))
        return rule.end_kick(state, value, "the schedule raises the LR")
    return rule.restart(state), None


def configure(
    rule: str | None = None,
    *,
    mode: str = "min",
    factor: float = 0.5,
    interval: str = "epoch",
    window: float | int | None = None,
    patience: int | None = None,
    threshold: float | None = None,
    threshold_mode: str | None = None,
    cooldown: int = 0,
    endgame: float | None = None,
    on_flat_region: str = "keep",
    gate: bool | None = None,
    kick: str = "lr",
    kick_momentum: float | None = None,
    eps: float | None = None,
    horizon_known: bool = True,
) -> PlateauRule:
    """The rule that a user's settings ask for; ``patience`` alone asks for the patience rule.

    ``horizon_known`` is False where the run's end is known to be unknown: dlib's window can't be a share of it then.
    ``gate`` is only checked here: whoever feeds the trend rule hands it the drift of the weights, or doesn't. So is
    ``eps``: it is no part of the decision, but of the cut (:mod:`lr_lightning.rules.plateau_cut`).

    Raises:
        ValueError: If a setting is out of its range, or belongs to another rule.

    >>> configure(patience=3).name, configure().name
    ('patience', 'trend')
    """
    check_choice("interval", interval, ("epoch", "step"))
    check_choice("on_flat_region", on_flat_region, ("keep", "kick", "decay"))
    check_kick(on_flat_region, kick, kick_momentum)
    check_factor(factor)
    name = rule if rule is not None else "trend" if patience is None else "patience"
    check_choice("rule", name, rule_classes())
    settings: dict[str, Any] = {"mode": mode, "cooldown": cooldown}
    given = {
        "window": window,
        "patience": patience,
        "threshold": threshold,
        "threshold_mode": threshold_mode,
        "endgame": endgame,
        "on_flat": None if on_flat_region == "keep" else on_flat_region,
    }
    settings.update({key: value for key, value in given.items() if value is not None})
    if name == "trend":
        # A step is a far smaller piece of evidence than an epoch, and nothing but the horizon could tell them apart.
        settings.update(factor=factor, kick=kick, open_least=200 if interval == "step" else 5)
    made = make_rule(name, **settings)
    least_change(name, eps)
    if gate is not None and check_flag("gate", gate) and (name != "trend" or on_flat_region == "decay"):
        other = f"rule {name!r}" if name != "trend" else "on_flat_region='decay'"
        raise ValueError(f"gate=True waits in flat regions by the trend rule: it doesn't go with {other}")
    if name == "dlib" and isinstance(window, float) and not horizon_known:
        raise ValueError(f"window={window!r} is a share of the planned run, whose end isn't known; give an int")
    return made
