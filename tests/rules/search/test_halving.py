"""Which trials stop early."""

import math

import pytest

from lr_lightning.rules.search.bracket import bracket
from lr_lightning.rules.search.effect import without_effect
from lr_lightning.rules.search.halving import diverged, finished, judge, planned_validations, rungs


def test_rungs_grow_by_eta_and_leave_out_the_end() -> None:
    assert rungs(1, 2.0, 16) == (1, 2, 4, 8)
    assert rungs(3, 1.5, 10) == (3, 4, 7)
    with pytest.raises(ValueError, match=r"eta must be a number of at least 1\.1, got 1"):
        rungs(1, 1, 10)


def test_asynchronous_halving_keeps_the_best_share_as_trials_come_in() -> None:
    seen: list[float] = []
    kept = []
    for value in [5.0, 1.0, 3.0, 2.0, 4.0, 0.5, 6.0, 1.5]:
        if not judge(value, seen, eta=2):
            kept.append(value)
        seen.append(value)
    assert kept == [5.0, 1.0, 3.0, 2.0, 0.5, 1.5]
    assert judge(0.9, [0.8, 0.7, 0.6], eta=2, mode="max") == ""
    assert judge(math.nan, [], eta=2) == "the metric is nan"
    assert judge(1.0, [math.nan] * 3, eta=2) == "", "a peer that is not finite is worse than any number"


@pytest.mark.parametrize(
    ("value", "first", "best", "mode", "expected"),
    [
        (2.4, 2.3, 2.3, "min", False),
        (9.0, 2.3, 2.0, "min", True),
        (-1.0, -2.0, -5.0, "min", False),
        (3.0, -2.0, -5.0, "min", True),
        (0.2, 0.5, 0.9, "max", False),
        (math.inf, 1.0, 1.0, "min", True),
    ],
)
def test_divergence_is_measured_against_what_was_gained(
    value: float, first: float, best: float, mode: str, expected: bool
) -> None:
    assert diverged(value, first, best, mode) is expected


def test_the_bracket_surrounds_the_suggestion_and_stays_inside_of_the_range() -> None:
    assert bracket({"suggestion": 1e-2, "zones": {}}, 1e-6, 1.0)[:2] == pytest.approx((1e-2 / 30, 0.1))
    assert bracket({"suggestion": 1e-2, "zones": {}}, 5e-3, 0.05)[:2] == (5e-3, 0.05)
    assert bracket({"suggestion": None, "reason": "flat"}, 1e-6, 1.0) == (
        1e-6,
        1.0,
        "no bracket from the range test (flat)",
    )
    assert bracket({"suggestion": 50.0, "zones": None}, 1e-6, 1.0)[:2] == (1e-6, 1.0)


def test_a_stopped_trial_is_compared_at_what_it_would_have_reached() -> None:
    others = [(1.0, 0.2), (1.1, 0.4), (math.nan, 0.1), (0.9, 0.2)]
    assert finished(1.6, others) == pytest.approx(0.9)
    assert finished(1.6, []) == 1.6
    assert finished(-1.6, [(-1.0, -3.0)]) == pytest.approx(-3.6)


@pytest.mark.parametrize(
    ("run", "planned"),
    [
        ((64, 1, 8, 1), 8),
        ((8, 2, 3, 1), 4),
        ((4, 3, 4, 2), 1),
        ((4, 2, 3, None), 2),
        ((4, None, 4, 1, 10), 2),
        ((4, 2, 4, 1, 6), 1),
        ((math.inf, 5, 10, 1), None),
        ((math.inf, None, 10, None, 100), 10),
        ((math.inf, None, 10, 1, 100), 10),
        ((4, None, 4, 1), None),
    ],
)
def test_validations_of_a_whole_run_are_counted(run: tuple[float, ...], planned: int | None) -> None:
    assert planned_validations(*run) == planned  # type: ignore[arg-type]


