"""The range test's answer: losses over LRs -> zones, suggestion, interval, and a status with its reason in words."""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

from lr_lightning.rules.range_test.curve import Curve, read_curve
from lr_lightning.rules.range_test.horizon import constant_factor
from lr_lightning.rules.range_test.interval import WIDE, find_interval, width
from lr_lightning.rules.range_test.probes import ProbeResult
from lr_lightning.rules.range_test.protocol import MIN_POINTS
from lr_lightning.rules.range_test.readings import DEFAULT_RULE, check_rule, read, share_of_drop
from lr_lightning.rules.range_test.result import Coverage, RangeTestResult, Zones

Status = Literal["ok", "no_descent", "no_divergence", "non_finite", "too_few_points"]


def analyze(
    lrs: Sequence[float],
    losses: Sequence[float],
    *,
    rule: str = DEFAULT_RULE,
    planned: int | None = None,
    spacing: str = "exponential",
    cycle: int = 1,
    reference: Sequence[float] | None = None,
    repeats: Sequence[Sequence[float]] = (),
    batch_size: int | None = None,
    momentum: float | None = None,
    train_steps: int | None = None,
    decays: bool = True,
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
        repeats: Losses of further sweeps over the same ladder on other batches, each as long as it got.
        batch_size: Samples per optimizer step over all ranks and accumulated batches: a suggestion holds for that one.
        momentum: The optimizer's largest momentum or first beta, for the record.
        train_steps: Optimizer steps that the run will take, if known.
        decays: Whether a schedule, formula or plateau decay will lower the LR. If not, the suggestion is the one for
            constant LR over ``train_steps``.

    Raises:
        ValueError: If ``rule`` is unknown or the lengths differ.

    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> result = analyze(lrs, losses)
    >>> result.status, f"{result.suggestion:.2g}"
    ('ok', '0.019')
    """
    check_rule(rule)
    _check_lengths(lrs, losses, reference, repeats)
    ladder = [float(lr) for lr in lrs]
    sweeps = [[float(loss) for loss in sweep] for sweep in (losses, *repeats)]
    planned = len(ladder) if planned is None else planned
    curves = [
        read_curve(ladder[: len(sweep)], sweep, planned=planned, cycle=cycle, reference=reference if i == 0 else None)
        for i, sweep in enumerate(sweeps)
    ]
    curve = curves[0]
    status, reason = judge(curve, ladder, sweeps[0])
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
        rule=rule,
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
    result = replace(blank, zones=find_zones(curve), interval=find_interval(curve, rule, suggestion, readings))
    return _with_horizon(result, suggestion, train_steps, decays)


def confirm(
    result: RangeTestResult, probes: ProbeResult, *, train_steps: int | None = None, decays: bool = True
) -> RangeTestResult:
    """The result with the trials' answer in place of the sweep's.

    Args:
        result: What the sweep said.
        probes: What the trials around it said.
        train_steps: As in :func:`analyze`.
        decays: As in :func:`analyze`.

    >>> from lr_lightning.rules.range_test.probes import ProbeResult
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> probes = ProbeResult(suggestion=0.03, interval=(0.02, 0.05), probes=(), steps=60)
    >>> confirm(analyze(lrs, losses), probes).suggestion
    0.03
    """
    trials = tuple({key: float(value) for key, value in asdict(probe).items()} for probe in probes.probes)
    result = replace(result, probes=trials, steps=result.steps + probes.steps)
    if probes.suggestion is None:
        return replace(result, reason=f"{result.reason}; no trial at constant LR confirmed it")
    reason = f"{result.reason}; {len(trials)} trials at constant LR moved the suggestion to {probes.suggestion:.2g}"
    return _with_horizon(
        replace(result, reason=reason, interval=probes.interval), probes.suggestion, train_steps, decays
    )


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
    if curve.stopped == "range" and curve.low >= len(curve.x) - 2:
        return "no_divergence", (
            f"the loss falls from {curve.start:.3g} to {floor:.3g} and still falls at LR {last:.2g}, "
            "the end of the range: raise max_lr"
        )
    where = math.exp(curve.x[curve.low])
    return "ok", f"the loss falls from {curve.start:.3g} to {floor:.3g} at LR {where:.2g} and no further beyond"


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
    """Geometric median of the sweeps' readings, never right of the first sweep's minimum."""
    ordered = sorted(math.log(lr) for lr in readings)
    half = len(ordered) // 2
    middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    return readings[0] if len(readings) == 1 else min(math.exp(middle), math.exp(curve.x[curve.low]))


def _with_horizon(result: RangeTestResult, lr: float, train_steps: int | None, decays: bool) -> RangeTestResult:
    """Suggestion by kind of run, and the words on a wide interval."""
    horizon = {"decay": lr}
    if train_steps is not None:
        horizon["constant"] = lr * constant_factor(train_steps)
    suggestion = lr if decays else horizon.get("constant", lr)
    reason, interval = result.reason, result.interval
    if interval is not None:
        interval = (min(interval[0], suggestion), max(interval[1], suggestion))
        if width(interval) > WIDE:
            reason += f"; the interval spans {width(interval):.1f} decades: repeats, more num_steps or probes narrow it"
    return replace(result, suggestion=suggestion, interval=interval, horizon=horizon, reason=reason)


def _check_lengths(
    lrs: Sequence[float],
    losses: Sequence[float],
    reference: Sequence[float] | None,
    repeats: Sequence[Sequence[float]],
) -> None:
    if len(losses) != len(lrs) and not (repeats and len(losses) < len(lrs)):
        raise ValueError(f"lrs and losses must have one length, got {len(lrs)} and {len(losses)}")
    for sweep in repeats:
        if len(sweep) > len(lrs):
            raise ValueError(f"a repeat has more losses than there are LRs, got {len(sweep)} and {len(lrs)}")
    if reference is not None and len(reference) < len(losses):
        raise ValueError(f"reference must cover every loss, got {len(reference)} for {len(losses)}")
