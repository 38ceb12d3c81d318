"""The range test's result: reading, status, record."""

import io
import math

import pytest
import torch

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.curve import stop_index
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.readings import RULES
from lr_lightning.rules.range_test.result import RangeTestResult
from tests.helpers.curves import LRS, bowl


@pytest.mark.parametrize("rule", RULES)
def test_a_classic_curve_is_read_inside_of_the_descent(rule):
    result = analyze(LRS, bowl(), rule=rule)
    assert result.status == "ok"
    low, high = result.zones.descending
    assert rule == "valley" or low <= result.suggestion <= high
    assert LRS[0] <= result.suggestion <= high
    assert result.interval[0] <= result.suggestion <= result.interval[1]
    assert result.zones.flat[1] == low
    assert result.zones.diverging[0] == high
    assert 1e-3 < low < 1e-2 < high <= 1.0


def test_an_unknown_rule_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"rule must be one of share, midpoint, .*got 'newest'"):
        analyze(LRS, bowl(), rule="newest")


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="got 100 and 99"):
        analyze(LRS, bowl()[:-1])


@pytest.mark.parametrize(
    ("losses", "status", "words"),
    [
        ([1.0] * 100, "no_descent", "raise max_lr"),
        ([math.nan] * 100, "non_finite", "step 0"),
        ([1.0] * 50 + [math.inf] * 50, "non_finite", "lower max_lr"),
        ([1.0, 0.9, 0.8], "too_few_points", "num_steps"),
        ([], "too_few_points", "num_steps"),
    ],
)
def test_a_curve_without_an_answer_says_why_and_suggests_nothing(losses, status, words):
    result = analyze(LRS[: len(losses)], losses, planned=100)
    assert (result.status, result.suggestion, result.interval) == (status, None, None)
    assert words in result.reason


@pytest.mark.parametrize("count", [1, 2])
def test_the_shortest_ladder_is_too_short_to_read(count):
    result = analyze(LRS[:count], [1.0, 0.9][:count])
    assert (result.status, result.suggestion) == ("too_few_points", None)


def test_a_range_that_ends_in_the_descent_names_the_bound():
    lrs = ladder(1e-7, 5e-3, 100)
    result = analyze(lrs, bowl(lrs))
    assert result.status == "no_divergence"
    assert "raise max_lr" in result.reason
    assert result.suggestion <= 5e-3


def test_negative_losses_stop_and_read_like_shifted_ones():
    losses = bowl()
    shifted = [loss - 100 for loss in losses]
    assert analyze(LRS, shifted).suggestion == pytest.approx(analyze(LRS, losses).suggestion, rel=1e-6)
    assert stop_index(losses) is not None
    assert stop_index(shifted) is not None
    assert stop_index(losses[:80]) is None


def test_one_spike_is_no_divergence():
    losses = [1.0 - i / 200 for i in range(60)]
    losses[40] = 50.0
    assert stop_index(losses) is None


def test_the_length_of_the_window_of_losses_moves_nothing():
    losses = bowl(noise=0.02)
    answers = set()
    for window in (1, 7, 10, 100):
        stops = (n for n in range(window, 101, window) if stop_index(losses[:n], planned=100) is not None)
        seen = losses[: next(stops, 100)]
        answers.add(analyze(LRS[: len(seen)], seen, planned=100).suggestion)
    assert len(answers) == 1


def test_the_record_survives_json_and_a_checkpoint(tmp_path):
    losses = [*bowl()[:90], math.inf, math.nan]
    result = analyze(LRS[:92], losses, planned=100, batch_size=64)
    result.save(tmp_path / "result.json")
    again = RangeTestResult.load(tmp_path / "result.json")
    assert repr(again) == repr(result)
    assert math.isnan(again.losses[-1])
    buffer = io.BytesIO()
    torch.save(result.to_dict(), buffer)
    buffer.seek(0)
    assert repr(RangeTestResult.from_dict(torch.load(buffer, weights_only=True))) == repr(result)


@pytest.mark.parametrize("end", [5e-3, 1e-2, 2e-2])
@pytest.mark.parametrize("seed", range(5))
def test_status_and_zones_agree(end, seed):
    lrs = ladder(1e-7, end, 100)
    result = analyze(lrs, bowl(lrs, noise=0.02, seed=seed))
    assert (result.status == "no_divergence") == (result.zones.diverging is None)


def test_a_linear_ladder_over_decades_is_told_what_it_skips():
    lrs = ladder(1e-7, 10.0, 100, "linear")
    result = analyze(lrs[:20], bowl(lrs, limit=1e-2)[:20], planned=100, spacing="linear")
    assert result.suggestion is None
    assert "spacing='linear' goes from LR 1e-07 to 0.1 in its first step: take spacing='exponential'" in result.reason


def test_a_result_prints_itself_in_a_few_lines():
    result = analyze(LRS, bowl())
    text = str(result)
    assert len(text.splitlines()) == 4
    assert len(text) < 500
    assert text.startswith(f"suggestion: {result.suggestion:.4g} (interval {result.interval[0]:.2g} to ")
    assert f"{result.status}: {result.reason}" in text
    assert f"descending {result.zones.descending[0]:.2g} to {result.zones.descending[1]:.2g}" in text
