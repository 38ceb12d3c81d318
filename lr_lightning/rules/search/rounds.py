"""Coarse to fine: from the trials so far to the LRs of the next round, or to "done" with a reason.

The state is explicit: :func:`next_round` reads the settings and all trials and decides, so that an interrupted search
goes on from its journal as if it had never stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lr_lightning.rules.search.axes import Value
from lr_lightning.rules.search.records import Plan, SearchSettings, Trial
from lr_lightning.rules.search.view import View, unique


def next_round(settings: SearchSettings, trials: Sequence[Trial]) -> Plan:
    """Decide the next round from all trials so far.

    Args:
        settings: What to search.
        trials: Every finished trial, repeats as trials of their own.

    Returns:
        The points to try next, or ``done``.

    >>> from lr_lightning.rules.search.axes import Axis
    >>> plan = next_round(SearchSettings((Axis("lr", 1e-4, 1.0),)), [])
    >>> [f"{lr:.0e}" for (lr,) in plan.points]
    ['1e-04', '1e-03', '1e-02', '1e-01', '1e+00']
    """
    if not trials:
        points = _spread(settings, settings.first)
        return Plan(points, False, f"{len(points)} points over the whole range", 0)
    view = View(settings, trials)
    left = settings.budget - len(view.tried)
    if view.hopeless:
        return _all_bad(settings, view, left, len(trials))
    moved = view.borders() if left > 0 else ()
    points = view.beyond(moved, min(settings.later, left)) if moved else ()
    if points:
        names = tuple(f"{settings.axes[i].name} {'down' if down else 'up'}" for i, down in moved)
        return view.plan(points, f"best at the border: range widened ({', '.join(names)})", names)
    low, high = view.interval()
    width = view.width(low, high)
    if width <= settings.tolerance and (len(settings.axes) == 1 or left <= 0):
        return view.plan((), f"the interval, {view.words(width)}, is within the tolerance")
    if left <= 0:
        return view.plan((), f"budget of {settings.budget} points spent; the interval is {view.words(width)}")
    points = view.inside(min(settings.later, left))
    if not points:
        return view.plan((), "no untried point is left in the interval")
    return view.plan(points, f"{len(points)} points in the low region, the interval is {view.words(width)}")


def _all_bad(settings: SearchSettings, view: "View", left: int, count: int) -> Plan:
    """Nothing survived: LRs below the range are the only place left to look."""
    axis = settings.axes[0]
    widens = left > 0 and axis.can_widen and axis.low > axis.floor
    points = view.beyond(((0, True),), min(settings.later, left)) if widens else ()
    if not points:
        return Plan((), True, f"all {count} trials are bad; lower the range of {axis.name}", view.round)
    reason = f"all {count} trials are bad: range widened"
    return Plan(points, False, reason, view.round, widened=(f"{axis.name} down",))


def _spread(settings: SearchSettings, count: int) -> tuple[tuple[Value, ...], ...]:
    """An even grid on one axis, borders included; on more a Latin hypercube that keeps the first axis even.

    Choices take turns, so that each of them is tried all over the first axis (a sliced design: Qian, "Sliced Latin
    Hypercube Designs", 2012): by chance all LRs of one choice can be too low.
    """
    places = np.linspace(0.0, 1.0, count)
    if len(settings.axes) == 1:
        return unique((settings.axes[0].value(float(p)),) for p in places)
    random = np.random.default_rng((settings.seed, 0))
    columns, together = [places], 1
    for axis in settings.axes[1:]:
        levels = len(axis.choices)
        if levels > 0 and together < count:
            columns.append(np.arange(count) // together % levels / (levels - 1))
            together *= levels
        else:
            columns.append(random.permutation(places))
    return unique(
        tuple(a.value(float(p)) for a, p in zip(settings.axes, row, strict=True)) for row in zip(*columns, strict=True)
    )


@dataclass(frozen=True)
class Surrogate:
    """What the trials so far say of every value of a search with one axis.

    Attributes:
        values: Values of the axis, evenly over its range as far as it was searched.
        mean: Expected score at each, in the score's own unit.
        low: Lower end of the band that holds the middle 80 % of the samples, at each value.
        high: Its upper end.

    >>> Surrogate(values=(0.01, 0.1), mean=(0.5, 0.4), low=(0.4, 0.3), high=(0.6, 0.5)).mean[1]
    0.4
    """

    values: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def surrogate(settings: SearchSettings, trials: Sequence[Trial]) -> Surrogate | None:
    """The curve that decides the next round, for people; None for more axes, choices, or where all trials are bad.

    >>> from lr_lightning.rules.search.axes import Axis
    >>> trials = [Trial((10.0**n,), float((n + 2) ** 2)) for n in range(-4, 1)]
    >>> found = surrogate(SearchSettings((Axis("lr", 1e-4, 1.0),)), trials)
    >>> f"{found.values[found.mean.index(min(found.mean))]:.2g}"
    '0.01'
    """
    axis = settings.axes[0]
    if not trials or len(settings.axes) > 1 or axis.choices:
        return None
    view = View(settings, trials)
    if view.hopeless:
        return None
    sign = 1.0 if settings.mode == "min" else -1.0
    columns = (view.post.mean, *np.quantile(view.post.draws, [0.1, 0.9], axis=0))
    mean, low, high = (tuple(sign * view.squeezed.back(float(v)) for v in column) for column in columns)
    values = tuple(float(axis.value(float(place))) for place in view.candidates[:, 0])
    return Surrogate(values, mean, *((low, high) if sign > 0 else (high, low)))
