"""The range test's answer: losses over LRs -> zones, suggestion, interval, and a status with its reason in words."""

import math
from collections.abc import Sequence
from typing import Literal

from lr_lightning.rules.curve import Curve, diverged, read_curve
from lr_lightning.rules.protocol import MIN_POINTS
from lr_lightning.rules.readings import DEFAULT_RULE, RULES, check_rule, share
from lr_lightning.rules.result import Coverage, RangeTestResult, Zones

Status = Literal["ok", "no_descent", "no_divergence", "non_finite", "too_few_points"]

__all__ = [
    "DEFAULT_RULE",
    "RULES",
    "Coverage",
    "RangeTestResult",
    "Status",
    "Zones",
    "analyze",
    "check_rule",
    "diverged",
]


def analyze(
    lrs: Sequence[float],
    losses: Sequence[float],
    *,
    rule: str = DEFAULT_RULE,
    planned: int | None = None,
    spacing: str = "exponential",
    cycle: int = 1,
    reference: Sequence[float] | None = None,
    batch_size: int | None = None,
) -> RangeTestResult:
    """Read a range test.

    Args:
        lrs: LRs visited, strictly increasing; for several groups the LR of the first.
        losses: Training loss before the step at each LR, same length. NaN and infinity count as divergence.
        rule: A name in ``RULES``.
        planned: Steps in the whole ladder (``num_steps``); by default as many as were visited.
        spacing: The ladder's spacing, for the record.
        cycle: How many batches the sweep cycled through.
        reference: Losses of the starting weights on the same batches, one per step, if they were measured.
        batch_size: Samples per optimizer step over all ranks and accumulated batches: a suggestion holds for that one.

    Raises:
        ValueError: If ``rule`` is unknown or the lengths differ.
    """
    check_rule(rule)
    if len(lrs) != len(losses):
        raise ValueError(f"lrs and losses must have one length, got {len(lrs)} and {len(losses)}")
    if reference is not None and len(reference) < len(losses):
        raise ValueError(f"reference must cover every loss, got {len(reference)} for {len(losses)}")
    lrs, losses = [float(lr) for lr in lrs], [float(loss) for loss in losses]
    planned = len(lrs) if planned is None else planned
    curve = read_curve(lrs, losses, planned=planned, cycle=cycle, reference=reference)
    status, reason = judge(curve, lrs, losses)
    found = status in ("ok", "no_divergence") and curve is not None
    suggestion = interval = None
    if found and curve is not None:
        floor, ceiling = math.exp(curve.x[0]), math.exp(curve.x[curve.low])
        suggestion = min(max(RULES[rule](curve), floor), ceiling)
        interval = (min(suggestion, max(floor, share(curve, 0.6))), max(suggestion, ceiling))
    return RangeTestResult(
        lrs=tuple(lrs),
        losses=tuple(losses),
        smoothed=() if curve is None else tuple(float(v) for v in curve.smooth),
        zones=Zones() if curve is None or not found else find_zones(curve),
        suggestion=suggestion,
        interval=interval,
        status=status,
        reason=reason,
        coverage=Coverage(len(lrs), planned),
        rule=rule,
        num_steps=planned,
        spacing=spacing,
        batch_size=batch_size,
        horizon={} if suggestion is None else {"decay": suggestion},
    )


def judge(curve: Curve | None, lrs: Sequence[float], losses: Sequence[float]) -> tuple[Status, str]:
    """Status and reason of a curve."""
    bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if curve is None:
        if bad is not None and bad < MIN_POINTS:
            return "non_finite", (
                f"the loss is {losses[bad]} at step {bad} (LR {lrs[bad]:.2g}): "
                "check the data and the loss, or lower min_lr if smaller LRs are finite"
            )
        return "too_few_points", f"{len(losses)} losses are too few to read; raise num_steps to at least 20"
    where = math.exp(curve.x[curve.low])
    if not curve.descends:
        if curve.stopped == "non_finite":
            return (
                "non_finite",
                f"the loss turns non-finite at LR {lrs[len(curve.x)]:.2g} before any descent: lower max_lr",
            )
        if curve.stopped == "diverged":
            return (
                "no_descent",
                f"the loss grows from LR {lrs[len(curve.x)]:.2g} on and never falls before: lower min_lr",
            )
        return "no_descent", (
            f"the loss stays within its noise ({curve.noise:.2g}) up to LR {lrs[-1]:.2g}: raise max_lr or num_steps"
        )
    if curve.stopped == "range" and curve.low == len(curve.x) - 1:
        return "no_divergence", f"the loss still falls at LR {lrs[-1]:.2g}, the end of the range: raise max_lr"
    return (
        "ok",
        f"the loss falls from {curve.start:.3g} to {curve.start - curve.drop:.3g} at LR {where:.2g} and rises beyond",
    )


def find_zones(curve: Curve) -> Zones:
    """The three zones of the classic picture, as LR bounds."""
    first, last = math.exp(curve.x[0]), math.exp(curve.x[-1])
    begin, low = share(curve, 0.1), math.exp(curve.x[curve.low])
    return Zones(
        flat=(first, begin) if begin > first else None,
        descending=(begin, low) if low > begin else None,
        diverging=(low, last) if last > low else None,
    )
