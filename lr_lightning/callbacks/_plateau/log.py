"""PlateauDecay's record of a decision: in the history, in event files, in the log."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lr_lightning.callbacks._plateau import settings
from lr_lightning.callbacks._plateau.source import TrainLosses
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.optim.param_groups import LRChange
from lr_lightning.reporting.events import LREvent, write_event
from lr_lightning.rules.plateau import diagnosis
from lr_lightning.rules.plateau.decision import Decision


def reason_of(decision: Decision, rule: str, losses: TrainLosses | None, momentum: str = "") -> str:
    """The decision's reason with the diagnosis, and what became of the momentum."""
    reason = decision.reason
    if decision.cause in ("plateau", "flat") and rule == "trend" and decision.action != "unkick":
        kind = diagnosis.diagnose(decision.cause, decision.evidence, losses.means if losses is not None else ())
        reason += f"; {diagnosis.WORDS[kind]}"
    return f"{reason}; {momentum}" if momentum else reason


def record(
    trainer: Any, monitor: str, decision: Decision, reason: str, change: LRChange, factor: float, verbose: bool
) -> dict[str, Any]:
    """Write an event and a line of the log; returns the decision as plain types, for the history."""
    entry = settings.entry_of(decision, reason, change, factor, trainer.current_epoch, _sandbox.logging_step(trainer))
    kind = "restore" if decision.action == "unkick" else entry["action"]
    name = f"PlateauDecay({monitor})"
    write_event(trainer, LREvent(kind, entry["step"], entry["epoch"], change.old, change.new, reason, name))
    if verbose:
        say(monitor, settings.line_of(entry))
    return entry


def say(monitor: str, words: str) -> None:
    """A line of the log."""
    rank_zero_info(f"PlateauDecay({monitor}): {words}")
