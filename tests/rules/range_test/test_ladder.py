"""The LRs that a sweep visits."""

import itertools
import math

import pytest

from lr_lightning.rules.range_test.ladder import ladder, log_uniform


def test_both_spacings_against_their_closed_forms():
    assert ladder(1.0, 2.0, 5, "linear") == (1.0, 1.25, 1.5, 1.75, 2.0)
    assert ladder(1e-6, 1.0, 7) == pytest.approx([10.0**n for n in range(-6, 1)], rel=1e-12)
    assert ladder(0.3, 0.7, 2) == ladder(0.3, 0.7, 2, "linear") == (0.3, 0.7)


@pytest.mark.parametrize("spacing", ["exponential", "linear"])
@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_the_ends_are_exact_and_every_lr_is_greater(spacing, count):
    lrs = ladder(1e-7, 10.0, count, spacing)
    assert (lrs[0], lrs[-1], len(lrs)) == (1e-7, 10.0, count)
    assert all(low < high for low, high in itertools.pairwise(lrs))
    assert all(type(lr) is float for lr in ladder(1, 10, 3, spacing))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 1.0 + 4 * math.ulp(1.0), 10), "are too near for 10 different LRs between"),
        ((1.0, 1.0 + math.ulp(1.0), 3, "linear"), "are too near for 3 different LRs between"),
        ((1.0, 0.1, 3), "min_lr must be below max_lr"),
        ((0.1, 1.0, 1), "num_steps must be an integer of at least 2, got 1"),
        ((0.1, 1.0, 1_000_001), "num_steps must be an integer of at most 1000000"),
        ((0.1, 1.0, 3, "log"), "spacing must be one of exponential, linear, got 'log'"),
    ],
)
def test_ladders_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        ladder(*arguments)


def test_random_lrs_are_even_in_log_lr_and_inside():
    many = log_uniform(1e-4, 1.0, 4000, seed=1)
    assert many == log_uniform(1e-4, 1.0, 4000, seed=1) != log_uniform(1e-4, 1.0, 4000, seed=2)
    counts = [sum(10.0 ** (k - 4) <= lr < 10.0 ** (k - 3) for lr in many) for k in range(4)]
    assert min(counts) > 900
    assert len(log_uniform(1e-4, 1.0, 1, seed=0)) == 1
    with pytest.raises(ValueError, match="count must be an integer of at least 1, got 0"):
        log_uniform(1e-4, 1.0, 0, seed=0)
    with pytest.raises(ValueError, match="min_lr must be below max_lr"):
        log_uniform(1.0, 0.1, 3, seed=0)
