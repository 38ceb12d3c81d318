"""Scalar series as they are drawn: one line from left to right, whatever was resumed, killed or written twice."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.float64]"


ONE_WRITE = 2.0
"""Seconds within which points may have been written together, collected before: a slow disk holds the writer up."""


@dataclass(frozen=True)
class Series:
    """One tag of one run.

    Attributes:
        steps: Increasing, shape (n,).
        values: One a step.
        times: When each was written, in seconds since the epoch.
    """

    steps: Array
    values: Array
    times: Array

    def take(self, kept: Any) -> "Series":
        """The points chosen by a mask or by places."""
        return Series(self.steps[kept], self.values[kept], self.times[kept])

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Restart:
    """A run was taken up again: what was written until ``time`` at ``step`` or later is no longer its history."""

    time: float
    step: float


def newest(points: Iterable[Any]) -> tuple[Series, list[Restart]]:
    """The points that count, by step: the newest value of a step wins, and all that it was resumed before goes.

    A resumed run writes from its checkpoint's step on into the same folder, so that the steps go back in the order of
    writing. What the first life wrote at or after the step of the second's next point is history that didn't happen.

    Args:
        points: TensorBoard's, with ``step``, ``value`` and ``wall_time``.

    Returns:
        The series, and the restarts seen in it.
    """
    listed = list(points)
    steps = np.array([point.step for point in listed], dtype=float)
    values = np.array([point.value for point in listed], dtype=float)
    times = np.array([point.wall_time for point in listed], dtype=float)
    if np.all(steps[1:] > steps[:-1]):
        return Series(steps, values, times), []
    order = np.argsort(times, kind="stable")
    steps, values, times = steps[order], values[order], times[order]
    later = np.minimum.accumulate(steps[::-1])[::-1]
    kept: Any = np.append(steps[:-1] < later[1:], True)
    back: Any = np.flatnonzero(steps[1:] < steps[:-1]) + 1
    restarts = [Restart(float(times[at - 1]), float(steps[at])) for at in back]
    return Series(steps[kept], values[kept], times[kept]), restarts


def after_restarts(series: Series, restarts: Iterable[Restart]) -> Series:
    """``series`` without what a restart seen in another tag has made void."""
    kept: Any = np.ones(len(series), dtype=bool)
    for restart in restarts:
        kept &= (series.times > restart.time) | (series.steps < restart.step)
    return series if kept.all() else series.take(kept)


def overtaken(steps: Sequence[float], times: Sequence[float], line: Series, restarts: Iterable[Restart]) -> Any:
    """Which events are of a life that the run was resumed from before them.

    TensorBoard's fast loader drops the points that a resumed run overtakes, so no restart is seen there; the events,
    each with a tag of its own, stay. Then the LR tells: it has been at the event's step, and later. What was written
    in one go may be older than it looks, so it counts from the write before.

    Args:
        steps: The events'.
        times: When each was written.
        line: An LR of the run.
        restarts: Those seen in the points.
    """
    at, when = np.asarray(steps, dtype=float), np.asarray(times, dtype=float)
    gone: Any = np.zeros(len(at), dtype=bool)
    for restart in restarts:
        gone |= (when <= restart.time) & (at >= restart.step)
    if not len(line) or not len(at):
        return gone
    surely, began, before = np.empty(len(line)), -np.inf, -np.inf
    for place, time in enumerate(line.times.tolist()):
        if not time - began < ONE_WRITE:
            began, before = time, line.times[place - 1] if place else -np.inf
        surely[place] = before
    last = np.searchsorted(line.steps, at, side="right") - 1
    return gone | ((last >= 0) & (surely[np.maximum(last, 0)] > when))


def thin(series: Series, most: int) -> Series:
    """At most ``most`` points: the ends, and the least and the greatest value of each stretch, so that spikes stay."""
    count = len(series)
    if count <= most:
        return series
    stretch: Any = np.arange(count) * (most // 2 - 1) // count
    order = np.lexsort((series.values, stretch))
    first: Any = np.searchsorted(stretch, np.arange(stretch[-1] + 1))
    kept = {0, count - 1, *order[first].tolist(), *order[np.append(first[1:], count) - 1].tolist()}
    return series.take(sorted(kept))


def live_rows(columns: Mapping[str, Series]) -> dict[str, list[float]]:
    """A running range test, joined from its live scalars by step: ``lrs``, ``losses`` and ``smoothed``."""
    found = {name: dict(zip(one.steps.tolist(), one.values.tolist(), strict=True)) for name, one in columns.items()}
    lrs, losses, smooth = (found.get(name, {}) for name in ("lr", "loss", "loss_smoothed"))
    steps = sorted(step for step in set(lrs) & set(losses) if np.isfinite(lrs[step]) and lrs[step] > 0)
    smoothed = [smooth.get(step, np.nan) for step in steps]
    while smoothed and not np.isfinite(smoothed[-1]):
        smoothed.pop()
    return {"lrs": [lrs[s] for s in steps], "losses": [losses[s] for s in steps], "smoothed": smoothed}


def epoch_starts(series: Series | None) -> tuple[list[float], list[float]] | None:
    """First logged step of each epoch, as Lightning counts them (from 0)."""
    if series is None or not len(series):
        return None
    finite = np.isfinite(series.values)
    epochs, at = np.unique(series.values[finite], return_index=True)  # steps increase, so the first is the least
    return series.steps[finite][at].tolist(), epochs.tolist()
