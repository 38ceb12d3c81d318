"""What PlateauDecay says: a decision in the history, in event files and in the log, and its warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lr_lightning.callbacks._plateau.source import LOSS_NAMES
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.optim.param_groups import LRChange
from lr_lightning.reporting.events import LREvent, write_event
from lr_lightning.rules.plateau import diagnosis
from lr_lightning.rules.plateau.decision import Decision

NONFINITE_ROW = 5
"""Non-finite values in a row that are told of. A choice."""
CORRELATED = 0.55
"""Lag-1 correlation that is told of: white noise of 100 observations shows it in .2 to .5 % of runs (measured)."""


def reason_of(decision: Decision, rule: str, losses: Sequence[float], momentum: str = "") -> str:
    """The decision's reason with the diagnosis, and what became of the momentum."""
    reason = decision.reason
    if decision.cause in ("plateau", "flat") and rule == "trend" and decision.action != "unkick":
        kind = diagnosis.diagnose(decision.cause, decision.evidence, losses)
        reason += f"; {diagnosis.WORDS[kind]}"
    return f"{reason}; {momentum}" if momentum else reason


def record(
    trainer: Any, monitor: str, decision: Decision, reason: str, change: LRChange, factor: float, verbose: bool
) -> dict[str, Any]:
    """Write an event and a line of the log; returns the decision as plain types, for the history."""
    entry = entry_of(decision, reason, change, factor, trainer.current_epoch, _sandbox.logging_step(trainer))
    kind = "restore" if decision.action == "unkick" else entry["action"]
    name = f"PlateauDecay({monitor})"
    write_event(trainer, LREvent(kind, entry["step"], entry["epoch"], change.old, change.new, reason, name))
    if verbose:
        say(monitor, line_of(entry))
    return entry


def say(monitor: str, words: str) -> None:
    """A line of the log."""
    rank_zero_info(f"PlateauDecay({monitor}): {words}")


def missing(monitor: str, interval: str, available: dict[str, list[str]], validates: bool = True) -> str:
    """What to say when the metric never came: what is logged, and when."""
    logged = "; ".join(f"at {when}: {', '.join(names) or 'none'}" for when, names in available.items())
    if interval == "step" and monitor not in LOSS_NAMES:
        logged += f"; interval='step' also takes {' or '.join(LOSS_NAMES)}, the loss that is trained on"
    if not validates:
        logged += "; this fit has no validation (no val_dataloader, or limit_val_batches=0)"
    return f"PlateauDecay(monitor={monitor!r}, interval={interval!r}) never got its metric. Logged {logged}"


def warn_of_missing(monitor: str, interval: str, available: dict[str, list[str]]) -> None:
    """At the end of a fit whose validation never ran."""
    rank_zero_warn(f"{missing(monitor, interval, available)}; no validation ran, and the LR was never decayed")


def entry_of(decision: Decision, reason: str, change: LRChange, factor: float, epoch: int, step: int) -> dict[str, Any]:
    """A decision as plain types, for the history."""
    return {
        "epoch": epoch,
        "step": step,
        "action": decision.action if decision.action != "keep" else "wait",
        "cause": decision.cause,
        "reason": reason,
        "old_lr": change.old,
        "new_lr": change.new,
        "factor": factor,
        "evidence": {key: float(value) for key, value in decision.evidence.items()},
    }


def warn_of_noise(monitor: str, state: Any, decision: Decision, warned: set[str]) -> None:
    """Warn of values that are no evidence, and, once, of noise that the trend rule isn't made for."""
    if state.nonfinite_row == NONFINITE_ROW:
        rank_zero_warn(
            f"PlateauDecay: {monitor} was not finite {NONFINITE_ROW} times in a row; such values are no evidence"
        )
    correlation = decision.evidence.get("correlation", 0.0)
    if correlation > CORRELATED and "correlation" not in warned:
        warned.add("correlation")
        rank_zero_warn(
            f"PlateauDecay: the noise of {monitor} is strongly correlated from one observation to the next "
            f"(lag 1: {correlation:.2f}): each tells less, and decays come later"
        )


def why_unchanged(min_lr: float | list[float], eps: float) -> str:
    """What to say when a decay changes no LR."""
    small = f", or would change by no more than eps={eps:g}" if eps else ""
    return f"every LR is at min_lr={min_lr}{small}"


def line_of(entry: dict[str, Any]) -> str:
    """A decision in one line: "decay ×0.5 at epoch 41 (step 5,248): …, LR 0.1 → 0.05"."""
    when = f"at epoch {entry['epoch']} (step {entry['step']:,}): {entry['reason']}"
    if entry["action"] == "wait":
        return f"wait {when}, LR stays at {entry['new_lr']:.4g}"
    if entry["factor"] == 1.0:  # a kick of the momentum
        return f"{entry['action']} {when}, LR {entry['new_lr']:.4g}"
    return f"{entry['action']} ×{entry['factor']:g} {when}, LR {entry['old_lr']:.4g} → {entry['new_lr']:.4g}"
