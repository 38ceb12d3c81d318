"""Any number of axes of any scale, with any scores: a next round of new points, or a clear end."""

import math

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round

LR = Axis("lr", 1e-5, 1.0)
MORE = (
    Axis("dropout", 0.0, 0.5, scale="linear"),
    Axis("wd", 1e-6, 0.1),
    Axis("batch", choices=(16, 32, 64)),
    Axis("nesterov", choices=(True, False)),
    Axis("clip", choices=(None, 0.5, "auto")),
    Axis("layers", 1, 8, scale="linear", integer=True),
    Axis("width", 4, 512, integer=True),
    Axis("shift", -1.0, 1.0, scale="linear", widen=False),
    Axis("tiny", 1e-300, 1e-290),
)
STRANGE = st.sampled_from([None, math.nan, math.inf, 0.0, 1.0, 1.0, -1e308, 1e308, 5e-324])
SCORES = st.one_of(
    st.just([1.0]), st.just([None]), st.lists(STRANGE, min_size=1, max_size=5),
    st.lists(st.floats(-10, 10), min_size=3, max_size=9),
)  # fmt: skip


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(
    st.lists(st.sampled_from(MORE), max_size=3, unique=True), SCORES, st.integers(1, 4), st.sampled_from(["min", "max"])
)
@example([MORE[3], MORE[7]], [0.0, None], 1, "min")
@example([MORE[1]], [1.0], 4, "min")
@example([], [None], 1, "max")
@example([], [1e308, 1e-3, 1e-2], 1, "min")
@example([], [1.7e308, -1.7e308, 0.0], 2, "max")
def test_a_search_ends_within_its_budget_whatever_is_searched(more, scores, later, mode):
    how = SearchSettings((LR, *more), mode=mode, budget=7, first=3, later=later)
    trials: list[Trial] = []
    while not (plan := next_round(how, trials)).done:
        assert plan.points
        assert not {t.values for t in trials} & set(plan.points), "a point is tried once"
        for point in plan.points:
            trials.append(Trial(point, scores[len(trials) % len(scores)], plan.round))
    assert plan.reason
    assert len(trials) <= 7
    if any(not t.bad for t in trials):
        assert plan.best is not None


@pytest.mark.parametrize("axes", [2, 3, 8])
def test_many_axes_cost_what_few_do(axes):
    """A grid over all axes would have 6 to the 8th lengths: the plan is there, and the LR is found."""
    how = SearchSettings((LR, *(Axis(f"x{i}", 0.0, 1.0, scale="linear") for i in range(1, axes))), first=9, budget=12)
    trials = [Trial(p, (math.log10(float(p[0])) + 2.5) ** 2) for p in next_round(how, []).points]  # type: ignore[arg-type]
    plan = next_round(how, trials)
    assert plan.best is not None
    assert plan.interval is not None
    assert abs(math.log10(float(plan.best[0])) + 2.5) < 0.7  # type: ignore[arg-type]


def test_borders_that_mean_something_do_not_move():
    """Below 0 no dropout, below 1 no layer; an LR's border moves."""
    axes = (LR, Axis("dropout", 0.0, 0.5, scale="linear"), Axis("layers", 1, 8, integer=True))
    how = SearchSettings(axes, budget=40, first=9, later=6)
    trials = [Trial(p, sum(map(float, p))) for p in next_round(how, []).points]  # type: ignore[arg-type]
    widened = set()
    for _ in range(4):
        plan = next_round(how, trials)
        widened |= set(plan.widened)
        for point in plan.points:
            assert point[1] >= 0
            assert point[2] >= 1
        trials += [Trial(p, sum(map(float, p)), plan.round) for p in plan.points]  # type: ignore[arg-type]
    assert widened <= {"lr down"}
