"""Small training tasks for the plateau benchmark: pure functions, so that many runs train as one batch (torch.vmap)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor

Params = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """A model, its loss and its data.

    Attributes:
        init: Fresh parameters from a generator.
        loss: Mean loss of one model on one batch.
        sample: One training batch from a generator.
        validation: The fixed validation batch.
    """

    init: Callable[[torch.Generator], Params]
    loss: Callable[[Params, Batch], Tensor]
    sample: Callable[[torch.Generator], Batch]
    validation: Batch


def dense(sizes: list[int], gain: float = 1.0) -> Callable[[torch.Generator], Params]:
    def init(gen: torch.Generator) -> Params:
        params = {}
        for i, (n, m) in enumerate(pairwise(sizes)):
            params[f"w{i}"] = torch.randn(n, m, generator=gen) * gain * math.sqrt(2 / n)
            params[f"b{i}"] = torch.zeros(m)
        return params

    return init


def mlp(params: Params, x: Tensor, act: Callable[[Tensor], Tensor] = torch.relu) -> Tensor:
    depth = len(params) // 2
    for i in range(depth):
        x = x @ params[f"w{i}"] + params[f"b{i}"]
        x = act(x) if i < depth - 1 else x
    return x


def mse(out: Tensor, target: Tensor) -> Tensor:
    return ((out - target) ** 2).mean()  # F.mse_loss fails under two nested vmaps


def one_hot(index: Tensor, size: int) -> Tensor:
    return (index[..., None] == torch.arange(size)).float()  # F.one_hot fails under vmap


def split(x: Tensor, y: Tensor, held_out: int) -> tuple[Batch, Batch]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    x, y = x[order], y[order]
    return (x[held_out:], y[held_out:]), (x[:held_out], y[:held_out])


def sampler(train: Batch, size: int, jitter: float) -> Callable[[torch.Generator], Batch]:
    def sample(gen: torch.Generator) -> Batch:
        index = torch.randint(len(train[0]), (size,), generator=gen)
        x = train[0][index]
        return x + jitter * torch.randn(x.shape, generator=gen), train[1][index]

    return sample


def standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.std(0) + 1e-6)


def digits() -> tuple[Tensor, Tensor]:
    bunch = datasets.load_digits()
    return torch.tensor(bunch.data, dtype=torch.float32) / 8 - 1, torch.tensor(bunch.target)


def digits_mlp() -> Task:
    """8x8 digits, one hidden layer, jittered inputs."""
    train, held = split(*digits(), 400)
    return Task(dense([64, 32, 10]), lambda p, b: F.cross_entropy(mlp(p, b[0]), b[1]), sampler(train, 24, 0.7), held)


def digits_cnn() -> Task:
    """8x8 digits, two convolutions."""
    x, y = digits()
    train, held = split(x.view(-1, 1, 8, 8), y, 300)

    def init(gen: torch.Generator) -> Params:
        return {
            "c0": torch.randn(6, 1, 3, 3, generator=gen) / 3 * 1.4,
            "c1": torch.randn(8, 6, 3, 3, generator=gen) / math.sqrt(54) * 1.4,
            "w": torch.randn(32, 10, generator=gen) / math.sqrt(32),
            "b": torch.zeros(10),
        }

    def loss(p: Params, batch: Batch) -> Tensor:
        h = F.relu(F.conv2d(batch[0], p["c0"], padding=1))
        h = F.relu(F.conv2d(F.avg_pool2d(h, 2), p["c1"], padding=1))
        return F.cross_entropy(F.avg_pool2d(h, 2).flatten(1) @ p["w"] + p["b"], batch[1])

    return Task(init, loss, sampler(train, 16, 0.5), held)


def autoencoder() -> Task:
    """Denoising autoencoder of the digits with a bottleneck of 8."""
    x, _ = digits()
    train, held = split(x, x, 300)

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0], torch.tanh), batch[1])

    return Task(dense([64, 32, 8, 32, 64], 0.7), loss, sampler(train, 16, 0.3), held)


def teacher() -> Task:
    """A student fits a random tanh network on fresh noisy data."""
    gen = torch.Generator().manual_seed(1)
    net = dense([10, 8, 1], 1.3)(gen)

    def sample(gen: torch.Generator, size: int = 16, noise: float = 0.3) -> Batch:
        x = torch.randn(size, 10, generator=gen)
        return x, mlp(net, x, torch.tanh) + noise * torch.randn(size, 1, generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0], torch.tanh), batch[1])

    return Task(dense([10, 16, 1]), loss, sample, sample(gen, 400, 0.05))


def quadratic() -> Task:
    """An ill-conditioned quadratic (curvatures 1 to 1/300) with noisy gradients."""
    curvature = torch.logspace(0, -2.5, 30)

    def sample(gen: torch.Generator) -> Batch:
        return torch.randn(30, generator=gen) * curvature.sqrt(), torch.randn(1, generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        return 0.5 * (curvature * p["x"] ** 2).sum() + 0.3 * (batch[0] * p["x"]).sum() + 0.01 + 0.0 * batch[1].sum()

    start = lambda gen: {"x": 2 + torch.randn(30, generator=gen)}  # noqa: E731
    return Task(start, loss, sample, (torch.zeros(30), torch.zeros(1)))


def parity() -> Task:
    """Parity of 3 among 12 signs: a flat start, then a drop."""

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        x = torch.randint(0, 2, (size, 12), generator=gen).float() * 2 - 1
        return x, x[:, :3].prod(1, keepdim=True)

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0]), batch[1]) + 1e-3

    return Task(dense([12, 48, 1], 0.7), loss, sample, sample(torch.Generator().manual_seed(3), 400))


def markov() -> Task:
    """Next token of a second-order Markov chain over 12 tokens, embedding and one hidden layer."""
    gen = torch.Generator().manual_seed(2)
    table = torch.softmax(2.0 * torch.randn(12, 12, 12, generator=gen), -1)

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        x = torch.randint(0, 12, (size, 2), generator=gen)
        return x, torch.multinomial(table[x[:, 0], x[:, 1]], 1, generator=gen)[:, 0]

    def init(gen: torch.Generator) -> Params:
        return {"e": torch.randn(12, 8, generator=gen), **dense([16, 32, 12])(gen)}

    def loss(p: Params, batch: Batch) -> Tensor:
        dense = {k: v for k, v in p.items() if k != "e"}
        h = one_hot(batch[0], 12) @ p["e"]
        return F.cross_entropy(mlp(dense, h.flatten(1)), batch[1])

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(4), 600))


def cancer() -> Task:
    """Breast-cancer diagnosis, logistic regression with jittered inputs."""
    bunch = datasets.load_breast_cancer()
    x, y = standard(torch.tensor(bunch.data, dtype=torch.float32)), torch.tensor(bunch.target, dtype=torch.float32)
    train, held = split(x, y, 200)

    def loss(p: Params, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(mlp(p, batch[0])[:, 0], batch[1])

    return Task(dense([30, 1], 0.3), loss, sampler(train, 8, 1.0), held)


def diabetes() -> Task:
    """Diabetes progression, a small regression network with jittered inputs."""
    bunch = datasets.load_diabetes()
    x = standard(torch.tensor(bunch.data, dtype=torch.float32))
    y = standard(torch.tensor(bunch.target, dtype=torch.float32)[:, None])
    train, held = split(x, y, 150)

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0]), batch[1])

    return Task(dense([10, 16, 1]), loss, sampler(train, 8, 0.6), held)


def spirals() -> Task:
    """Two noisy spirals, two hidden layers."""

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        r = torch.rand(size, generator=gen)
        label = torch.randint(0, 2, (size,), generator=gen)
        angle = 5 * r + math.pi * label
        x = torch.stack([r * angle.cos(), r * angle.sin()], 1) * 2
        return x + 0.08 * torch.randn(size, 2, generator=gen), label

    def loss(p: Params, batch: Batch) -> Tensor:
        return F.cross_entropy(mlp(p, batch[0]), batch[1])

    return Task(dense([2, 24, 24, 2]), loss, sample, sample(torch.Generator().manual_seed(6), 500))


def deep_linear() -> Task:
    """Five linear layers from a small start: a saddle, then drops."""
    gen = torch.Generator().manual_seed(7)
    target = torch.randn(8, 8, generator=gen) @ torch.diag(torch.tensor([2.0, 1.5, 1, 0.7, 0.4, 0.2, 0, 0])) / 2

    def sample(gen: torch.Generator, size: int = 16) -> Batch:
        x = torch.randn(size, 8, generator=gen)
        return x, x @ target + 0.3 * torch.randn(size, 8, generator=gen)

    def init(gen: torch.Generator) -> Params:
        return {f"w{i}": torch.randn(8, 8, generator=gen) * 0.18 for i in range(4)}

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(batch[0] @ p["w0"] @ p["w1"] @ p["w2"] @ p["w3"], batch[1])

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(8), 300))


def recurrent() -> Task:
    """A tanh RNN sums the marked numbers of a sequence of 8."""

    def sample(gen: torch.Generator, size: int = 24) -> Batch:
        x = torch.stack([torch.rand(size, 8, generator=gen), (torch.rand(size, 8, generator=gen) < 0.3).float()], -1)
        return x, (x[..., 0] * x[..., 1]).sum(1, keepdim=True)

    def init(gen: torch.Generator) -> Params:
        return {
            "h": torch.eye(12) * 0.9 + 0.05 * torch.randn(12, 12, generator=gen),
            "x": torch.randn(2, 12, generator=gen) * 0.5,
            "c": torch.zeros(12),
            "o": torch.randn(12, 1, generator=gen) * 0.3,
            "b": torch.zeros(1),
        }

    def loss(p: Params, batch: Batch) -> Tensor:
        x = batch[0]
        h = torch.tanh(x[:, 0] @ p["x"] + p["c"])
        for t in range(1, 8):
            h = torch.tanh(x[:, t] @ p["x"] + h @ p["h"] + p["c"])
        return mse(h @ p["o"] + p["b"], batch[1]) + 1e-3

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(9), 300))


def factors() -> Task:
    """Ratings of 40 users on 30 items, factorised with rank 4, noisy."""
    gen = torch.Generator().manual_seed(10)
    ratings = torch.randn(40, 3, generator=gen) @ torch.randn(3, 30, generator=gen) / math.sqrt(3)

    def sample(gen: torch.Generator, size: int = 48, noise: float = 0.5) -> Batch:
        u, i = torch.randint(0, 40, (size,), generator=gen), torch.randint(0, 30, (size,), generator=gen)
        return torch.stack([u, i], 1), ratings[u, i] + noise * torch.randn(size, generator=gen)

    def init(gen: torch.Generator) -> Params:
        return {"u": 0.3 * torch.randn(40, 4, generator=gen), "i": 0.3 * torch.randn(30, 4, generator=gen)}

    def loss(p: Params, batch: Batch) -> Tensor:
        users = one_hot(batch[0][:, 0], 40) @ p["u"]
        items = one_hot(batch[0][:, 1], 30) @ p["i"]
        return mse((users * items).sum(1), batch[1])

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(11), 600, 0.1))


# The rule was chosen on these; plateau_fresh holds those that it was reported on.
CHOOSE = {
    f.__name__: f
    for f in (
        *(digits_mlp, teacher, quadratic, parity, markov, autoencoder),
        *(digits_cnn, cancer, diabetes, spirals, deep_linear, recurrent, factors),
    )
}
