"""Coarse to fine: from the trials so far to the LRs of the next round, or to "done" with a reason.

The state is explicit: :func:`next_round` reads the settings and all trials and decides, so that an interrupted search
goes on from its journal as if it had never stopped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lr_lightning.rules.checks import check_choice, check_count, check_number, shown
from lr_lightning.rules.search.axes import Axis, Value
from lr_lightning.rules.search.surrogate import Array, posterior, squeeze

MODES: tuple[str, ...] = ("min", "max")
STATUSES: tuple[str, ...] = ("completed", "pruned", "diverged", "crashed")
MOST_POINTS = 10_000
"""Most points of a search: each decision takes time and memory that grow with the square of their number."""

_DRAWS = 400
"""Samples of the minimum's place: the ends of an interval of 80 % are then known to 1.5 % of its mass."""
_GRID = 161
"""Candidates on one axis: over five decades 32 a decade, a third of the default tolerance apart."""
_OUTSIDE = 400
"""Candidates on several axes, drawn over the whole range; half as many more around the best trial. Chosen: the cost of
a joint sample grows with their cube."""
_NEAR = 0.08
"""Spread of those around the best trial, in parts of the range: the shortest correlation length is 0.12."""
_CLEARLY = 3.0
"""Noises above the best that count as clearly worse: by chance alone one trial in 700 stands there."""


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        values: One value for each axis.
        score: What it reached; None or non-finite counts as bad.
        round: In which round it ran, from 0.
        status: ``"completed"``, ``"pruned"`` (stopped early, its score counts), ``"diverged"`` or ``"crashed"``.

    >>> Trial((0.1,), None, status="crashed").bad
    True
    """

    values: tuple[Value, ...]
    score: float | None
    round: int = 0
    status: str = "completed"

    @property
    def bad(self) -> bool:
        """Whether it counts as worst: crashed, diverged or without a finite score."""
        return self.score is None or not math.isfinite(self.score) or self.status in ("crashed", "diverged")


@dataclass(frozen=True)
class SearchSettings:
    """What to search and how long.

    Attributes:
        axes: The LR first, then the parameters searched with it.
        mode: ``"min"`` or ``"max"`` the score.
        budget: Most different points to try; repeats of a point (seeds) come on top.
        first: Points of the first round, spread evenly over the whole range.
        later: Points of each later round, inside of the interval that the trials so far leave.
        tolerance: Done when the interval of the first axis is narrower than this: decades on a log axis, fractions of
            the range on a linear one.
        widen_by: How far a border moves when the minimum stands at it, in decades (log) or fractions of the range.
        confidence: Mass of the interval, between 0 and 1.
        seed: Of the random part: the placing in two and more dimensions, and the posterior's samples.

    Raises:
        ValueError: If a value is out of its bounds; the message quotes it.

    >>> from lr_lightning.rules.search.axes import Axis
    >>> SearchSettings((Axis("lr", 1e-4, 1.0),), budget=9).first
    5
    """

    axes: tuple[Axis, ...]
    mode: str = "min"
    budget: int = 15
    first: int = 5
    later: int = 5
    tolerance: float = 0.1
    widen_by: float = 1.0
    confidence: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        if not isinstance(self.axes, tuple) or not all(isinstance(axis, Axis) for axis in self.axes) or not self.axes:
            raise ValueError(f"axes must be a tuple of at least one parameter to search, got {shown(self.axes)}")
        names = [axis.name.lstrip("+") for axis in self.axes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"axes must be different parameters, got {twice[0]!r} more than once")
        check_count("first", self.first, 3, MOST_POINTS)
        check_count("later", self.later, 1, MOST_POINTS)
        check_count("budget", self.budget, self.first, MOST_POINTS)
        check_number("tolerance", self.tolerance, 0.0, open_low=True)
        check_number("widen_by", self.widen_by, 0.0, 10.0, open_low=True)
        check_number("confidence", self.confidence, 0.0, 1.0, open_low=True, open_high=True)
        check_count("seed", self.seed, 0)


@dataclass(frozen=True)
class Plan:
    """What to do next, and what is known.

    Attributes:
        points: The next round's points, empty when done.
        done: Whether the search is over.
        reason: Why these points, or why it is over; a sentence for logs.
        round: Number of the next round, from 0.
        best: The point with the lowest expected score, not always one that was tried; None before the first round.
        expected: Expected score there, in the score's own unit; None where unknown.
        interval: Where the best value of the first axis lies with ``confidence``, in its own unit.
        noise: Standard deviation of one trial's score near the best, in the score's own unit.
        widened: Names of the axes whose border moved, as ``"model.lr down"``.

    >>> from lr_lightning.rules.search.axes import Axis
    >>> plan = next_round(SearchSettings((Axis("lr", 1e-4, 1.0),)), [])
    >>> plan.done, plan.reason
    (False, '5 points over the whole range')
    """

    points: tuple[tuple[Value, ...], ...]
    done: bool
    reason: str
    round: int
    best: tuple[Value, ...] | None = None
    expected: float | None = None
    interval: tuple[float, float] | None = None
    noise: float | None = None
    widened: tuple[str, ...] = field(default=())


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
    view = _View(settings, trials)
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


def _all_bad(settings: SearchSettings, view: "_View", left: int, count: int) -> Plan:
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
        return _unique((settings.axes[0].value(float(p)),) for p in places)
    random = np.random.default_rng((settings.seed, 0))
    columns, together = [places], 1
    for axis in settings.axes[1:]:
        levels = len(axis.choices)
        if levels > 0 and together < count:
            columns.append(np.arange(count) // together % levels / (levels - 1))
            together *= levels
        else:
            columns.append(random.permutation(places))
    return _unique(
        tuple(a.value(float(p)) for a, p in zip(settings.axes, row, strict=True)) for row in zip(*columns, strict=True)
    )


def _unique(points: object) -> tuple[tuple[Value, ...], ...]:
    return tuple(dict.fromkeys(points))  # type: ignore[call-overload]


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
    view = _View(settings, trials)
    if view.hopeless:
        return None
    sign = 1.0 if settings.mode == "min" else -1.0
    columns = (view.post.mean, *np.quantile(view.post.draws, [0.1, 0.9], axis=0))
    mean, low, high = (tuple(sign * view.squeezed.back(float(v)) for v in column) for column in columns)
    values = tuple(float(axis.value(float(place))) for place in view.candidates[:, 0])
    return Surrogate(values, mean, *((low, high) if sign > 0 else (high, low)))


class _View:
    """The trials, their posterior and the questions asked of it.

    A place where most repeats are bad is bad: it and all that is nearer to it than to a good place is out. A bad repeat
    at a place that is good otherwise votes with the worst score.
    """

    def __init__(self, settings: SearchSettings, trials: Sequence[Trial]) -> None:
        self.settings = settings
        # The order in which trials came in, on a cluster chance, must not decide between equals.
        trials = sorted(trials, key=lambda t: (t.round, str(t.values), repr(t.score), t.status))
        self.tried = {t.values for t in trials}
        self.round = 1 + max(t.round for t in trials)
        bad_points = {v for v in self.tried if 2 * sum(t.bad for t in trials if t.values == v) >= _repeats(trials, v)}
        self.hopeless = len(bad_points) == len(self.tried)
        everywhere = self._places(sorted(self.tried, key=str))
        self.low, self.high = np.minimum(everywhere.min(0), 0.0), np.maximum(everywhere.max(0), 1.0)
        self.bad_places = self._places(sorted(bad_points, key=str)) if bad_points else np.empty((0, len(settings.axes)))
        self.trials = [t for t in trials if t.values not in bad_points]
        self.places = self._places([t.values for t in self.trials]) if self.trials else everywhere
        self.centre = self.places[0]
        if not self.hopeless:
            self._fit()

    def _places(self, points: Sequence[tuple[Value, ...]]) -> Array:
        return np.array([[a.place(v) for a, v in zip(self.settings.axes, point, strict=True)] for point in points])

    def _fit(self) -> None:
        sign = 1.0 if self.settings.mode == "min" else -1.0
        scores = np.array([math.inf if t.bad or t.score is None else sign * t.score for t in self.trials])
        self.squeezed = squeeze(scores)
        self.centre = self.places[self.squeezed.values.argmin()]
        self.candidates = self._candidates()
        seed = self.settings.seed * 1009 + self.round
        self.post = posterior(self.places, self.squeezed.values, self.candidates, _DRAWS, seed)
        self.at = int(self.post.mean.argmin())
        self.best = self.candidates[self.at]
        self.minima = self.candidates[self.post.draws.argmin(1)]

    def _candidates(self) -> Array:
        axes = len(self.settings.axes)
        if axes == 1:
            found = np.linspace(self.low, self.high, _GRID)
        else:
            random = np.random.default_rng((self.settings.seed, self.round))
            spread = self.low + (self.high - self.low) * random.random((_OUTSIDE, axes))
            near = self.centre + _NEAR * random.standard_normal((_OUTSIDE // 2, axes))
            found = np.concatenate([spread, np.clip(near, self.low, self.high), np.unique(self.places, axis=0)])
        near_good = found[_nearest(found, self.places) < _nearest(found, self.bad_places)]
        # A good place between bad ones can be nearer to them than the grid is fine.
        return near_good if len(near_good) else np.unique(self.places, axis=0)

    def interval(self) -> tuple[float, float]:
        """Central mass of the place of the minimum on the first axis."""
        tail = (1 - self.settings.confidence) / 2
        low, high = np.quantile(self.minima[:, 0], [tail, 1 - tail])
        return float(low), float(high)

    def width(self, low: float, high: float) -> float:
        return (high - low) * self.settings.axes[0].decades

    def words(self, width: float) -> str:
        axis = self.settings.axes[0]
        return f"{width:.2g} decades" if axis.scale == "log" and not axis.choices else f"{width:.2g} of the range"

    def borders(self) -> tuple[tuple[int, bool], ...]:
        """Axes whose minimum stands at a border that may move, as (axis, is it the lower border)."""
        found = []
        for i, axis in enumerate(self.settings.axes):
            # Half of the way to the first round's next point: nearer to the border than to it.
            edge = 0.5 * (self.high[i] - self.low[i]) / (self.settings.first - 1)
            for down, border in ((True, self.low[i]), (False, self.high[i])):
                near = abs(self.best[i] - border) < edge and abs(self.centre[i] - border) < edge
                if axis.can_widen and near and not (down and axis.low <= axis.floor):
                    found.append((i, down))
        return tuple(found)

    def beyond(self, moved: tuple[tuple[int, bool], ...], count: int) -> tuple[tuple[Value, ...], ...]:
        """Half of the way to the border's new place and that place itself (with one point left: that alone), if new."""
        points = []
        for share in (0.5, 1.0) if count > 1 else (1.0,):
            place = self.centre.copy()
            for i, down in moved:
                reach = self.settings.widen_by / self.settings.axes[i].decades * share
                place[i] = self.low[i] - reach if down else self.high[i] + reach
            points.append(self._point(place))
        return tuple(point for point in _unique(points) if point not in self.tried)

    def inside(self, count: int) -> tuple[tuple[Value, ...], ...]:
        """Untried points: evenly over the low region, in more dimensions places where samples have their minimum."""
        if len(self.settings.axes) == 1:
            low, high = self.low_region()
            places = [np.array([p]) for p in np.linspace(low, high, count + 2)[1:-1]]
        else:
            places = list(np.random.default_rng((self.settings.seed, self.round, 1)).permutation(self.minima))
        points = [p for p in _unique(self._point(p) for p in places) if p not in self.tried]
        return tuple(points[:count])

    def low_region(self) -> tuple[float, float]:
        """The interval of the minimum, and around it all that isn't clearly worse.

        Points that are within the noise of the best say little of where the minimum is; the flanks, a few noises up,
        say most. Hence the region reaches to where the expected score is ``_CLEARLY`` noises above the best.
        """
        low, high = self.interval()
        fine = self.post.mean <= self.post.mean[self.at] + _CLEARLY * self.post.noise
        first = last = self.at
        while first > 0 and fine[first - 1]:
            first -= 1
        while last < len(fine) - 1 and fine[last + 1]:
            last += 1
        low, high = min(low, self.candidates[first, 0]), max(high, self.candidates[last, 0])
        middle = (low + high) / 2
        half = max((high - low) / 2, self.settings.tolerance / self.settings.axes[0].decades)
        return float(max(middle - half, self.low[0])), float(min(middle + half, self.high[0]))

    def _point(self, place: Array) -> tuple[Value, ...]:
        return tuple(a.value(float(p)) for a, p in zip(self.settings.axes, place, strict=True))

    def plan(self, points: tuple[tuple[Value, ...], ...], reason: str, widened: tuple[str, ...] = ()) -> Plan:
        """Everything known, with the next points."""
        sign = 1.0 if self.settings.mode == "min" else -1.0
        first = self.settings.axes[0]
        low, high = (_number(first, place) for place in self.interval())
        expected = sign * self.squeezed.back(float(self.post.mean.min()))
        noise = self.post.noise * self.squeezed.unit
        point = self._point(self.best)
        return Plan(points, not points, reason, self.round, point, expected, (low, high), noise, widened)


def _nearest(points: Array, others: Array) -> Array:
    """Distance of each point to the nearest of the others; infinite if there are none."""
    if not len(others):
        return np.full(len(points), np.inf)
    distances = np.sqrt(((points[:, None, :] - others[None, :, :]) ** 2).sum(-1))
    return np.asarray(distances.min(1))


def _repeats(trials: Sequence[Trial], values: tuple[Value, ...]) -> int:
    return sum(t.values == values for t in trials)


def _number(axis: Axis, place: float) -> float:
    """The value at a place as a number; a choice by its index."""
    value = axis.value(place)
    return float(axis.choices.index(value)) if axis.choices else float(value)
