"""Scalar series as they are drawn: one line from left to right, whatever was resumed, killed or written twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = "npt.NDArray[np.float64]"


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
    back: Any = np.flatnonzero(steps[1:] < np.maximum.accumulate(steps)[:-1]) + 1
    restarts = [Restart(float(times[at - 1]), float(steps[at])) for at in back]
    return Series(steps[kept], values[kept], times[kept]), restarts


def after_restarts(series: Series, restarts: Iterable[Restart]) -> Series:
    """``series`` without what a restart seen in another tag has made void."""
    kept: Any = np.ones(len(series), dtype=bool)
    for restart in restarts:
        kept &= (series.times > restart.time) | (series.steps < restart.step)
    return series if kept.all() else series.take(kept)


def valid_event(step: float, time: float, restarts: Iterable[Restart]) -> bool:
    """Whether an event stands after all restarts."""
    return not any(time <= restart.time and step >= restart.step for restart in restarts)


def thin(series: Series, most: int) -> Series:
    """At most ``most`` points, evenly, the first and the last among them."""
    if len(series) <= most:
        return series
    return series.take(np.unique(np.linspace(0, len(series) - 1, most).round().astype(int)))


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
    first: dict[float, float] = {}
    for step, epoch in zip(series.steps.tolist(), series.values.tolist(), strict=True):
        if np.isfinite(epoch):
            first[epoch] = min(step, first.get(epoch, step))
    pairs = sorted(first.items())
    return [step for _, step in pairs], [epoch for epoch, _ in pairs]
