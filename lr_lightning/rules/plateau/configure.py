"""The plateau rules by name, and the rule that a user's settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from lr_lightning.rules.checks import check_choice, nearest, shown
from lr_lightning.rules.plateau.decision import Decision, PlateauRule, check_at, check_factor
from lr_lightning.rules.plateau.kick import TRIAL
from lr_lightning.rules.plateau.motion import Drift
from lr_lightning.rules.plateau.patience import PatienceRule
from lr_lightning.rules.plateau.trend import TrendRule

Rule = TrendRule | PatienceRule
Asked = str | Mapping[str, Any] | Rule | None
"""What a user may ask for: a name, a mapping with a ``name`` and that rule's settings, or a rule."""

_STEPS = 200
"""Observations of single steps that a window holds at least where the run's end isn't known: a step is a far smaller
piece of evidence than an epoch, and nothing but the end could tell them apart. A choice."""


def rule_classes() -> dict[str, Any]:
    """The rules by name; the first is the default.

    >>> sorted(rule_classes())
    ['patience', 'trend']
    """
    return {"trend": TrendRule, "patience": PatienceRule}


def make_rule(name: str = "trend", **settings: Any) -> Rule:
    """Build a rule by name.

    Args:
        name: ``"trend"`` or ``"patience"``.
        **settings: The fields of that rule's dataclass.

    Raises:
        ValueError: If the name is unknown, or the rule has no such setting or refuses its value.

    >>> make_rule("patience", patience=3).mode
    'min'
    """
    classes = rule_classes()
    check_choice("rule", name, classes)
    known = [item.name for item in fields(classes[name])]
    for key in settings:
        if key not in known:
            others = [other for other, made in classes.items() if key in {item.name for item in fields(made)}]
            where = f"; rule {others[0]!r} has" if others else nearest(str(key), known)
            raise ValueError(f"rule {name!r} has no setting {key!r}, got {shown(settings[key])}{where}")
    rule: Rule = classes[name](**settings)
    return rule


def settings_of(rule: Rule) -> dict[str, Any]:
    """A rule as a mapping of plain types with its name: what ``make_rule`` takes.

    >>> settings_of(PatienceRule(patience=3))["patience"]
    3
    """
    return {"name": rule.name, **{item.name: getattr(rule, item.name) for item in fields(rule)}}


def configure(
    rule: Asked = None,
    *,
    mode: str = "min",
    factor: float = 0.5,
    cooldown: int = 0,
    interval: str = "epoch",
    patience: int | None = None,
    threshold: float | None = None,
    threshold_mode: str | None = None,
) -> Rule:
    """The rule that a user's settings ask for; ``patience`` alone asks for the patience rule.

    What is None isn't asked for. A setting may be given twice, by name and within ``rule``, if both say the same.

    Raises:
        ValueError: If a setting is out of its range, belongs to another rule, or is given twice.

    >>> configure(patience=3).name, configure().name, configure({"name": "trend", "window": 0.1}).window
    ('patience', 'trend', 0.1)
    """
    check_choice("interval", interval, ("epoch", "step"))
    check_factor(factor)
    name, inner = _asked(rule, "trend" if patience is None else "patience")
    check_choice("rule", name, rule_classes())
    shared = {"mode": mode, "factor": factor, "cooldown": cooldown}
    outer = {"patience": patience, "threshold": threshold, "threshold_mode": threshold_mode}
    known = {item.name for item in fields(rule_classes()[name])}
    settings = {key: value for key, value in shared.items() if key in known}
    settings |= {key: value for key, value in outer.items() if value is not None}
    for key, value in inner.items():
        if key in settings and settings[key] != value:
            raise ValueError(f"{key}={shown(settings[key])} and rule={{{key!r}: {shown(value)}}} differ; give one")
        settings[key] = value
    if name == "trend" and interval == "step":
        settings.setdefault("open_least", _STEPS)
    return make_rule(name, **settings)


def _asked(rule: Asked, otherwise: str) -> tuple[str, dict[str, Any]]:
    """The rule's name, and the settings that were given with it."""
    if rule is None or isinstance(rule, str):
        return otherwise if rule is None else rule, {}
    if isinstance(rule, (TrendRule, PatienceRule)):
        changed = (item.name for item in fields(rule) if getattr(rule, item.name) != item.default)
        return rule.name, {key: getattr(rule, key) for key in changed}
    if not isinstance(rule, Mapping):
        names = ", ".join(rule_classes())
        raise ValueError(f"rule must be one of {names}, a mapping with such a name, or a rule, got {shown(rule)}")
    settings = {str(key): value for key, value in rule.items()}
    name = settings.pop("name", None)
    if name is not None:
        return name, settings
    return ("patience" if "patience" in settings else otherwise), settings


def observe(
    rule: PlateauRule, state: Any, value: float, at: float | None, horizon: float | None, drift: Drift | None
) -> tuple[Any, Decision]:
    """One more observation, with how the weights move where that is known; only the trend rule asks for it.

    >>> rule = make_rule("trend")
    >>> state, decision = observe(rule, rule.start(), 1.0, 1.0, 100.0, None)
    >>> decision.action
    'keep'
    """
    if isinstance(rule, TrendRule):
        return rule.observe(state, value, at, horizon, drift)
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


def follows_weights(rule: PlateauRule, planned: bool) -> bool:
    """Whether the rule wants to know how the weights move, in a run whose end is planned or isn't.

    >>> follows_weights(TrendRule(), True), follows_weights(TrendRule(), False), follows_weights(PatienceRule(), True)
    (True, False, False)
    """
    if not isinstance(rule, TrendRule):
        return False
    return rule.gate if rule.gate is not None else planned and rule.on_flat_region != "decay"
