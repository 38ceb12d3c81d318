"""PlateauDecay's saved state, read as a whole before any of it is applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._plateau.horizon import Plan
from lr_lightning.callbacks._plateau.motion import Gate
from lr_lightning.callbacks._plateau.presence import Presence
from lr_lightning.callbacks._plateau.source import LossWindow, TrainLosses
from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.optim.motion import WeightPath
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau.configure import Rule
from lr_lightning.rules.plateau.cuts import least_change
from lr_lightning.rules.plateau.decision import check_factor
from lr_lightning.rules.saved import Saved

_ENTRY = ("epoch", "step", "action", "cause", "reason", "old_lr", "new_lr", "factor", "evidence")


def of(callback: Any) -> dict[str, Any]:
    """The state of a callback: what ``attributes`` reads."""
    return {
        "rule": plateau.settings_of(callback._rule),
        "factor": callback.factor,
        "eps": callback.eps,
        "state": callback._state.to_dict(),
        "factor_so_far": callback.factor_so_far,
        "inherited": callback._inherited,
        "planned": callback._plan.end,
        "history": [dict(entry) for entry in callback.history],
        "batches": callback._batches,
        "group_counts": list(callback._group_counts),
        "schedule_lr": callback._plan.schedule_lr,
        "validated_at": callback._validated_at,
        "window": callback._window.state_dict(),
        "begun": callback._begun,
        "seen": callback._presence.seen,
        "pending": callback._pending,
        "warned": sorted(callback._warned),
        "told": list(callback._told),
        "best": callback._best.state_dict() if callback._best is not None else None,
        "train_losses": callback._train_losses.state_dict(),
        "gate": callback._gate.state_dict(),
        "writer": callback._writer.state_dict(),
    }


def attributes(callback: Any, state: object) -> dict[str, Any]:
    """The callback's attributes as the state has them.

    Raises:
        ValueError: If anything in the state isn't what ``state_dict`` gives.
    """
    saved = Saved("PlateauDecay", state, later={"validated_at": None})
    theirs, their_factor, their_eps = _asked(saved)
    rule, factor, eps = _chosen(callback, theirs, their_factor, their_eps)
    found: dict[str, Any] = {
        "_rule": rule,
        "eps": eps,
        "factor": factor,
        "_state": rule.load(saved["state"]) if theirs.name == rule.name else rule.start(),
        "factor_so_far": saved.number("factor_so_far"),
        "_inherited": saved.number("inherited"),
        "history": [_entry(saved, entry) for entry in saved.items("history")],
        "_batches": saved.count("batches"),
        "_group_counts": saved.counts("group_counts"),
        "_window": LossWindow.from_state(saved.child("window")),
        "_begun": saved.flag("begun"),
        "_pending": saved.optional("pending", saved.value),
        "_warned": set(saved.texts("warned")),
        "_told": tuple(saved.texts("told")),
    }
    # Where nobody noted it, none is missed.
    validated = saved.optional("validated_at", saved.count)
    found["_validated_at"] = found["_batches"] if validated is None else validated
    if not found["factor_so_far"] > 0:
        raise saved.refuse("factor_so_far", "above 0", found["factor_so_far"])
    found["_plan"] = Plan(callback.feed.horizon, callback.warmup)
    found["_plan"].end = saved.optional("planned", saved.number)
    found["_plan"].schedule_lr = saved.optional("schedule_lr", saved.number)
    found["_presence"] = Presence(callback.monitor, callback.interval)
    found["_presence"].seen = saved.flag("seen")
    found["_gate"] = Gate()
    found["_gate"].path = WeightPath.from_state(saved.child("gate"))
    found["_writer"] = DecisionWriter(factor).loaded(saved.child("writer"))
    found["_train_losses"] = TrainLosses.from_state(saved.child("train_losses"))
    best = saved.child("best") if saved["best"] is not None else None
    if callback._best is not None and best is not None:
        found["_best"] = callback._best.with_state(best)
    return found


def _asked(saved: Saved) -> tuple[Rule, float, float | None]:
    """The checkpoint's rule, factor and eps."""
    name = saved.child("rule").text("name", plateau.rule_classes())
    child = saved.child("rule", plateau.settings_of(plateau.make_rule(name)))
    try:
        rule = plateau.make_rule(**{str(key): value for key, value in child.state.items()})
        check_factor(saved["factor"])
        eps = None if saved["eps"] is None else least_change(rule.name, saved["eps"])
    except ValueError as error:
        raise ValueError(f"{saved.owner}: {error}") from None
    return rule, float(saved["factor"]), eps


def _chosen(callback: Any, theirs: Rule, factor: float, eps: float | None) -> tuple[Rule, float, float | None]:
    """The rule, factor and eps to go on with, the checkpoint's or the new ones."""
    mine = (callback._rule, callback.factor, callback.eps)
    old = {**plateau.settings_of(theirs), "factor": factor, "eps": eps}
    new = {**plateau.settings_of(callback._rule), "factor": callback.factor, "eps": callback.eps}
    changed = sorted(key.replace("name", "rule") for key in old if key in new and old[key] != new[key])
    if not changed:
        return mine
    kept = callback.feed.on_resume == "keep"
    chosen = "the checkpoint's are kept" if kept else "the new ones are taken"
    rank_zero_warn(f"PlateauDecay: {', '.join(changed)} differ from the checkpoint's; {chosen} (on_resume)")
    return (theirs, factor, eps) if kept else mine


def _entry(saved: Saved, entry: object) -> dict[str, Any]:
    if not isinstance(entry, Mapping) or set(entry) != set(_ENTRY):
        raise saved.refuse("history", f"decisions with {', '.join(_ENTRY)}", entry)
    one = Saved(f"{saved.owner}: history", entry)
    return {
        **{key: one.count(key) for key in ("epoch", "step")},
        **{key: one.text(key) for key in ("action", "cause", "reason")},
        **{key: one.number(key) for key in ("old_lr", "new_lr", "factor")},
        "evidence": one.named_floats("evidence"),
    }
