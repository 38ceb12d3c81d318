"""Windows of the trend rule: how long they are, when they have seen enough, and how many blocks are kept."""

import doctest
import math
from dataclasses import replace

import pytest

from lr_lightning.rules.plateau import cuts, trend, trend_state, window
from lr_lightning.rules.plateau.trend_state import MOST_BLOCKS, Stage
from lr_lightning.rules.plateau.window import Moment, Windows

DEFAULT = Windows(0.08, 0.25, 5, 5, 2.25, "keep")


def stage_of(values, **fields):
    blocks = tuple((float(value), 1, float(i)) for i, value in enumerate(values, start=1))
    return Stage(blocks=blocks, top=float(values[0]), top_count=3, **fields)


@pytest.mark.parametrize("module", [window, trend, trend_state, cuts])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("settings", "at", "horizon", "stretch", "right"),
    [
        ({}, 50.0, 100.0, 1.0, (8.0, 5)), ({}, 50.0, 100.0, 2.0, (16.0, 10)), ({}, 50.0, None, 1.0, (12.5, 5)),
        ({"open_least": 200}, 50.0, None, 1.0, (12.5, 200)), ({"window": 12}, 50.0, None, 1.5, (0.0, 18)),
        ({"window": 3}, 50.0, 100.0, 0.5, (0.0, 3)),
    ],
)  # fmt: skip
def test_what_a_window_covers(settings, at, horizon, stretch, right):
    assert replace(DEFAULT, **settings).span(at, horizon, stretch) == right


def test_nothing_is_seen_before_a_window_is_full():
    assert DEFAULT.that_sees(stage_of([1.0] * 4), Moment(4, 4.0, 20.0)) == (None, 0.0)
    found, _ = DEFAULT.that_sees(stage_of([1.0] * 5), Moment(5, 5.0))
    assert len(found) == 5


def test_early_in_a_planned_run_a_noisy_window_has_not_seen_enough():
    """Later the longest one does, whatever it could have seen."""
    noisy = stage_of([1.0 + 0.5 * math.sin(7.0 * i * i) for i in range(40)])
    assert DEFAULT.that_sees(noisy, Moment(40, 40.0, 100.0)) == (None, 0.0)
    found, gain = DEFAULT.that_sees(noisy, Moment(40, 40.0, 60.0))
    assert len(found) > 5
    assert gain == 0.0
    for eager in (replace(DEFAULT, resolution=0.0), replace(DEFAULT, on_flat_region="decay")):
        found, gain = eager.that_sees(noisy, Moment(40, 40.0, 100.0))
        assert (len(found), gain) == (8, 0.0)


def test_a_steep_fall_is_seen_at_once():
    falling = stage_of([1.0 / i for i in range(1, 41)])
    found, gain = DEFAULT.that_sees(falling, Moment(40, 40.0, 100.0))
    assert len(found) >= 8
    assert gain > 0.0


@pytest.mark.parametrize(("length", "kept"), [(0.08, MOST_BLOCKS // 2), (0.001, MOST_BLOCKS - MOST_BLOCKS // 4)])
def test_blocks_are_merged_while_a_window_keeps_enough_of_them_else_dropped(length, kept):
    full = stage_of([1.0] * MOST_BLOCKS)
    bounded = replace(DEFAULT, window=length).bounded(full, Moment(MOST_BLOCKS, float(MOST_BLOCKS), 200.0))
    assert len(bounded.blocks) == kept
    assert bounded.width == (2 if kept == MOST_BLOCKS // 2 else 1)
    assert bounded.blocks[-1][2] == full.blocks[-1][2]
    assert DEFAULT.bounded(stage_of([1.0] * 9), Moment(9, 9.0)) == stage_of([1.0] * 9)
