"""A kick: on flat ground LR and momentum are raised for a while, and taken back unless that helps.

A kick begins where the trend rule finds flat ground, once between two cuts. Then it is on trial: a downward trend
(p below .02) in the values since, at a better level than before, and it stays until the next cut. It is taken back
as soon as a window shows no trend or the metric isn't finite, in any case after two windows, and before
the half of a planned run that has an endgame. Where that begins earlier, its first cut ends the kick.
"""

from __future__ import annotations

import math
from dataclasses import replace

from lr_lightning.rules.plateau.trend_state import Stage, TrendState

HELPS = 0.02
"""Greatest p-value of a trend that a kick is kept for: surer than .05, as it is asked at each block. A choice."""
NONE, TRIAL, OVER = 0, 1, 2
_WINDOWS = 2.0  # that a kick is on trial for at most; a choice


def raised_momentum(momentum: float, factor: float) -> float:
    """The momentum of a kick: its distance to 1 times ``factor``; SGD's steps grow to ``1 / factor``.

    >>> round(raised_momentum(0.9, 0.5), 12)
    0.95
    """
    return 1.0 - (1.0 - momentum) * factor


def fits(at: float, seen: int, length: float, least: int, end: float | None) -> bool:
    """Whether a kick that begins now can be judged before ``end``: a window, and an observation to end it at.

    Args:
        at: Position.
        seen: Observations so far.
        length: What a window covers at least.
        least: Observations it holds at least.
        end: Where the endgame begins at the latest without further evidence, or else the run ends; ``None``: unknown.

    >>> fits(20.0, 20, 8.0, 5, 50.0), fits(45.0, 45, 8.0, 5, 50.0), fits(45.0, 45, 8.0, 5, None)
    (True, False, True)
    """
    spacing = at / max(seen, 1)
    return end is None or at + max(length, least * spacing) + spacing < end


def why_over(state: TrendState, value: float, at: float, length: float, least: int, end: float | None) -> str | None:
    """Why a kick on trial is to be taken back whatever the trend is; ``None``: it goes on.

    Args:
        state: Before the observation.
        value: The observation.
        at: Its position.
        length: What a window covers at least, when the kick began.
        least: Observations it holds at least.
        end: As for :func:`fits`.

    >>> from lr_lightning.rules.plateau.trend_state import Stage
    >>> why_over(TrendState(30, 30.0, stage=Stage(kicked=TRIAL, kick_at=20.0, kick_seen=20)), 1.0, 36.0, 8.0, 5, None)
    'two windows of it brought no clear progress'
    """
    stage = state.stage
    if stage.kicked != TRIAL:
        return None
    if not math.isfinite(value):
        return f"the metric is {value} with it"
    if end is not None and at + (at - state.at) >= end:
        return "it has to end before the endgame" if at < end else "the endgame has begun"
    elapsed, seen = at - stage.kick_at, state.seen + 1 - stage.kick_seen
    if elapsed >= _WINDOWS * length and seen >= _WINDOWS * least:
        return "two windows of it brought no clear progress"
    return None


def begun(stage: Stage, at: float, seen: int, level: float) -> Stage:
    """The stage that a kick begins; ``level`` is the metric's, smaller is better.

    >>> begun(Stage(depth=1), 5.0, 5, 1.0).depth
    0
    """
    fresh = replace(stage.anew(at), depth=stage.depth - 1)
    return replace(fresh, kicked=TRIAL, kick_at=at, kick_seen=seen, kick_level=level)


def taken_back(stage: Stage, at: float) -> Stage:
    """The stage after a kick that didn't help.

    >>> taken_back(begun(Stage(depth=1), 5.0, 5, 1.0), 9.0).depth
    1
    """
    return replace(stage.anew(at), depth=stage.depth + 1, kicked=OVER)


def settled(state: TrendState) -> TrendState:
    """For a cut of the endgame, which brings the LR to what is due: no kick is on trial any more.

    >>> settled(TrendState(stage=Stage(kicked=TRIAL))).stage.kicked == OVER
    True
    """
    if state.stage.kicked != TRIAL:
        return state
    return replace(state, stage=replace(state.stage, kicked=OVER))
