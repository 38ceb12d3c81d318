"""The plateau benchmark measures what it says: tasks that learn, plateaus that are over at their onset."""

import numpy as np
import pytest
import torch

from recipes.benchmarks.plateau.runs import VALIDATIONS, Arm, train
from recipes.benchmarks.plateau.signals import ENDLESS, PLATEAUS, SETS, noise
from recipes.benchmarks.plateau.tasks import HALVES

CHECK = HALVES["check"]

T = np.linspace(0.0, 1.0, 401)


def test_no_task_is_in_two_halves():
    names = [name for half in HALVES.values() for name in half]
    assert len(set(names)) == len(names)
    assert [len(half) for half in HALVES.values()] == [13, 11, 12]


@pytest.mark.parametrize("name", CHECK)
def test_a_task_learns_and_keeps_a_floor(name):
    task = CHECK[name]()
    start = float(task.loss(task.init(torch.Generator().manual_seed(100)), task.validation))
    [end] = train(task, "adam", [3e-3], [[Arm("constant")]], 2 * VALIDATIONS).final["constant", "225"]
    assert 1e-3 * start < end < 0.9 * start


@pytest.mark.parametrize("name", CHECK)
def test_a_seed_fixes_the_weights_and_the_batch(name):
    task, again = CHECK[name](), CHECK[name]()
    for make in (lambda t: tuple(t.init(torch.Generator().manual_seed(1)).values()), lambda t: t.validation):
        assert all(torch.equal(a, b) for a, b in zip(make(task), make(again), strict=True))
    batches = [t.sample(torch.Generator().manual_seed(2)) for t in (task, again)]
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


@pytest.mark.parametrize("shape", [shape for shape in SETS["check"].shapes if shape in PLATEAUS])
def test_a_plateau_is_over_at_its_onset(shape):
    for seed in range(20):
        y = PLATEAUS[shape](T, 0.4, np.random.default_rng(seed))
        assert 0.75 < y[0] < 1.25
        assert y[160] < 0.035 * y[0]
        assert np.all(np.diff(y[160:]) >= -0.002)


@pytest.mark.parametrize("shape", [shape for shape in SETS["check"].shapes if shape in ENDLESS])
def test_an_endless_decay_falls_to_the_end(shape):
    for seed in range(20):
        y = ENDLESS[shape](T, np.random.default_rng(seed))
        assert np.all(np.diff(y) < 0)
        assert 0.2 < y[0] - y[-1] <= 1.0 + 1e-9


@pytest.mark.parametrize("kind", [*SETS["check"].kinds, "laplace", "moving", "ar.6"])
def test_noise_has_a_standard_deviation_of_one(kind):
    rng = np.random.default_rng(0)
    values = np.concatenate([noise(kind, 400, rng) for _ in range(100)])
    assert np.std(values) == pytest.approx(1.0, abs=0.05)
    assert np.mean(values) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("half", SETS)
def test_signals_have_an_onset_or_an_endless_shape(half):
    rng = np.random.default_rng(1)
    shapes = {}
    for _ in range(200):
        shape, values, onset = SETS[half].signal(50, rng)
        assert len(values) == 50
        assert onset is None or 0.1 < onset < 0.7
        assert shapes.setdefault(shape, onset is None) == (onset is None)
    assert any("power" in shape for shape in shapes)
    assert all(endless for shape, endless in shapes.items() if "power" in shape)
    assert 0.2 < np.mean(list(shapes.values())) < 0.8
