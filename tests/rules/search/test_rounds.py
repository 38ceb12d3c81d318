"""The narrowing rule against curves whose optimum is known."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning.rules.range_test.ladder import log_uniform
from lr_lightning.rules.search.axes import Axis, axis_from
from lr_lightning.rules.search.records import Plan, SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round

Curve = Callable[[float], float]


def bowl(d: float) -> float:
    """One unit of score at one decade from the optimum, on both sides."""
    return d * d


def lopsided(d: float) -> float:
    """Smooth, steeper to the right: one unit a decade above the optimum, 0.37 a decade below."""
    return (math.exp(1.5 * d) - 1 - 1.5 * d) / (math.exp(1.5) - 2.5)


def training(d: float) -> float:
    """Like a loss over LR: a plateau at 2.3 far below the optimum, NaN from 0.8 decades above it."""
    if d > 0.8:
        return math.nan
    return 2 * d * d if d > 0 else 2.3 * (1 - math.exp(-d * d / 1.2))


def explodes(d: float) -> float:
    """A plateau at 2.3 below, and above a bowl that explodes to 1e9 with a finite loss."""
    value = 2.3 * (1 - math.exp(-d * d / 1.2)) if d < 0 else 1.5 * d * d
    return value + (10 ** (4 * (d - 0.7)) if d > 0.7 else 0.0)


def run(curve: Curve, optimum: float, noise: float, seed: int, **options: object) -> tuple[float, int, Plan]:
    """Search log10 LR from -5 to 0; error in decades, points tried, last plan."""
    draw = random.Random(f"{optimum}{noise}{seed}")
    how = SearchSettings((Axis("lr", 1e-5, 1.0),), seed=seed, **options)  # type: ignore[arg-type]
    trials: list[Trial] = []
    while not (plan := next_round(how, trials)).done:
        for (lr,) in plan.points:
            score = curve(math.log10(float(lr)) - optimum) + draw.gauss(0.0, noise)
            trials.append(Trial((lr,), score, plan.round))
    assert plan.best is not None
    return abs(math.log10(float(plan.best[0])) - optimum), len({t.values for t in trials}), plan


OPTIMA = [-4.3 + 3.6 * ((k * 0.618) % 1) for k in range(20)]


@pytest.mark.parametrize(
    ("curve", "noise", "share"),
    # Noise in units of the rise a decade away; share of 20 searches that must end within 10 % of a decade.
    [(bowl, 0.0, 1.0), (bowl, 0.05, 0.95), (lopsided, 0.02, 0.9), (training, 0.05, 0.95), (explodes, 0.02, 0.95)],
)
def test_the_optimum_is_found_within_a_tenth_of_a_decade_in_15_trials(curve: Curve, noise: float, share: float) -> None:
    runs = [run(curve, optimum, noise, seed) for seed, optimum in enumerate(OPTIMA)]
    assert all(count <= 15 for _, count, _ in runs)
    assert sum(error <= 0.1 for error, _, _ in runs) >= share * len(runs), sorted(round(e, 3) for e, _, _ in runs)


def test_one_lucky_trial_does_not_win() -> None:
    how = SearchSettings((Axis("lr", 1e-5, 1.0),))
    places = [-5 + 0.25 * i for i in range(21)]
    trials = [Trial((10**x,), (x + 2) ** 2 + 0.02 * math.sin(50 * x)) for x in places]
    trials[3] = Trial(trials[3].values, -0.01)  # at 10**-4.25, where the others say 5
    best = next_round(how, [*trials, Trial(trials[3].values, 5.0), Trial(trials[3].values, 5.1)]).best
    assert best is not None
    assert abs(math.log10(float(best[0])) + 2) < 0.25


@pytest.mark.parametrize(("optimum", "word"), [(-6.3, "down"), (0.6, "up")])
def test_a_minimum_at_a_border_widens_the_range_unless_told_not_to(optimum: float, word: str) -> None:
    error, _, _ = run(bowl, optimum, 0.02, 0, budget=18)
    assert error < 0.15
    first = [Trial((10**x,), bowl(x - optimum)) for x in (-5, -3.75, -2.5, -1.25, 0)]
    assert next_round(SearchSettings((Axis("lr", 1e-5, 1.0),)), first).widened == (f"lr {word}",)
    fixed = next_round(SearchSettings((Axis("lr", 1e-5, 1.0, widen=False),)), first)
    assert fixed.widened == ()
    assert all(1e-5 <= float(lr) <= 1 for (lr,) in fixed.points)


def test_bad_trials_count_as_worst_and_are_never_missing() -> None:
    how = SearchSettings((Axis("lr", 1e-5, 1.0),))
    bad = [Trial((10.0**x,), s, 0, status) for x, s, status in [(0, None, "crashed"), (-1.25, math.nan, "completed")]]
    good = [Trial((10.0**x,), -x, 0) for x in (-5, -3.75, -2.5)]
    plan = next_round(how, [*good, *bad])
    assert plan.widened == (), "the best good trial stands beside a bad one, not at a border"
    assert all(float(lr) < 10**-1.8 for (lr,) in plan.points), "no point nearer to a bad place than to a good one"
    hopeless = next_round(how, [Trial(t.values, None, 0, "crashed") for t in [*good, *bad]])
    assert hopeless.widened == ("lr down",)
    assert all(float(lr) < 1e-5 for (lr,) in hopeless.points)


def test_maximizing_is_minimizing_the_negative() -> None:
    points = [Trial((10.0**x,), -bowl(x + 2), 0) for x in (-5, -3.75, -2.5, -1.25, 0)]
    mirrored = [Trial(t.values, -float(t.score or 0.0), 0) for t in points]
    up = next_round(SearchSettings((Axis("lr", 1e-5, 1.0),), mode="max"), points)
    down = next_round(SearchSettings((Axis("lr", 1e-5, 1.0),)), mirrored)
    assert (up.points, up.best) == (down.points, down.best)
    assert up.expected == pytest.approx(-(down.expected or 0.0))


@given(
    scores=st.lists(
        st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=32)), min_size=5, max_size=5
    ),
    order=st.permutations(range(5)),
)
@settings(max_examples=15, deadline=None)
def test_any_scores_give_a_plan_whatever_their_order(scores: list[float | None], order: list[int]) -> None:
    how = SearchSettings((Axis("lr", 1e-5, 1.0),))
    trials = [Trial((lr,), score) for (lr,), score in zip(next_round(how, []).points, scores, strict=True)]
    plan = next_round(how, trials)
    assert plan.done or plan.points
    assert not {t.values for t in trials} & set(plan.points)
    assert next_round(how, trials) == plan
    assert next_round(how, [trials[i] for i in order]) == plan


def test_further_axes_are_searched_with_their_own_scales() -> None:
    axes = (Axis("lr", 1e-5, 1.0), Axis("wd", 0.0, 0.5, scale="linear"), Axis("batch", choices=(16, 32, 64)))
    how = SearchSettings(axes, budget=25, first=10, later=5)
    trials: list[Trial] = []
    while not (plan := next_round(how, trials)).done:
        for lr, wd, batch in plan.points:
            assert 0 <= float(wd) <= 0.5
            assert batch in (16, 32, 64)
            score = (math.log10(float(lr)) + 2) ** 2 + 20 * (float(wd) - 0.2) ** 2 + (batch != 32) * 0.3
            trials.append(Trial((lr, wd, batch), score, plan.round))
    assert plan.best is not None
    assert abs(math.log10(float(plan.best[0])) + 2) < 0.3
    assert abs(float(plan.best[1]) - 0.2) < 0.15
    assert plan.best[2] == 32


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Axis("lr", 0.0, 1.0), "lr: low must be finite and greater than 0, got 0.0"),
        (lambda: Axis("lr", 1.0, 0.1), "low=1.0 and lr: high=0.1"),
        (lambda: Axis("wd", 1.0, 1.0, scale="linear"), "wd: low must be below high"),
        (lambda: Axis("lr", 0.1, 1.0, scale="cubic"), "one of log, linear, got 'cubic'"),
        (lambda: Axis("b", choices=(1,)), r"at least 2 different numbers, strings, booleans or null, got \(1,\)"),
        (lambda: axis_from("wd", {"low": "a", "high": 1}), "low must be a number"),
        (lambda: SearchSettings((), budget=15), "at least one parameter"),
        (lambda: SearchSettings((Axis("lr", 0.1, 1.0),), budget=4), "budget must be an integer of at least 5, got 4"),
        (lambda: SearchSettings((Axis("lr", 0.1, 1.0),), mode="up"), "one of min, max, got 'up'"),
        (lambda: SearchSettings((Axis("lr", 0.1, 1.0),), tolerance=0.0), "tolerance must be a number above 0"),
        (
            lambda: SearchSettings((Axis("lr", 0.1, 1.0),), confidence=1.0),
            "confidence must be a number above 0 and below 1",
        ),
    ],
)
def test_impossible_settings_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_samples_fill_the_range_evenly_in_log_lr() -> None:
    many = log_uniform(1e-4, 1.0, 4000, seed=1)
    assert many == log_uniform(1e-4, 1.0, 4000, seed=1)
    counts = [sum(10.0 ** (k - 4) <= lr < 10.0 ** (k - 3) for lr in many) for k in range(4)]
    assert min(counts) > 900


def test_a_place_where_half_of_the_repeats_are_bad_is_bad() -> None:
    """The best score of all stands at a place whose other seed diverged: the answer lies elsewhere."""
    settings = SearchSettings((Axis("lr", 1e-5, 1.0, widen=False),), budget=60, tolerance=1e-6)
    scores = {1e-5: 3.0, 1e-4: 2.0, 1e-3: 1.0, 1e-2: 0.0, 1e-1: None}

    def trials(second: float | None) -> list[Trial]:
        found = [Trial((lr,), score, 0) for lr, score in scores.items() for _ in range(2)]
        return [*found[:-3], Trial((1e-2,), second, 0, status="ok" if second is not None else "crashed"), *found[-2:]]

    whole, halved = next_round(settings, trials(0.0)), next_round(settings, trials(None))
    assert max(float(point[0]) for point in whole.points) > 3e-3
    assert max(float(point[0]) for point in halved.points) < 3.3e-3  # nearer to 1e-3 than to the bad place
