"""What may move a suggestion, and by how much: laws over random curves."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.readings import RULES
from tests.helpers.curves import bowl

LADDERS = st.sampled_from([ladder(1e-7, 10.0, n) for n in (20, 60, 100, 200)])
LONG_LADDERS = LADDERS.filter(lambda lrs: len(lrs) >= 60)
CENTRES = st.floats(-4.5, -1.5).map(lambda x: 10**x)
SEEDS = st.integers(0, 10**6)


@st.composite
def curves(draw, noise=0.05, ladders=LADDERS):
    """LRs and losses of a noisy bowl somewhere in the range."""
    lrs, centre = draw(ladders), draw(CENTRES)
    limit = centre * 10 ** draw(st.floats(1.0, 2.5))
    return lrs, bowl(lrs, centre=centre, limit=limit, noise=noise, seed=draw(SEEDS))


def decades(result, other):
    assert result.suggestion is not None
    assert other.suggestion is not None
    return abs(math.log10(result.suggestion / other.suggestion))


@settings(max_examples=30, deadline=None)
@given(curves(), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_scaling_and_shifting_the_loss_moves_nothing(curve, scale, shift):
    lrs, losses = curve
    moved = [scale * (loss + shift) for loss in losses]
    assert decades(analyze(lrs, losses), analyze(lrs, moved)) < 1e-3


@settings(max_examples=30, deadline=None)
@given(curves(), st.floats(1e-2, 1e2))
def test_scaling_every_lr_scales_the_suggestion(curve, factor):
    lrs, losses = curve
    result, other = analyze(lrs, losses), analyze([lr * factor for lr in lrs], losses)
    assert other.suggestion == pytest.approx(result.suggestion * factor, rel=1e-6)
    assert other.interval == pytest.approx([bound * factor for bound in result.interval], rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(curves(noise=0.0, ladders=LONG_LADDERS), SEEDS)
def test_noise_of_three_percent_of_the_drop_moves_a_suggestion_by_less_than_half_a_decade(curve, seed):
    lrs, losses = curve
    noise = np.random.default_rng(seed).normal(0, 0.03 * 1.5, len(losses))
    assert decades(analyze(lrs, losses), analyze(lrs, (np.asarray(losses) + noise).tolist())) < 0.5


@settings(max_examples=30, deadline=None)
@given(curves(noise=0.02, ladders=LONG_LADDERS), st.floats(0.0, 0.55), st.sampled_from([-1, 1]), st.floats(1, 100))
def test_a_spike_of_either_sign_moves_a_suggestion_by_less_than_a_third_of_a_decade(curve, place, sign, height):
    lrs, losses = curve
    spiked = list(losses)
    spiked[int(place * len(losses))] += sign * height
    assert decades(analyze(lrs, losses), analyze(lrs, spiked)) < 1 / 3


@settings(max_examples=30, deadline=None)
@given(LADDERS, st.lists(st.floats(-1e6, 1e6) | st.just(math.inf) | st.just(math.nan), min_size=20, max_size=200))
def test_no_rule_leaves_the_swept_range_or_goes_right_of_the_smoothed_minimum(lrs, losses):
    lrs = lrs[: len(losses)]
    for rule in RULES:
        result = analyze(lrs, losses[: len(lrs)], rule=rule, planned=len(lrs))
        assert (result.suggestion is None) == (result.status not in ("ok", "no_divergence"))
        if result.suggestion is not None:
            low = lrs[int(np.argmin(result.smoothed))]
            assert lrs[0] * (1 - 1e-9) <= result.suggestion <= low * (1 + 1e-9)
            assert result.interval[0] <= result.suggestion <= result.interval[1] <= lrs[-1] * (1 + 1e-9)


@settings(max_examples=20, deadline=None)
@given(curves())
def test_the_answer_doesnt_depend_on_the_processs_random_numbers(curve):
    lrs, losses = curve
    np.random.seed(1)
    first = analyze(lrs, losses)
    np.random.seed(2)
    assert repr(analyze(lrs, losses)) == repr(first)


@settings(max_examples=20, deadline=None)
@given(curves(), st.integers(1, 37))
def test_the_window_moves_nothing(curve, window):
    from lr_lightning.rules.range_test.curve import stop_index

    lrs, losses = curve
    ends = [n for n in range(window, len(losses), window) if stop_index(losses[:n], planned=len(lrs)) is not None]
    seen = losses[: ends[0]] if ends else losses
    whole, part = analyze(lrs, losses, planned=len(lrs)), analyze(lrs[: len(seen)], seen, planned=len(lrs))
    assert (whole.suggestion, whole.interval, whole.status) == (part.suggestion, part.interval, part.status)


@settings(max_examples=30, deadline=None)
@given(curves(noise=0.0, ladders=st.just(ladder(1e-7, 10.0, 20))), SEEDS)
def test_twenty_points_with_that_noise_give_about_the_same_lr_or_none(curve, seed):
    # With nine points before the explosion a noisy descent can be too short to be told from noise: then none is given.
    lrs, losses = curve
    noise = np.random.default_rng(seed).normal(0, 0.03 * 1.5, len(losses))
    calm, noisy = analyze(lrs, losses), analyze(lrs, (np.asarray(losses) + noise).tolist())
    assert noisy.suggestion is None or decades(calm, noisy) < 0.7
