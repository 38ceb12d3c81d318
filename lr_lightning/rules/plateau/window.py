"""Which of the newest observations the trend rule looks at: a window that could have seen a trend if there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lr_lightning.rules.plateau import kick as kicks
from lr_lightning.rules.plateau import stats
from lr_lightning.rules.plateau.motion import Drift
from lr_lightning.rules.plateau.stats import Block
from lr_lightning.rules.plateau.trend_state import MOST_BLOCKS, Stage

_LEAST_BLOCKS = 8  # in a window, before blocks are dropped rather than merged: fewer show no trend; a choice
_MOST_STRETCH, _STRETCH_STEP = 4.5, 1.3  # of a window, on the benchmark; the step saves work, a choice
_RAMP = 30  # observations from which full certainty is asked for: runs of 25 validations can't wait for it; a choice


class Moment(NamedTuple):
    """When an observation is judged.

    Attributes:
        seen: Observations so far, with this one.
        at: Its position.
        horizon: Planned end of the run on the same clock; None: unknown.
        drift: How the weights moved in this stage, where that is known.

    >>> Moment(3, 30.0, 100.0).early, Moment(3, 30.0).early
    (True, False)
    """

    seen: int
    at: float
    horizon: float | None = None
    drift: Drift | None = None

    @property
    def early(self) -> bool:
        """Whether this is the first half of a planned run."""
        return self.horizon is not None and self.at < 0.5 * self.horizon


@dataclass(frozen=True)
class Windows:
    """A trend rule's windows; :class:`~lr_lightning.rules.plateau.trend.TrendRule` explains the settings.

    >>> Windows(0.08, 0.25, 5, 5, 2.25, "keep").span(50.0, 100.0)
    (8.0, 5)
    """

    window: float | int
    open_window: float
    least: int
    open_least: int
    resolution: float
    on_flat_region: str

    def span(self, at: float, horizon: float | None, stretch: float = 1.0) -> tuple[float, int]:
        """Positions that a window covers, and observations that it holds at least."""
        if isinstance(self.window, int):
            return 0.0, max(3, round(self.window * stretch))
        if horizon is not None:
            return self.window * horizon * stretch, math.ceil(self.least * stretch)
        return self.open_window * at * stretch, math.ceil(self.open_least * stretch)

    def bounded(self, stage: Stage, now: Moment) -> Stage:
        """Keep at most 128 blocks: merge neighbours while a window keeps 4 or more, else drop the oldest."""
        if len(stage.blocks) < MOST_BLOCKS:
            return stage
        window = stats.newest(stage.blocks, stage.begin, *self.span(now.at, now.horizon))
        if window is not None and len(window) < _LEAST_BLOCKS:
            dropped = stage.blocks[: MOST_BLOCKS // 4]
            return replace(stage, blocks=stage.blocks[MOST_BLOCKS // 4 :], begin=dropped[-1][2])
        merged = stats.halve(stage.blocks)
        return replace(stage, blocks=merged, width=stage.width * 2, swings=stats.swings_of(merged))

    def that_sees(self, stage: Stage, now: Moment) -> tuple[Sequence[Block] | None, float]:
        """The newest blocks that could have seen a slow decay, and its gain over them; None while there are too few."""
        if not self._patient(stage, now):
            return stats.newest(stage.blocks, stage.begin, *self.span(now.at, now.horizon)), 0.0
        stretch = 1.0
        promised = stats.promise(stage.blocks, stage.begin) if stage.level is None else None
        sure = self.resolution * stats.inflation(stats.correlation(stage.swings)) * self._certainty(now)
        while True:
            window = stats.newest(stage.blocks, stage.begin, *self.span(now.at, now.horizon, stretch))
            if window is None:
                return None, 0.0
            gain = _gain_of_going_on(stage, window, now.seen, promised)
            if stats.change_error(window) * sure <= gain:
                return window, gain
            if stretch >= _MOST_STRETCH:
                return (None if now.early else window), 0.0
            stretch = min(_MOST_STRETCH, stretch * _STRETCH_STEP)

    def _patient(self, stage: Stage, now: Moment) -> bool:
        """Whether to wait for certainty. Where the end isn't known, a cut too late costs more than one too early."""
        if not self.resolution or self.on_flat_region == "decay" or stage.kicked == kicks.TRIAL:
            return False
        return now.horizon is not None or isinstance(self.window, int)

    def _certainty(self, now: Moment) -> float:
        """Share of the resolution that is asked for: a run of 25 validations can't wait for all of it."""
        count = float(now.seen)
        if now.early and now.horizon and now.at > 0 and self.on_flat_region != "kick":  # a kick that comes late is none
            count *= now.horizon / now.at  # those of the whole run
        return min(1.0, count / _RAMP)


def _gain_of_going_on(stage: Stage, window: Sequence[Block], seen: int, promised: float | None) -> float:
    """What a slow decay would gain over a window: the slowest power law that fits, after a cut a logarithm."""
    if promised is not None:
        held = len(stage.blocks) - len(window)
        start, end = stage.blocks[held - 1][2] if held else stage.begin, stage.blocks[-1][2]
        return stats.gain(promised, (end - start) / (end - stage.begin))
    means = stats.means_of(window)
    share = min(0.9, sum(block[1] for block in window) / max(seen, 1))
    drop = stage.top - sum(means) / len(means)
    return drop * -math.log(1.0 - share) / math.log(max(seen, 2))
