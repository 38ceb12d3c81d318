"""The range test's answer: losses over LRs -> zones, suggestion, interval, and a status with its reason in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from lr_lightning.rules.range_test.curve import MIN_POINTS, Curve, read_curve, still_falls
from lr_lightning.rules.range_test.interval import WIDE, constant_factor, find_interval, width
from lr_lightning.rules.range_test.readings import ReadingRule, read, reading_rule, share_of_drop
from lr_lightning.rules.range_test.result import Coverage, RangeTestResult, Zones

Status = Literal["ok", "no_descent", "no_divergence", "non_finite", "too_few_points", "overruled"]


def analyze(
    lrs: Sequence[float],
    losses: Sequence[float],
    *,
    rule: str | Mapping[str, Any] | ReadingRule = "share",
    planned: int | None = None,
    spacing: str = "exponential",
    cycle: int = 1,
    repeats: Sequence[Sequence[float]] = (),
    batch_size: int | None = None,
    momentum: float | None = None,
    train_steps: int | None = None,
) -> RangeTestResult:
    """Read a range test.

    Args:
        lrs: LRs visited, strictly increasing; for several groups the LR of the first.
        losses: Training loss before the step at each LR, same length. NaN and infinity count as divergence.
        rule: How the curve is read: a name in ``RULES``, a mapping or a ``ReadingRule``. Its schedule ``"constant"``
            suggests the LR for constant LR over ``train_steps``, any other the one for a schedule that decays.
        planned: Steps in the whole ladder (``num_steps``); by default as many as were visited.
        spacing: The ladder's spacing, for the record.
        cycle: How many batches the sweep cycled through.
        repeats: Losses of further sweeps over the same ladder on other batches, each as long as it got.
        batch_size: Samples per optimizer step over all ranks and accumulated batches: a suggestion holds for that one.
        momentum: The optimizer's largest momentum or first beta, for the record.
        train_steps: Optimizer steps that the training will take, if known.

    Raises:
        ValueError: If ``rule`` is unknown or the lengths differ.

    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> result = analyze(lrs, losses)
    >>> result.status, f"{result.suggestion:.2g}"
    ('ok', '0.019')
    """
    rule = reading_rule(rule)
    _check_lengths(lrs, losses, repeats)
    ladder = [float(lr) for lr in lrs]
    sweeps = [[float(loss) for loss in sweep] for sweep in (losses, *repeats)]
    planned = len(ladder) if planned is None else planned
    curves = [read_curve(ladder[: len(sweep)], sweep, planned=planned, cycle=cycle) for sweep in sweeps]
    curve = curves[0]
    status, reason = judge(curve, ladder, sweeps[0])
    reason += _skipped_decades(ladder, spacing) if status != "ok" else ""
    blank = RangeTestResult(
        lrs=tuple(ladder[: len(sweeps[0])]),
        losses=tuple(sweeps[0]),
        smoothed=() if curve is None else tuple(float(v) for v in curve.smooth),
        zones=Zones(),
        suggestion=None,
        interval=None,
        status=status,
        reason=reason,
        coverage=Coverage(len(sweeps[0]), planned),
        rule=rule.name,
        num_steps=planned,
        spacing=spacing,
        batch_size=batch_size,
        momentum=momentum,
        steps=sum(len(sweep) for sweep in sweeps),
        cycle=cycle,
    )
    if curve is None or status not in ("ok", "no_divergence"):
        return blank
    readings = [read(c, rule) for c in curves if c is not None and c.descends]
    suggestion = _pooled(readings, curve)
    zones = find_zones(curve) if status == "ok" else replace(find_zones(curve), diverging=None)
    falls = curve.second_fall
    bounds = None if falls is None else (math.exp(falls[0]), math.exp(falls[1]))
    result = replace(blank, zones=zones, interval=find_interval(curve, rule, suggestion, readings), second_fall=bounds)
    return for_schedule(result, suggestion, train_steps, rule.schedule)


def overruled(result: RangeTestResult, writer: str) -> RangeTestResult:
    """The result of a sweep in which somebody else wrote the LR: no suggestion, but who it was.

    >>> overruled(analyze([1e-3, 1e-2], [1.0, 0.9]), "Net.optimizer_step").status
    'overruled'
    """
    reason = (
        f"{writer} writes the LR itself, so the sweep's LRs are not in force, and the LR found would not be: leave it "
        "to a scheduler, an LRFormula or a FormulaLR, whose base LR is tested"
    )
    blank = replace(result, suggestion=None, interval=None, zones=Zones(), schedules={})
    return replace(blank, status="overruled", reason=reason)


def judge(curve: Curve | None, lrs: Sequence[float], losses: Sequence[float]) -> tuple[Status, str]:
    """Status and reason of a curve.

    >>> judge(None, [0.1, 0.2], [1.0, float("nan")])[0]
    'non_finite'
    """
    bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if curve is None:
        if bad is not None and bad < MIN_POINTS:
            return "non_finite", (
                f"the loss is {losses[bad]} at step {bad} (LR {lrs[bad]:.2g}): "
                "check the data and the loss, or lower min_lr if smaller LRs are finite"
            )
        return "too_few_points", f"{len(losses)} losses are too few to read; raise num_steps to at least 20"
    first, last = lrs[0], math.exp(curve.x[-1])
    if not curve.descends:
        if curve.stopped == "non_finite":
            return "non_finite", f"the loss turns non-finite beyond LR {last:.2g} before any descent: lower max_lr"
        if curve.stopped == "diverged":
            return (
                "no_descent",
                f"the loss grows beyond LR {last:.2g} and never falls before: lower min_lr ({first:.2g})",
            )
        return "no_descent", (
            f"the loss stays within its noise ({curve.noise:.2g}) up to LR {last:.2g}: raise max_lr or num_steps"
        )
    floor = curve.start - curve.drop
    if still_falls(curve):
        return "no_divergence", (
            f"the loss falls from {curve.start:.3g} to {floor:.3g} and still falls at LR {last:.2g}, the end of the "
            f"range: raise max_lr; max_lr={_above(last):.2g} shows whether higher LRs are better still"
        )
    where = math.exp(curve.x[curve.low])
    if curve.second_fall is not None:
        return "ok", (
            f"the loss falls from {curve.start:.3g} to {floor:.3g} at LR {where:.2g}, rises, and falls far below from "
            f"LR {math.exp(curve.second_fall[1]):.2g} on, as where units have died and a constant is predicted (raw, "
            "unscaled features?): the suggestion lies between the two"
        )
    return "ok", f"the loss falls from {curve.start:.3g} to {floor:.3g} at LR {where:.2g} and no further beyond"


def _above(last: float) -> float:
    """A range's end that is worth trying: fast.ai's, or two decades more, which pass any optimum close by.

    >>> _above(1.0), _above(20.0)
    (10.0, 2000.0)
    """
    return 100 * last if last > 1 else 10.0


def _skipped_decades(lrs: Sequence[float], spacing: str) -> str:
    """What is to be said of a linear ladder whose first step goes over most LRs that a loss could fall at."""
    if spacing != "linear" or len(lrs) < 2 or lrs[1] < 10 * lrs[0]:
        return ""
    return (
        f"; spacing='linear' goes from LR {lrs[0]:.2g} to {lrs[1]:.2g} in its first step: take "
        "spacing='exponential', or a range of a decade or two"
    )


def find_zones(curve: Curve) -> Zones:
    """The three zones of the classic picture, as LR bounds: below 10 % of the drop, up to the minimum, beyond.

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> zones = find_zones(read_curve(lrs, losses, planned=51))
    >>> [f"{lr:.2g}" for lr in zones.descending]
    ['0.0033', '0.13']
    """
    first, last = math.exp(curve.x[0]), math.exp(curve.x[-1])
    begin, low = share_of_drop(curve, 0.1), math.exp(curve.x[curve.low])
    return Zones(
        flat=(first, begin) if begin > first else None,
        descending=(begin, low) if low > begin else None,
        diverging=(low, last) if last > low else None,
    )


def _pooled(readings: Sequence[float], curve: Curve) -> float:
    """Geometric median of the sweeps' readings, never right of the first sweep's minimum (or second fall)."""
    ordered = sorted(math.log(lr) for lr in readings)
    half = len(ordered) // 2
    middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    end = curve.x[curve.low] if curve.second_fall is None else curve.second_fall[1]
    return readings[0] if len(readings) == 1 else math.exp(min(middle, float(end)))


def for_schedule(result: RangeTestResult, lr: float, train_steps: int | None, schedule: str) -> RangeTestResult:
    """The result with its suggestions by schedule, and with words on a wide interval.

    Args:
        result: With the interval around ``lr``.
        lr: What was found; it holds for a schedule that decays.
        train_steps: Optimizer steps that the training will take, if known.
        schedule: ``"constant"`` suggests the LR for constant LR, any other the one for a decay.

    >>> result = for_schedule(analyze([1e-3, 1e-2], [1.0, 0.9]), 0.01, 4800, "constant")
    >>> f"{result.suggestion:.3g}", f"{result.schedules['decay']:.3g}"
    ('0.005', '0.01')
    """
    schedules = {"decay": lr}
    if train_steps is not None:
        schedules["constant"] = lr * constant_factor(train_steps)
    suggestion = schedules.get("constant", lr) if schedule == "constant" else lr
    reason, interval = result.reason, result.interval
    if interval is not None:
        interval = (min(interval[0], suggestion), max(interval[1], suggestion))
        if width(interval) > WIDE:
            reason += f"; the interval spans {width(interval):.1f} decades: more repeats or num_steps narrow it"
    return replace(result, suggestion=suggestion, interval=interval, schedules=schedules, reason=reason)


def _check_lengths(lrs: Sequence[float], losses: Sequence[float], repeats: Sequence[Sequence[float]]) -> None:
    if len(losses) != len(lrs) and not (repeats and len(losses) < len(lrs)):
        raise ValueError(f"lrs and losses must have one length, got {len(lrs)} and {len(losses)}")
    for sweep in repeats:
        if len(sweep) > len(lrs):
            raise ValueError(f"a repeat has more losses than there are LRs, got {len(sweep)} and {len(lrs)}")
