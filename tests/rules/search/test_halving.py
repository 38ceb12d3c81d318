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
