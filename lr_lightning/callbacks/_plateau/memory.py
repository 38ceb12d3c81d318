"""PlateauDecay's saved state, read as a whole before any of it is applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._plateau.motion import Gradients, gate_for
from lr_lightning.callbacks._plateau.source import LossWindow, TrainLosses
from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.optim.gradient_agreement import GradientPath
from lr_lightning.optim.motion import WeightPath
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau.decision import PlateauRule
from lr_lightning.rules.saved import Saved

_ENTRY = ("epoch", "step", "action", "cause", "reason", "old_lr", "new_lr", "factor", "evidence")


def of(callback: Any) -> dict[str, Any]:
    """The state of a callback: what ``attributes`` reads."""
    return {
        "settings": dict(callback._settings),
        "rule": callback._rule.name,
        "state": callback._state.to_dict(),
        "factor_so_far": callback.factor_so_far,
        "history": [dict(entry) for entry in callback.history],
        "batches": callback._batches,
        "group_counts": list(callback._group_counts),
        "schedule_lr": callback._schedule_lr,
        "window": callback._window.state_dict(),
        "seen": callback._seen,
        "warned": sorted(callback._warned),
        "told": list(callback._told),
        "best": callback._best.state_dict() if callback._best is not None else None,
        "train_losses": callback._train_losses.state_dict() if callback._train_losses is not None else None,
        "gate": callback._gate.state_dict() if callback._gate is not None else None,
        "gradients": callback._gradients.state_dict() if callback._gradients is not None else None,
        "writer": callback._writer.state_dict(),
    }


def attributes(callback: Any, state: object) -> dict[str, Any]:
    """The callback's attributes as the state has them.

    Raises:
        ValueError: If anything in the state isn't what ``state_dict`` gives.
    """
    saved = Saved("PlateauDecay", state)
    chosen, rule = _settings(callback, saved.child("settings", callback._settings))
    name = saved.text("rule", plateau.rule_classes())
    found: dict[str, Any] = {
        "_settings": chosen,
        "_rule": rule,
        "factor": float(chosen["factor"]),
        "_state": rule.load(saved["state"]) if name == rule.name else rule.start(),
        "factor_so_far": saved.number("factor_so_far"),
        "history": [_entry(saved, entry) for entry in saved.items("history")],
        "_batches": saved.count("batches"),
        "_group_counts": saved.counts("group_counts"),
        "_schedule_lr": saved.optional("schedule_lr", saved.number),
        "_window": LossWindow.from_state(saved.child("window")),
        "_seen": saved.flag("seen"),
        "_warned": set(saved.texts("warned")),
        "_told": tuple(saved.texts("told")),
    }
    if not found["factor_so_far"] > 0:
        raise saved.refuse("factor_so_far", "above 0", found["factor_so_far"])
    found["_gate"] = gate_for(chosen, rule.name)
    path = WeightPath.from_state(saved.child("gate")) if saved["gate"] is not None else None
    if found["_gate"] is not None and path is not None:
        found["_gate"].path = path
    writer = DecisionWriter(found["factor"], chosen["kick"], chosen["kick_momentum"])
    found["_writer"] = writer.loaded(saved.child("writer"))
    gradients = saved.child("gradients") if saved["gradients"] is not None else None
    if callback._gradients is not None and gradients is not None:
        found["_gradients"] = Gradients()
        found["_gradients"].path = GradientPath.from_state(gradients)
    best = saved.child("best") if saved["best"] is not None else None
    if callback._best is not None and best is not None:
        found["_best"] = callback._best.with_state(best)
    losses = saved.child("train_losses") if saved["train_losses"] is not None else None
    if callback._train_losses is not None and losses is not None:
        found["_train_losses"] = TrainLosses.from_state(losses)
    return found


def _settings(callback: Any, saved: Saved) -> tuple[dict[str, Any], PlateauRule]:
    """The settings to go on with, the checkpoint's or the new ones, and their rule."""
    given = {key: saved[key] for key in callback._settings}
    try:
        theirs = plateau.configure(mode=callback.mode, interval=callback.interval, **given)
    except ValueError as error:
        raise ValueError(f"{saved.owner}: {error}") from None
    changed = [key for key in sorted(given) if given[key] != callback._settings[key]]
    if not changed:
        return dict(callback._settings), callback._rule
    kept = callback.on_resume == "keep"
    chosen = "the checkpoint's are kept" if kept else "the new ones are taken"
    rank_zero_warn(f"PlateauDecay: {', '.join(changed)} differ from the checkpoint's; {chosen} (on_resume)")
    return (given, theirs) if kept else (dict(callback._settings), callback._rule)


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
