"""PlateauDecay's record of a decision: in the history, in event files, in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lr_lightning.callbacks import _plateau_settings as settings
from lr_lightning.callbacks import _sandbox
from lr_lightning.decision_writer import Written
from lr_lightning.param_groups import LRChange, get_lr
from lr_lightning.reporting.events import LREvent, write_event
from lr_lightning.rules import plateau_diagnosis as diagnosis
from lr_lightning.rules.plateau import Decision


def reason_of(decision: Decision, rule: str, losses: Sequence[float], written: Written) -> str:
    """The decision's reason with the diagnosis, and what became of the momentum."""
    reason = decision.reason
    if decision.cause in ("plateau", "flat") and rule == "trend" and decision.action != "unkick":
        reason += f"; {diagnosis.WORDS[diagnosis.diagnose(decision.cause, decision.evidence, losses)]}"
    return f"{reason}; {written.momentum}" if written.momentum else reason


def record(
    trainer: Any,
    monitor: str,
    decision: Decision,
    reason: str,
    written: Written,
    optimizers: Sequence[Any],
    verbose: bool,
) -> dict[str, Any]:
    """Write an event and a line of the log; returns the decision as plain types, for the history."""
    change, factor = _first(written, optimizers)
    step = _sandbox.logging_step(trainer)
    entry = settings.entry_of(decision, reason, change, factor, trainer.current_epoch, step)
    kind = "restore" if decision.action == "unkick" else decision.action
    name = f"PlateauDecay({monitor})"
    write_event(trainer, LREvent(kind, entry["step"], entry["epoch"], change.old, change.new, reason, name))
    if verbose:
        say(monitor, settings.line_of(entry))
    return entry


def say(monitor: str, words: str) -> None:
    """A line of the log."""
    rank_zero_info(f"PlateauDecay({monitor}): {words}")


def _first(written: Written, optimizers: Sequence[Any]) -> tuple[LRChange, float]:
    """The first group's change of LR, with its factor; none where the momentum alone changed."""
    if written.lrs:
        return written.lrs[0], written.multiplier
    lr = get_lr(optimizers[0].param_groups[0])
    return LRChange(0, 0, lr, lr), 1.0
