"""What is concluded from gradients that agree or turn back."""

import doctest
import math

from hypothesis import given
from hypothesis import strategies as st

from lr_lightning.rules.plateau import diagnosis as plateau_diagnosis
from lr_lightning.rules.plateau import gradients as plateau_gradients
from lr_lightning.rules.plateau.diagnosis import diagnose
from lr_lightning.rules.plateau.gradients import LEAST_PAIRS, MOST_CHUNKS, added, newest, spacing


def test_doctests():
    for module in (plateau_gradients, plateau_diagnosis):
        assert doctest.testmod(module).failed == 0


def chunk(values):
    return float(len(values)), sum(values), sum(x * x for x in values), 2.0 * len(values)


@given(st.lists(st.lists(st.floats(-2, 2), min_size=1, max_size=9), min_size=1, max_size=200))
def test_mean_and_error_are_those_of_the_newer_half(parts):
    chunks = ()
    for part in parts:
        chunks = added(chunks, chunk(part))
        assert len(chunks) < MOST_CHUNKS
    values = [x for part in parts for x in part]
    assert math.isclose(sum(c[0] for c in chunks), len(values))
    found = newest(chunks)
    if len(values) < LEAST_PAIRS:
        assert found is None
    elif len(parts) < MOST_CHUNKS:
        taken = []
        for part in reversed(parts):
            if len(taken) >= max(LEAST_PAIRS, len(values) / 2):
                break
            taken = part + taken
        mean = sum(taken) / len(taken)
        error = math.sqrt(max(0, sum(x * x for x in taken) / len(taken) - mean * mean) / (len(taken) - 1))
        assert math.isclose(found.mean, mean, abs_tol=1e-9)
        assert math.isclose(found.error, error, rel_tol=1e-6, abs_tol=1e-7)
        assert found.norm == 2.0


def test_the_spacing_is_odd_and_grows_with_the_momentum():
    found = [spacing(m / 100) for m in range(101)]
    assert found == sorted(found)
    assert all(steps % 2 for steps in found)


def test_the_diagnosis_believes_gradients_before_weights():
    agree = {"agreement": 0.3, "agreement_error": 0.05}
    assert diagnose("plateau", agree) == "flat region"
    assert diagnose("plateau", {**agree, "drift": 0.5}) == "flat region"
    assert diagnose("flat", {**agree, "agreement": -0.3}) == "noise floor"
    assert diagnose("flat", {**agree, "agreement": -0.3, "drift": 1.9}) == "flat region"
    for drift, cause, kind in (
        (1.9, "plateau", "flat region"),
        (0.5, "flat", "noise floor"),
        (1.1, "flat", "flat region"),
    ):
        assert diagnose(cause, {**agree, "agreement": 0.05, "drift": drift}) == kind


def test_a_few_values_that_alternate_are_no_oscillation():
    swing = {"swing": -1.0, "blocks": 16.0}
    assert diagnose("plateau", swing) == "oscillation"
    assert diagnose("plateau", {**swing, "blocks": 6.0}) == "noise floor"
    assert diagnose("plateau", {**swing, "agreement": 0.3, "agreement_error": 0.05}) == "flat region"


def test_a_training_loss_that_falls_within_the_window_is_overfitting():
    falls = [1.0 / (i + 1) for i in range(16)]
    fell = [*falls[:8], *[0.1, 0.11] * 4]
    for evidence in ({"p": 0.6, "observations": 8.0}, {"p_late": 0.97, "observations": 8.0}):
        assert diagnose("plateau", evidence, falls) == "overfitting"
        assert diagnose("plateau", evidence, fell) == "noise floor", "it fell before the window alone"
        assert diagnose("plateau", evidence) == "noise floor"
