"""The interval and the schedule: what the evidence leaves open."""

import math

import numpy as np
import pytest

from lr_lightning.rules.range_test import interval
from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.curve import prepare
from lr_lightning.rules.range_test.interval import find_interval, resampled_readings, width
from lr_lightning.rules.range_test.readings import read, share_of_drop
from tests.helpers.curves import LRS, bowl

CONSTANT = {"schedule": "constant"}


def test_noise_widens_the_interval():
    widths = [width(analyze(LRS, bowl(noise=noise, seed=3)).interval) for noise in (0.0, 0.1, 0.4)]
    assert widths[0] < widths[1] < widths[2]


def test_the_interval_covers_what_noise_does():
    clean = analyze(LRS, bowl()).suggestion
    results = [analyze(LRS, bowl(noise=0.15, seed=seed)) for seed in range(30)]
    covered = sum(r.interval[0] <= clean <= r.interval[1] for r in results)
    assert covered >= 27


@pytest.mark.parametrize("end", [-2.0, -1.5, -1.0])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_a_range_that_ends_in_the_descent_keeps_its_interval_beside_the_end(end, noise):
    """The smoothed curve lags behind a steep end; dealt out as noise, that lag gave intervals of five decades."""
    lrs = 10 ** np.linspace(-7, end, 100)
    way = 3 * np.concatenate([[0.0], np.cumsum(lrs)[:-1]])  # gradient descent: what the LRs so far add up to
    losses = 0.5 + 1.5 * np.exp(-way) + noise * np.random.default_rng(0).standard_normal(100)
    result = analyze(lrs.tolist(), losses.tolist(), cycle=8)
    assert result.status == "no_divergence"
    assert width(result.interval) < 1.2
    assert result.interval[1] == pytest.approx(10**end)
    assert "max_lr=10 shows" in result.reason


def test_a_wide_interval_says_what_narrows_it():
    shallow = bowl(start=2.0, end=1.4, centre=1e-3, limit=3.0, noise=0.35, seed=2)
    result = analyze(LRS, shallow)
    assert width(result.interval) > 1.5
    assert "more repeats or num_steps narrow it" in result.reason


def test_repeats_that_disagree_widen_the_interval_and_pull_the_suggestion():
    near, far = bowl(centre=1e-3, limit=1e-1), bowl(centre=1e-2)
    alone, both = analyze(LRS, near), analyze(LRS, near, repeats=[far])
    apart = analyze(LRS, far).suggestion
    assert both.interval[1] >= apart * 2
    assert both.interval[1] > alone.interval[1]
    assert alone.suggestion < both.suggestion <= math.sqrt(alone.suggestion * apart) * 1.01
    assert both.steps == 200


def test_repeats_never_pull_the_suggestion_right_of_the_first_sweeps_minimum():
    near, far = bowl(centre=1e-5, limit=1e-4), bowl(centre=3e-1, limit=8.0)
    minimum = analyze(LRS, near).zones.descending[1]
    pooled = analyze(LRS, near, repeats=[far, far])
    assert analyze(LRS, far).suggestion > minimum
    assert pooled.suggestion == pytest.approx(minimum, rel=1e-12)


def test_repeats_that_agree_leave_the_suggestion():
    sweeps = [bowl(noise=0.05, seed=seed) for seed in range(3)]
    single = sorted(analyze(LRS, sweep).suggestion for sweep in sweeps)
    pooled = analyze(LRS, sweeps[0], repeats=sweeps[1:])
    assert pooled.suggestion == pytest.approx(single[1], rel=1e-9)


def test_a_repeat_longer_than_the_ladder_is_refused():
    with pytest.raises(ValueError, match="got 101 and 100"):
        analyze(LRS, bowl(), repeats=[[1.0] * 101])


def test_a_long_run_lowers_constant_lr_alone_and_never_by_more_than_a_decade():
    short = analyze(LRS, bowl(), train_steps=200)
    long = analyze(LRS, bowl(), train_steps=4800, rule=CONSTANT)
    endless = analyze(LRS, bowl(), train_steps=10**9, rule=CONSTANT)
    assert short.schedules["constant"] == short.schedules["decay"] == short.suggestion
    assert analyze(LRS, bowl(), train_steps=4800).suggestion == short.suggestion
    assert long.suggestion == pytest.approx(short.suggestion / 2)
    assert endless.suggestion == pytest.approx(short.suggestion / 10)
    assert endless.interval[0] <= endless.suggestion


def test_without_a_known_length_nothing_is_corrected():
    result = analyze(LRS, bowl(), rule=CONSTANT)
    assert result.schedules == {"decay": result.suggestion}


def test_another_batch_size_warns():
    result = analyze(LRS, bowl(), batch_size=64)
    assert result.batch_size_warning(64) is None
    assert result.batch_size_warning(None) is None
    assert "64 samples" in result.batch_size_warning(256)
    assert "256" in result.batch_size_warning(256)


def read_from(losses, cycle=1):
    x = np.log(np.asarray(LRS))
    return prepare(x, np.asarray(losses), "range", float(x[1] - x[0]), 100, cycle)


def test_the_interval_is_the_hull_of_readings_widened_by_the_rules_error():
    curve = read_from(bowl(limit=1e3))
    suggestion = read(curve, "share")
    draws = resampled_readings(curve, "share")
    readings = [share_of_drop(curve, 0.8), share_of_drop(curve, 0.9), read(curve, "minimum")]
    ends = [suggestion, float(np.quantile(draws, 0.05)), float(np.quantile(draws, 0.95)), *readings]
    assert find_interval(curve, "share", suggestion) == pytest.approx(
        (min(ends) / 10**0.35, min(max(ends) * 10**0.35, LRS[-1])), rel=1e-9
    )
    others = [suggestion / 100, suggestion * 5]
    low, high = find_interval(curve, "share", suggestion, others)
    assert low == pytest.approx(suggestion / 100 / 10**0.35, rel=1e-9)
    assert high == pytest.approx(min(max(*ends, suggestion * 5) * 10**0.35, LRS[-1]), rel=1e-9)


def test_the_interval_ends_where_the_ladder_does():
    curve = read_from(bowl(limit=1e3))
    assert find_interval(curve, "share", LRS[1])[0] == pytest.approx(LRS[0])
    assert find_interval(curve, "share", LRS[-2])[1] == pytest.approx(LRS[-1])


@pytest.mark.parametrize("cycle", [1, 8])
def test_resampled_noise_is_the_curves_own_in_whole_blocks_and_with_its_sign(cycle, monkeypatch):
    skewed = np.where(np.arange(100) % 10 == 3, 0.03, 0.0)  # upwards alone, too wide a share to be spikes
    curve = read_from(np.asarray(bowl(limit=1e3)) + skewed + 0.001 * np.sin(np.arange(100.0) ** 2), cycle)
    size, block = curve.low + 1, max(cycle, 4)
    own = (np.minimum(curve.raw, curve.start + curve.drop) - curve.smooth)[:size]
    seen = []

    monkeypatch.setattr(interval, "read", lambda again, rule: seen.append((again.raw - curve.smooth)[:size]))
    resampled_readings(curve, "share", 6)
    windows = np.lib.stride_tricks.sliding_window_view(own, block)
    assert len(seen) == 6
    for drawn in seen:
        for at in range(0, size - block + 1, block):
            assert np.abs(windows - drawn[at : at + block]).max(1).min() < 1e-12
