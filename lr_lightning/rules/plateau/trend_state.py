"""What the trend rule remembers: immutable, plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lr_lightning.rules.plateau.stats import STILL, Block, Swings
from lr_lightning.rules.saved import Saved, load_fields

MOST_BLOCKS = 128
"""A stage's: a window of 8 % has some ten of them, and each costs a number in every checkpoint. A choice."""


@dataclass(frozen=True)
class Stage:
    """What is known since the last change of the LR, and what earlier stages left.

    Attributes:
        blocks: Means of consecutive observations, at most 128, as (mean, observations, position of the newest).
        begin: Position where the first block begins.
        width: Observations a block.
        top: Mean of the run's first 3 values, over ``top_count`` of them.
        level: Mean over the window at the last cut (``None``: no cut yet), with its noise.
        noise: Standard deviation of the block means there.
        kicked: 0 no kick, 1 one is on trial, 2 one was kept or taken back in this stage.
        kick_at: Position where it began.
        kick_seen: Observations up to there.
        kick_level: Mean over the window before it, smaller is better.
        cooldown: Observations still to be ignored.
        cuts: Decays so far.
        end_cuts: Those that the endgame made.
        depth: Cuts that are in force: without the one that a raised LR takes back.
        nonfinite: Non-finite observations so far.
        swings: How neighbouring block means differ: tells how correlated the noise is; outlives the stage.

    >>> Stage().width
    1
    """

    blocks: tuple[Block, ...] = ()
    begin: float = 0.0
    width: int = 1
    top: float = 0.0
    top_count: int = 0
    level: float | None = None
    noise: float = 0.0
    kicked: int = 0
    kick_at: float = 0.0
    kick_seen: int = 0
    kick_level: float = 0.0
    cooldown: int = 0
    cuts: int = 0
    end_cuts: int = 0
    depth: int = 0
    nonfinite: int = 0
    swings: Swings = STILL

    def anew(self, at: float) -> Stage:
        """Without the values up to here: those that come are of another LR."""
        return replace(self, blocks=(), begin=at, width=1)


@dataclass(frozen=True)
class TrendState:
    """What the trend rule remembers: the counters that move with every observation, and the rest in ``stage``.

    Attributes:
        seen: Observations so far.
        at: Position of the newest.
        total: Sum of the block that is being filled.
        count: Observations in it.
        nonfinite_row: Non-finite observations in a row up to now.
        stage: What changes once a block.

    >>> TrendState().seen
    0
    """

    seen: int = 0
    at: float = 0.0
    total: float = 0.0
    count: int = 0
    nonfinite_row: int = 0
    stage: Stage = Stage()

    @property
    def cuts(self) -> int:
        """Decays so far."""
        return self.stage.cuts

    @property
    def nonfinite(self) -> int:
        """Non-finite observations so far."""
        return self.stage.nonfinite

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types."""
        data = asdict(self)
        data["stage"]["blocks"] = [list(block) for block in self.stage.blocks]
        data["stage"]["swings"] = list(self.stage.swings)
        return data


def state_of(state: Mapping[str, Any]) -> TrendState:
    """The state that ``to_dict`` wrote.

    Raises:
        ValueError: If it is anything else.

    >>> state_of(TrendState(seen=3, at=3.0).to_dict()).seen
    3
    """
    saved = Saved("trend rule", state, ("stage",))
    counters = load_fields("trend rule", TrendState, state, skip=("stage",))
    stage = saved.child("stage", ("blocks", "swings"))
    values = load_fields(stage.owner, Stage, stage.state, skip=("blocks", "swings", "depth"))
    blocks: list[Block] = []
    for block in stage.items("blocks"):
        read = Saved(stage.owner, {"block": block}).floats("block")
        if len(read) != 3 or not all(map(math.isfinite, read)) or read[1] < 1 or len(blocks) >= MOST_BLOCKS:
            raise stage.refuse("blocks", f"at most {MOST_BLOCKS} triples of mean, observations and place", block)
        blocks.append((read[0], int(read[1]), read[2]))
    swings = stage.floats("swings")
    if len(swings) != 4 or not all(map(math.isfinite, swings)):
        raise stage.refuse("swings", "four finite numbers", swings)
    total, squares, products, weight = swings
    # A kick before the first cut leaves the LR above its start.
    depth = stage.count("depth", -1)
    held = Stage(blocks=tuple(blocks), swings=(total, squares, products, weight), depth=depth, **values)
    return TrendState(**counters, stage=held)
