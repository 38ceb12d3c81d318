"""Long ladders and long searches: answered in bounded memory, and like short ones."""

import math
import resource
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from lr_lightning.rules.range_test.curve import falling_chains
from lr_lightning.rules.range_test.opinions import all_suggestions
from lr_lightning.rules.range_test.smoothing import smooth
from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round
from lr_lightning.rules.search.surrogate import merge

LONG = """
import numpy as np
from lr_lightning.rules.range_test.analyze import analyze
x = np.linspace(-8, 0, 40_000)
losses = 2.3 - 1.8 / (1 + np.exp(-2 * (x + 3))) + np.exp(np.minimum(8 * (x + 0.4), 5))
found = analyze((10**x).tolist(), (losses + 0.02 * np.random.default_rng(0).standard_normal(len(x))).tolist())
assert found.status == "ok", found
print(*found.zones.descending)
"""


def test_a_ladder_of_40_000_steps_is_read_in_bounded_memory():
    limit = 4 << 30  # all pairs of 40,000 losses alone would take 12 GB
    done = subprocess.run(
        [sys.executable, "-c", LONG],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        env={"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    low, high = map(float, done.stdout.split())
    # The logistic descent of the curve has its middle at 1e-3, and explodes at about 10^-0.4.
    assert 1e-5 < low < 1e-3 < high < 10**-0.2


def test_the_longest_falling_subsequences_are_those_of_all_pairs():
    random = np.random.default_rng(0)
    for values in (random.normal(size=60), random.integers(0, 6, 60), np.zeros(5), np.arange(5.0)):
        lengths, before = [1] * len(values), [-1] * len(values)
        for i in range(len(values)):
            for j in range(i):
                if values[j] > values[i] and lengths[j] >= lengths[i]:
                    lengths[i], before[i] = lengths[j] + 1, j
        assert falling_chains([float(v) for v in values]) == (lengths, before)


def test_all_rules_on_a_long_curve_take_about_as_long_per_point_as_on_a_short_one():
    def lines(count):
        lrs = np.logspace(-7, 0, count).tolist()
        losses = (2 - np.linspace(0, 1, count) + 0.1 * np.random.default_rng(0).normal(size=count)).tolist()
        watched, seen = sys.gettrace(), Counter()

        def trace(frame, event, arg):
            seen[event] += 1
            return trace

        sys.settrace(trace)
        try:
            all_suggestions(lrs, losses, planned=count)
        finally:
            sys.settrace(watched)
        return seen["line"]

    assert lines(4000) < 5 * lines(1000)


def test_smoothing_a_long_curve_is_smoothing_all_its_pairs():
    x = np.linspace(0.0, 18.0, 4001)
    y = np.sin(x) + np.random.default_rng(0).normal(0, 0.3, len(x))
    sigma = 0.02 * 18.0
    weights = np.exp(-0.5 * ((x[:, None] - x[None, :]) / sigma) ** 2)
    exact = weights @ y / weights.sum(1)
    np.testing.assert_allclose(smooth(x, y, sigma), exact, atol=4e-3)  # a fifth of its standard error


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_merged_trials_are_few_and_keep_the_mean(axes):
    random = np.random.default_rng(axes)
    points, values = random.random((1000, axes)), random.normal(size=1000)
    few, means = merge(points, values)
    assert len(few) == len(means) <= 200
    assert len(few) > 20
    assert points.min(0) == pytest.approx(few.min(0), abs=0.3)
    same, kept = merge(points[:200], values[:200])
    assert same is not points
    np.testing.assert_array_equal(kept, values[:200])


def test_a_thousand_trials_lead_to_the_optimum():
    random = np.random.default_rng(0)
    lrs = 10 ** random.uniform(-6, 0, 1000)
    scores = [(math.log10(lr) + 2.5) ** 2 + random.normal(0, 0.3) for lr in lrs]
    trials = [Trial((float(lr),), float(score), i // 5) for i, (lr, score) in enumerate(zip(lrs, scores, strict=True))]
    plan = next_round(SearchSettings((Axis("lr", 1e-6, 1.0),), budget=1000), trials)
    assert plan.done
    assert plan.best is not None
    assert math.log10(float(plan.best[0])) == pytest.approx(-2.5, abs=0.15)
    few = next_round(SearchSettings((Axis("lr", 1e-6, 1.0),), budget=1000), trials[:200])
    assert plan.noise == pytest.approx(few.noise, rel=0.6)
