"""Readings of a sweep: one function a rule, from a prepared curve to an LR."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lr_lightning.rules.checks import check_choice, check_keys, check_number, shown
from lr_lightning.rules.range_test.curve import Curve, falling_chains

Reading = Callable[[Curve], float]

ON_THE_WAY = 0.4
"""Part of the way, in log LR, from the end of a first fall to the second one. On 94 sweeps of 24 networks with raw
features (written for this) the suggestion so found cost a factor of 1.24 in final loss, .33 and .5 about the same, .6
more; too high an LR costs more than too low a one there, since units that die stay dead."""

SCHEDULES = ("auto", "decay", "constant")

GROUPS = ("keep", "search")

PACE = 3.0
"""Steps per decade that the default rule holds back: see :func:`share`. Measured (``dev`` and ``report`` tasks)."""


def share_of_drop(curve: Curve, part: float) -> float:
    """LR at which ``part`` of the whole drop is reached for the first time, interpolated in log LR.

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> f"{share_of_drop(curve, 0.5):.2g}"
    '0.0099'
    """
    values = np.minimum.accumulate(curve.smooth[: curve.low + 1])
    top = float(values[0])
    target = top - part * (top - float(values[-1]))
    index = int(np.argmax(values <= target))
    if index == 0:
        return math.exp(curve.x[0])
    before, after = float(values[index - 1]), float(values[index])
    fraction = (before - target) / (before - after) if before > after else 1.0
    return math.exp(curve.x[index - 1] + fraction * (curve.x[index] - curve.x[index - 1]))


def share(curve: Curve, pace: float = PACE) -> float:
    """The default: the LR at which most of the drop is reached for the first time; how much depends on the pace.

    ``n / (n + pace)`` of the drop at n steps per decade: 81 % for 100 steps over eight decades, 93 % for 300. A slow
    ladder spends more steps near each LR, so it reaches the same share at a lower LR; a fast one overshoots, its last
    LRs are survived only because they last a step each. The share of the drop is used, not the minimum, because a
    smoothed minimum wanders along flat bottoms. Source: measured (``recipes/benchmarks/suggestion.py``).

    Where the loss falls twice, the second time since units have died, it lies :data:`ON_THE_WAY` from the first fall to
    the second: at the first one a network has learnt no more than the scale of raw features, and bears higher LRs
    afterwards.

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> f"{share(curve):.2g}"
    '0.019'
    """
    if curve.second_fall is not None:
        first, second = curve.second_fall
        return math.exp(first + ON_THE_WAY * (second - first))
    decades = (float(curve.x[-1] - curve.x[0]) / math.log(10)) * (curve.planned - 1) / max(1, len(curve.x) - 1)
    return share_of_drop(curve, curve.planned / (curve.planned + pace * decades))


def midpoint(curve: Curve) -> float:
    """Middle, in log LR, of the descent: between 10 % of the drop and the minimum.

    The classic reading of the range test's picture: a value well inside of the falling part (Smith, "Cyclical Learning
    Rates for Training Neural Networks", 2017, section 3.3).

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> f"{midpoint(curve):.2g}"
    '0.02'
    """
    return math.sqrt(share_of_drop(curve, 0.1) * math.exp(curve.x[curve.low]))


def steepest(curve: Curve) -> float:
    """LR of the steepest descent of the smoothed loss over log LR, left of the minimum.

    fast.ai's "steep" and ignite's rule (least slope), without the lag and without a look right of the minimum.

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> f"{steepest(curve):.2g}"
    '0.01'
    """
    if curve.low < 2:
        return math.exp(curve.x[curve.low])
    slope = np.gradient(curve.smooth, curve.x)[: curve.low + 1]
    return math.exp(curve.x[int(np.argmin(slope))])


def minimum(curve: Curve) -> float:
    """A third of the LR at the minimum. fast.ai's "minimum" divides by 10, of which its lag costs about 4.

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> f"{minimum(curve):.2g}"
    '0.042'
    """
    return math.exp(curve.x[curve.low]) / 3


def valley(curve: Curve) -> float:
    """Middle of the longest decreasing subsequence of the smoothed losses: fast.ai's "valley" without the lag.

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> f"{valley(curve):.2g}"
    '0.001'
    """
    length, before = falling_chains([float(v) for v in curve.smooth[: curve.low + 1]])
    chain = [length.index(max(length))]
    while before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return math.exp(curve.x[chain[len(chain) // 2]])


RULES: dict[str, Reading] = {
    "share": share,
    "midpoint": midpoint,
    "steepest": steepest,
    "valley": valley,
    "minimum": minimum,
}
"""Every rule by the name that ``rule=`` takes."""


@dataclass(frozen=True)
class ReadingRule:
    """How a curve becomes an LR: the ``rule=`` of a range test with its expert's settings.

    Attributes:
        name: A name in :data:`RULES`.
        pace: Steps per decade that the default rule ``"share"`` holds back: a larger one suggests a lower LR.
        groups: ``"keep"`` leaves the ratios between param groups, ``"search"`` finds others by a sweep of each group
            alone before that of all together (:mod:`lr_lightning.rules.range_test.groups`).
        schedule: The kind of training that the LR is for: ``"decay"`` (a schedule, formula or plateau decay lowers it),
            ``"constant"`` (a lower one for long trainings), ``"auto"`` (what the training has).

    Raises:
        ValueError: If a value isn't valid; the message quotes it.

    >>> ReadingRule("valley").schedule
    'auto'
    """

    name: str = "share"
    pace: float = PACE
    schedule: str = "auto"
    groups: str = "keep"

    def __post_init__(self) -> None:
        check_choice("rule", self.name, RULES)
        check_number("pace", self.pace, 0.0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("groups", self.groups, GROUPS)
        if self.groups != "keep" and self.name != "share":
            raise ValueError(
                f"groups='search' goes with the rule 'share', got {self.name!r}: with others it wasn't measured"
            )
        if self.pace != PACE and self.name != "share":
            raise ValueError(f"pace is a setting of the rule 'share', got pace={self.pace!r} for rule {self.name!r}")


def reading_rule(rule: Any) -> ReadingRule:
    """The rule that ``rule=`` names: a name in :data:`RULES`, a mapping of :class:`ReadingRule`'s arguments, or one.

    Raises:
        ValueError: If it is none; the message lists the valid ones.

    >>> reading_rule("valley").name, reading_rule({"schedule": "constant"}).name
    ('valley', 'share')
    """
    if isinstance(rule, ReadingRule):
        return rule
    if isinstance(rule, Mapping):
        check_keys("rule", rule, [item.name for item in fields(ReadingRule)])
        return ReadingRule(**rule)
    if not isinstance(rule, str):
        raise ValueError(f"rule must be a name ({', '.join(RULES)}), a mapping or a ReadingRule, got {shown(rule)}")
    return ReadingRule(rule)


def read(curve: Curve, rule: str | ReadingRule) -> float:
    """The rule's LR, kept inside of the visited range and left of the smoothed minimum.

    >>> from lr_lightning.rules.range_test.curve import read_curve
    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> curve = read_curve(lrs, losses, planned=51)
    >>> f"{read(curve, 'share'):.2g}"
    '0.019'
    """
    rule = reading_rule(rule)
    found = share(curve, rule.pace) if rule.name == "share" else RULES[rule.name](curve)
    if rule.name == "share" and curve.second_fall is not None:
        return found
    floor, ceiling = math.exp(curve.x[0]), math.exp(curve.x[curve.low])
    return min(max(found, floor), ceiling)
