"""The trials of a search as its surrogate sees them, and the questions that a round asks."""

import math
from collections.abc import Sequence

import numpy as np

from lr_lightning.rules.search.axes import Axis, Value
from lr_lightning.rules.search.records import Plan, SearchSettings, Trial
from lr_lightning.rules.search.surrogate import Array, posterior, squeeze

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


class View:
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
        """Length of an interval, in the first axis's own measure."""
        return (high - low) * self.settings.axes[0].decades

    def words(self, width: float) -> str:
        """Such a length in words."""
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
        return tuple(point for point in unique(points) if point not in self.tried)

    def inside(self, count: int) -> tuple[tuple[Value, ...], ...]:
        """Untried points: evenly over the low region, in more dimensions places where samples have their minimum."""
        if len(self.settings.axes) == 1:
            low, high = self.low_region()
            places = [np.array([p]) for p in np.linspace(low, high, count + 2)[1:-1]]
        else:
            places = list(np.random.default_rng((self.settings.seed, self.round, 1)).permutation(self.minima))
        points = [p for p in unique(self._point(p) for p in places) if p not in self.tried]
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


def unique(points: object) -> tuple[tuple[Value, ...], ...]:
    """Points in their order, each once.

    >>> unique([(0.1,), (0.2,), (0.1,)])
    ((0.1,), (0.2,))
    """
    return tuple(dict.fromkeys(points))  # type: ignore[call-overload]
