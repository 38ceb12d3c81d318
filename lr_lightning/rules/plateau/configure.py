"""The plateau rules by name, and the rule that a user's settings ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lr_lightning.rules.checks import check_choice, check_flag, shown
from lr_lightning.rules.plateau.cut import least_change
from lr_lightning.rules.plateau.decision import Decision, PlateauRule, check_at, check_factor
from lr_lightning.rules.plateau.dlib import DlibRule
from lr_lightning.rules.plateau.gradients import Agreement
from lr_lightning.rules.plateau.kick import TRIAL, check_kick
from lr_lightning.rules.plateau.motion import Drift
from lr_lightning.rules.plateau.patience import PatienceRule
from lr_lightning.rules.plateau.trend import TrendRule


def rule_classes() -> dict[str, Any]:
    """The rules by name; the first is the default.

    >>> sorted(rule_classes())
    ['dlib', 'patience', 'trend']
    """
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
    if isinstance(rule, TrendRule):
        return rule.observe(state, value, at, horizon, drift, gradients)
    return rule.observe(state, value, at, horizon)


def restart(rule: PlateauRule, state: Any, value: float, at: float | None) -> tuple[Any, Decision | None]:
    """The state where something else raises the LR, and the decision that ends a kick if one is on trial.

    >>> rule = make_rule("trend")
    >>> restart(rule, rule.start(), 1.0, 1.0)[1] is None
    True
    """
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
    ``eps``: it is no part of the decision, but of the cut (:mod:`lr_lightning.rules.plateau.cut`).

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
