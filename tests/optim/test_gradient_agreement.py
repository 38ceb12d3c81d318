"""Gradients are compared on the device, in closed forms."""

import pytest
import torch

from lr_lightning.optim.gradient_agreement import GradientPath
from lr_lightning.optim.motion import MOST_WEIGHTS
from lr_lightning.rules.saved import Saved


def walk(steps, gradient, path=None, momentum=0.0, first=0, place=0):
    """``gradient(step)`` gives the gradient of each step of a plain SGD."""
    weight = torch.nn.Parameter(torch.zeros_like(gradient(0)))
    optimizer = torch.optim.SGD([weight], lr=0.0, momentum=momentum)
    path = path or GradientPath()
    for step in range(first, first + steps):
        weight.grad = gradient(step)
        path.step(optimizer, place)
    return path


def test_the_same_gradient_over_and_over_agrees():
    found = walk(110, lambda step: torch.tensor([3.0, 4.0])).read()
    assert (found.mean, found.error, found.norm) == (1.0, 0.0, 5.0)
    assert found.verdict == "moving on"


def test_to_and_fro_turns_back():
    found = walk(110, lambda step: torch.tensor([2.0, 1.0]) * (-1) ** step).read()
    assert (found.mean, found.error) == (-1.0, 0.0)
    assert found.verdict == "bouncing"


def test_noise_says_nothing_and_a_pull_below_it_shows():
    noise = torch.Generator().manual_seed(0)
    alone = walk(3300, lambda step: torch.randn(100, generator=noise)).read()
    assert abs(alone.mean) < 3 * alone.error < 0.05
    pulled = walk(3300, lambda step: torch.randn(100, generator=noise) + 0.5).read()
    assert pulled.mean == pytest.approx(0.25 / 1.25, abs=0.04)
    assert pulled.verdict == "moving on"


def test_pairs_are_as_far_apart_as_the_momentum_remembers():
    for momentum, spacing in ((0.0, 11), (0.9, 11), (0.96, 25)):
        path = walk(11 + 3 * spacing, lambda step: torch.ones(1), momentum=momentum)
        path.read()
        assert path.chunks[0][0] == 3.0
        assert walk(10 + 3 * spacing, lambda step: torch.ones(1), momentum=momentum)._fresh == 2


def test_broken_gradients_dont_count():
    broken = {44: float("nan"), 66: float("inf"), 88: 0.0}
    path = walk(220, lambda step: torch.tensor([broken.get(step + 1, 1.0)] * 3))
    found = path.read()
    # 20 gradients make 19 pairs; none with a broken one: a pair is made with the newest sound one, and 0/0 is none.
    assert path.chunks[0][0] == 19 - 3
    assert found.mean == pytest.approx(15 / 16), "the pair after the vanished gradient doesn't agree"
    started = walk(110, lambda step: torch.full((3,), torch.inf if step < 11 else 1.0))
    assert started.read().mean == 1.0


def test_none_and_sparse_gradients():
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    unused = torch.nn.Parameter(torch.zeros(3))
    optimizer, path = torch.optim.SGD([*embedding.parameters(), unused], lr=0.1), GradientPath()
    for _ in range(110):
        embedding.zero_grad()
        embedding(torch.tensor([1, 3])).sum().backward()
        path.step(optimizer)
    assert path.read().norm == 2.0
    nothing = torch.optim.SGD([unused], lr=0.1)
    for _ in range(110):
        path.step(nothing, 1)
    assert path.read().norm == 2.0


def test_optimizers_are_told_apart_and_scales_divided_out():
    path = GradientPath()
    for place, gradient in enumerate((torch.tensor([1.0]), torch.tensor([2.0, 0.0]))):
        walk(110, lambda step, g=gradient: g, path, place=place)
    found = path.read()
    assert (path.chunks[0][0], found.mean, found.norm) == (18.0, 1.0, 1.5)
    weight, scaled = torch.nn.Parameter(torch.zeros(2)), GradientPath()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for step in range(110):
        scale = torch.tensor(2.0 ** (step // 20))
        weight.grad = torch.tensor([3.0, 4.0]) * scale
        scaled.step(optimizer, 0, lambda scale=scale: scale)
    assert (scaled.read().mean, scaled.read().norm) == (1.0, 5.0)


def test_at_most_4096_coordinates_and_one_gradient_are_kept():
    big = [torch.nn.Parameter(torch.zeros(70, 80)) for _ in range(3)]
    optimizer, path = torch.optim.SGD(big, lr=0.1), GradientPath()
    for parameter in big:
        parameter.grad = torch.ones(70, 80)
    for _ in range(33):
        path.step(optimizer)
    state = path.state_dict()
    assert [len(gradient) for gradient in state["gradients"]] == [MOST_WEIGHTS]
    assert path.state_dict(gradients=False)["gradients"] == [None]
    path.clear()
    assert path.read() is None


def test_saved_anywhere_and_loaded_goes_on_the_same(tmp_path):
    gen = torch.Generator().manual_seed(1)
    gradients = [torch.randn(50, generator=gen) + 0.2 for _ in range(400)]

    def go(path, first, last):
        for step in range(first, last):
            walk(1, gradients.__getitem__, path, first=step)
            if step % 23 == 22:
                path.read()
        return path

    expected = repr(go(GradientPath(), 0, 400).state_dict())
    for stop in (1, 11, 60, 231, 399):
        torch.save(go(GradientPath(), 0, stop).state_dict(), tmp_path / "x.pt")
        again = GradientPath.from_state(Saved("path", torch.load(tmp_path / "x.pt", weights_only=True)))
        assert repr(go(again, stop, 400).state_dict()) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("chunks", [[1.0, 2.0]]), ("chunks", [[0.0, 1.0, 1.0, 1.0]]), ("chunks", [[1.0] * 4] * 40),
        ("sums", [1.0]), ("sums", [float("nan")] * 4), ("fresh", -1), ("waited", [0, 0]), ("spacing", [0]),
        ("gradients", [torch.zeros(5000)]), ("gradients", [torch.zeros(2, 2)]), ("gradients", ["x"]),
    ],
)  # fmt: skip
def test_a_state_that_is_something_else_is_refused(key, value):
    state = walk(60, lambda step: torch.ones(2)).state_dict()
    with pytest.raises(ValueError, match="the saved"):
        GradientPath.from_state(Saved("path", {**state, key: value}))