def test_a_parameter_without_effect_is_told_whatever_the_repeats_differ_by() -> None:
    points = [(0.1,), (0.2,), (0.3,)]
    alike = [(p, seed, float(seed)) for p in points for seed in (0, 1)]
    assert "does not depend on opt.rate" in without_effect(["opt.rate"], alike)
    assert without_effect(["opt.rate"], [*alike, ((0.4,), 0, 0.5)]) == ""
    assert without_effect(["opt.rate"], alike[:4]) == "", "two points can be alike by chance"
    assert without_effect(["opt.rate"], [(p, 0, None) for p in points]) == ""


def test_rungs_at_the_least_settings_and_bad_ones():
    assert rungs(1, 1.1, 4) == (1, 2, 3)
    assert rungs(2, 3, 2) == ()
    with pytest.raises(ValueError, match="first must be an integer of at least 1, got 0"):
        rungs(0, 2.0, 10)


def test_the_reason_counts_in_words():
    peers = [float(at) for at in range(40)]
    told = [judge(place - 0.5, peers, eta=50).split()[0] for place in (2, 3, 4, 11, 12, 13, 21, 22, 23)]
    assert told == ["3rd", "4th", "5th", "12th", "13th", "14th", "22nd", "23rd", "24th"]
    assert judge(19.5, peers, eta=50).startswith("21st of 41 at this point, the best 1 go on")
    assert judge(9.5, peers, eta=50).startswith("11th")
    assert judge(0.5, peers, eta=50).startswith("2nd of 41")


def test_one_of_many_always_goes_on_and_few_are_never_stopped():
    assert judge(0.0, [1.0, 2.0, 3.0], eta=1000) == ""
    assert judge(9.0, [1.0, 2.0], eta=2) == ""
    assert judge(9.0, [1.0, 2.0, 3.0], eta=2).startswith("4th of 4")
    assert judge(2.0, [2.0, 2.0, 2.0], eta=4) == "", "equals share the best place"


@pytest.mark.parametrize(("factor", "expected"), [(1.0, True), (3.0, False)])
def test_how_much_of_the_gain_may_be_lost_is_a_setting(factor, expected):
    assert diverged(4.0, first=2.0, best=1.0, factor=factor) is expected


def test_the_median_gain_of_the_others_is_added():
    others = [(1.0, 0.9), (1.0, 0.5), (1.0, 0.1), (1.0, 0.2)]
    assert finished(2.0, others) == pytest.approx(2.0 - 0.5)
    assert finished(2.0, [(1.0, math.inf), (1.0, 0.4)]) == pytest.approx(1.4)


def test_a_bracket_that_would_be_empty_is_none():
    assert bracket({"suggestion": 30.0, "zones": {}}, 1e-3, 1.0) == (
        1e-3,
        1.0,
        "the range test suggests 30, outside of the range: no bracket",
    )
    low, high, why = bracket({"suggestion": 0.1, "zones": {"diverging": [0.05, 1.0]}}, 1e-6, 10.0)
    assert (low, high) == pytest.approx((0.1 / 30, 0.3))
    assert why == "the range test suggests 0.1: 0.00333 to 0.3"
    assert bracket({}, 1e-3, 1.0)[2] == "no bracket from the range test (no suggestion)"


def test_places_from_a_hundred_on_are_counted_too():
    peers = [float(at) for at in range(130)]
    assert [judge(place - 1.5, peers, eta=200).split()[0] for place in (101, 111, 112, 113, 121)] == [
        "101st",
        "111th",
        "112th",
        "113th",
        "121st",
    ]


@pytest.mark.parametrize(("value", "expected"), [(3.9, False), (4.0, False), (4.1, True), (-4.0, False)])
def test_without_a_gain_half_of_the_start_may_be_lost(value, expected):
    # No gain yet: 4.0 may become 6.0; a start of -4.0 may become -2.0.
    assert diverged(value + 2.0, first=4.0, best=4.0) is expected
    assert diverged(value - 6.0, first=-4.0, best=-4.0) is expected
