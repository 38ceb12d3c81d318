"""The benchmark of searches over several axes: its surfaces have the minima that they are read off from."""

import math

import pytest

from recipes.benchmarks.search_axes import METHODS, SURFACES, Surface, counts, least, regret, row, study


def test_a_study_tells_every_method_at_every_count(monkeypatch):
    monkeypatch.setattr("recipes.benchmarks.search_axes.counts", lambda surface: (5, 8))
    [surface] = [s for s in SURFACES if s.name == "optimizers"]
    result = study(surface, [0])
    assert {name: list(told) for name, told in result["methods"].items()} == {name: ["5", "8"] for name in METHODS}
    assert all(value[0] >= 0 for told in result["methods"].values() for value in told.values())
    assert row(result).startswith("optimizers")


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_a_surface_has_its_minimum_inside(surface: Surface):
    assert counts(surface)[0] >= 5
    lowest = surface.score(*(axis.value(0.5) for axis in surface.axes))
    assert math.isfinite(lowest)


def test_regret_is_nothing_at_the_minimum_and_much_without_an_answer():
    [surface] = [s for s in SURFACES if s.name == "optimizers"]
    best = least(surface)
    assert regret(surface, (1e-3, "adam"), best) < 1e-6
    assert regret(surface, None, best) == 10.0
