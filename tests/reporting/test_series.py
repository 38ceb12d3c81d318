"""Lines of runs that were resumed, thinned or written by several processes."""

from types import SimpleNamespace

import numpy as np
import pytest

from lr_lightning.reporting.tensorboard.series import Restart, Series, epoch_starts, newest, overtaken, thin


def points(steps, values, times):
    return [SimpleNamespace(step=s, value=v, wall_time=t) for s, v, t in zip(steps, values, times, strict=True)]


def line(steps, times):
    return Series(np.array(steps, dtype=float), np.ones(len(steps)), np.array(times, dtype=float))


def test_the_newest_value_of_a_step_wins_and_the_line_never_goes_back():
    lives = points([0, 10, 20, 30], [1, 1, 1, 1], [0, 1, 2, 3]) + points([10, 20], [2, 2], [8, 9])
    series, restarts = newest(lives)
    assert series.steps.tolist() == [0, 10, 20]
    assert series.values.tolist() == [1, 2, 2]
    assert restarts == [Restart(3.0, 10.0)]


def test_points_of_two_processes_in_any_order_are_one_line():
    series, restarts = newest(points([0, 2, 1, 3], [0, 2, 1, 3], [0, 20, 10, 30]))
    assert series.steps.tolist() == series.values.tolist() == [0, 1, 2, 3]
    assert restarts == []


def test_thinned_lines_keep_their_ends_and_their_spikes():
    values = np.zeros(5000)
    values[[1234, 4321]] = 50.0, -7.0
    kept = thin(Series(np.arange(5000.0), values, np.arange(5000.0)), 100)
    assert len(kept) <= 100
    assert {0.0, 1234.0, 4321.0, 4999.0} <= set(kept.steps.tolist())
    assert np.all(np.diff(kept.steps) > 0)


def test_an_event_of_an_earlier_life_is_seen_without_the_points_of_that_life():
    lr = line([0, 100, 200, 300, 400], [0, 100, 1200, 1300, 1400])  # resumed at 200; the first life had reached 390
    assert overtaken([150, 390, 390], [150, 390, 1390], lr, []).tolist() == [False, True, False]
    assert overtaken([290, 190], [290, 190], line([], []), [Restart(295.0, 200.0)]).tolist() == [True, False]


@pytest.mark.parametrize("pause", [0.001, 0.5])
def test_points_that_were_collected_and_written_later_overtake_no_event(pause):
    lr = line([0, 10, 20, 30, 40], [0, 50, 50 + pause, 50 + 2 * pause, 50 + 3 * pause])
    assert not overtaken([25, 35], [30, 40], lr, []).any()


def test_an_event_of_the_second_life_stands_though_its_points_came_later():
    """The second life's points of steps 10 to 30 are written at once, after its event at step 25."""
    series, restarts = newest(points([0, 10, 20, 30, 10, 20, 30], [1] * 7, [0, 10, 20, 30, 150, 150.001, 150.002]))
    assert overtaken([25, 25], [25, 125], series, restarts).tolist() == [True, False]


def test_epochs_begin_at_their_first_step():
    series = Series(np.arange(6.0), np.array([0, 0, np.nan, 1, 1, 3]), np.zeros(6))
    assert epoch_starts(series) == ([0.0, 3.0, 5.0], [0.0, 1.0, 3.0])
    assert epoch_starts(None) is None
