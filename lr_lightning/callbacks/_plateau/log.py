"""What PlateauDecay says: a decision in the history, in event files and in the log, and its warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._plateau.source import LOSS_NAMES
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.callbacks._sandbox.progress import say as say_above_bars
from lr_lightning.optim.param_groups import LRChange
from lr_lightning.reporting.events import LREvent, write_event
from lr_lightning.rules.checks import likely_meant
from lr_lightning.rules.plateau import diagnosis
from lr_lightning.rules.plateau.configure import Rule
from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.plateau.patience import PatienceState
from lr_lightning.rules.plateau.trend import TrendRule

NONFINITE_ROW = 5
"""Non-finite values in a row that are told of. A choice."""
EPOCHS = ("validation end", "training epoch end")
"""When values of epochs are logged."""
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
        say(trainer, monitor, line_of(entry))
    return entry


def say(trainer: Any, monitor: str, words: str) -> None:
    """A line of the log."""
    say_above_bars(trainer, f"PlateauDecay({monitor}): {words}")


def missing(monitor: str, interval: str, logged: Mapping[str, Sequence[str]], validates: bool = True) -> str:
    """What to say when the metric never came: what is logged, and when."""
    known = "; ".join(f"at {when}: {', '.join(names) or 'none'}" for when, names in logged.items())
    if interval == "step" and monitor not in LOSS_NAMES:
        known += f"; interval='step' also takes {' or '.join(LOSS_NAMES)}, the loss that is trained on"
    if not validates:
        known += "; this fit has no validation (no val_dataloader, or limit_val_batches=0)"
    return f"PlateauDecay(monitor={monitor!r}, interval={interval!r}) never got its metric. Logged {known}"


def why_never(monitor: str, interval: str, logged: Mapping[str, Sequence[str]], all_known: bool) -> str:
    """Why the metric can't come, in words: its name is misspelt, or it is logged at other times; empty: it may come.

    Args:
        monitor: The metric.
        interval: ``"epoch"`` or ``"step"``.
        logged: What has been logged so far, and when.
        all_known: Whether a training epoch is over, and a validation where there are some: what is logged is known.
    """
    names = {name for some in logged.values() for name in some}
    if monitor not in names:
        meant = None if interval == "step" and monitor in LOSS_NAMES else likely_meant(monitor, names)
        return f"did you mean {meant[0]!r}?" if meant and meant[1] else ""
    at_steps = monitor in logged["training steps"]
    if interval == "epoch" and at_steps and not any(monitor in logged[when] for when in EPOCHS):
        return f"{monitor!r} is logged per step alone: log it with on_epoch=True, or take interval='step'" * all_known
    if interval == "step" and not at_steps:
        return f"{monitor!r} is logged per epoch alone: log it with on_step=True, or take interval='epoch'" * all_known
    return ""


def perhaps_meant(monitor: str, logged: Mapping[str, Sequence[str]]) -> str:
    """A name that is nearly the monitor's, in words; empty: there is none."""
    names = {name for some in logged.values() for name in some}
    meant = likely_meant(monitor, names) if monitor not in names else None
    return f"; did you mean {meant[0]!r}?" if meant else ""


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
            + (", but infinite ones count as torch counts them" if isinstance(state, PatienceState) else "")
        )
    correlation = decision.evidence.get("correlation", 0.0)
    if correlation > CORRELATED and "correlation" not in warned:
        warned.add("correlation")
        rank_zero_warn(
            f"PlateauDecay: the noise of {monitor} is strongly correlated from one observation to the next "
            f"(lag 1: {correlation:.2f}): each tells less, and decays come later"
        )


def tell_of_open_end(trainer: Any, monitor: str, rule: Rule, why: str, told: set[str]) -> None:
    """Once, that a run's end counts as unknown, where that changes what the rule does."""
    if not why or not isinstance(rule, TrendRule) or "open end" in told:
        return
    told.add("open end")
    window = "" if isinstance(rule.window, int) else f"; windows are {rule.open_window:g} of the run so far"
    say(trainer, monitor, f"{why}, so the end counts as unknown: no endgame{window}")


def tell_of_resume(trainer: Any, monitor: str, before: float | None, now: float | None, left_out: bool) -> None:
    """After a resume: that the run is planned to end elsewhere than before, or lacks a validation."""
    # max_steps are reckoned in batches by those so far, so small differences mean nothing.
    same = before == now or (before is not None and now is not None and math.isclose(before, now, rel_tol=0.1))
    if not same:
        old, new = (f"{end:,.0f} batches" if end is not None else "an unknown end" for end in (before, now))
        say(
            trainer, monitor, f"the run is planned to {new}, before the checkpoint to {old}: windows and endgame follow"
        )
    if left_out:
        say(
            trainer,
            monitor,
            "the checkpoint is from before its batch's validation, which a resumed fit leaves out: an observation less",
        )


def tell_of_no_state(trainer: Any, monitor: str, step: int, factor: float) -> None:
    """After a resume from a checkpoint that a trainer without this callback wrote."""
    say(
        trainer,
        monitor,
        f"the checkpoint has no state of it; it starts at step {step:,}, with an LR factor of {factor:.4g}",
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
