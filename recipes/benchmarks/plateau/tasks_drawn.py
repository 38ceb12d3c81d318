"""Tasks on drawn data; ``tasks.py`` tells which half they are in."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor

from recipes.benchmarks.plateau.blocks import Batch, Params, Task, dense, fitted, mlp, mse, one_hot, standard


def teacher() -> Task:
    """A student fits a random tanh network on fresh noisy data."""
    gen = torch.Generator().manual_seed(1)
    net = dense([10, 8, 1], 1.3)(gen)

    def sample(gen: torch.Generator, size: int = 16, noise: float = 0.3) -> Batch:
        x = torch.randn(size, 10, generator=gen)
        return x, mlp(net, x, torch.tanh) + noise * torch.randn(size, 1, generator=gen)

    return Task(dense([10, 16, 1]), fitted(mse, torch.tanh), sample, sample(gen, 400, 0.05))


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


def spirals() -> Task:
    """Two noisy spirals, two hidden layers."""

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        r = torch.rand(size, generator=gen)
        label = torch.randint(0, 2, (size,), generator=gen)
        angle = 5 * r + math.pi * label
        x = torch.stack([r * angle.cos(), r * angle.sin()], 1) * 2
        return x + 0.08 * torch.randn(size, 2, generator=gen), label

    return Task(dense([2, 24, 24, 2]), fitted(F.cross_entropy), sample, sample(torch.Generator().manual_seed(6), 500))


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


def poisson() -> Task:
    """Counts whose log-rate is a small network of 8 numbers: Poisson deviance on fresh data."""
    gen = torch.Generator().manual_seed(25)
    net = dense([8, 6, 1], 1.0)(gen)

    def sample(gen: torch.Generator, size: int = 16) -> Batch:
        x = torch.randn(size, 8, generator=gen)
        return x, torch.poisson(mlp(net, x, torch.tanh)[:, 0].exp(), generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        log_rate = mlp(p, batch[0], torch.tanh)[:, 0].clamp(-8, 5)
        best = batch[1] * batch[1].clamp(min=1e-9).log() - batch[1]
        return 2.0 * (best - batch[1] * log_rate + log_rate.exp()).mean()

    return Task(dense([8, 16, 1], 0.7), loss, sample, sample(gen, 600))


def bandit() -> Task:
    """Policy gradient (REINFORCE) in a contextual bandit: only the reward of the chosen arm is seen, with noise."""
    gen = torch.Generator().manual_seed(26)
    net = dense([6, 12, 5], 1.2)(gen)

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        x = torch.randn(size, 6, generator=gen)
        return x, torch.rand(size, 1, generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        policy = torch.softmax(mlp(p, batch[0], torch.tanh), -1)
        chosen = (batch[1] > policy.cumsum(-1)[:, :-1]).float().sum(-1)
        arm = (chosen[:, None] == torch.arange(5)).float()
        value = mlp(net, batch[0], torch.tanh)
        regret = value.amax(-1) - (arm * value).sum(-1)
        log_p = ((arm * policy).sum(-1) + 1e-6).log()
        surrogate = ((regret - 0.5) * log_p).mean()
        return surrogate - surrogate.detach() + regret.mean() + 0.02  # the regret's value, REINFORCE's gradient

    return Task(dense([6, 24, 5], 0.5), loss, sample, sample(torch.Generator().manual_seed(27), 1500))


def single_index() -> Task:
    """The third Hermite polynomial of one hidden direction among 12: a long flat start, then a drop."""
    direction = torch.zeros(12)
    direction[:3] = 3**-0.5

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        x = torch.randn(size, 12, generator=gen)
        z = (x @ direction).clamp(-2.5, 2.5)
        return x, (z**3 - 3 * z)[:, None] / 2.5 + 0.1 * torch.randn(size, 1, generator=gen)

    return Task(
        dense([12, 32, 1], 0.5), fitted(mse, torch.tanh), sample, sample(torch.Generator().manual_seed(28), 400)
    )


def mixture_density() -> Task:
    """An arm's angle from its reach, which has up to three answers: a mixture of three Gaussians, likelihood."""

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        t = torch.rand(size, 1, generator=gen)
        reach = t + 0.3 * torch.sin(2 * math.pi * t) + 0.03 * torch.randn(size, 1, generator=gen)
        return 4 * reach - 2, 8 * t - 4 + 0.5 * torch.randn(size, 1, generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        share, mean, log_width = mlp(p, batch[0], torch.tanh).unflatten(-1, (3, 3)).unbind(-2)
        log_width = log_width.clamp(-2, 3)
        each = -0.5 * ((batch[1] - mean) / log_width.exp()) ** 2 - log_width - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(torch.log_softmax(share, -1) + each, -1).mean()

    return Task(dense([1, 24, 9]), loss, sample, sample(torch.Generator().manual_seed(41), 600))


def staircase() -> Task:
    """Products of 1, 3 and 5 of 12 signs, each the key to the next: several plateaus with drops between."""

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        x = torch.randint(0, 2, (size, 12), generator=gen).float() * 2 - 1
        y = 0.6 * x[:, :5].cumprod(1)[:, ::2].sum(1, keepdim=True)
        return x, y + 0.2 * torch.randn(size, 1, generator=gen)

    return Task(dense([12, 48, 1], 0.5), fitted(mse), sample, sample(torch.Generator().manual_seed(44), 500))


def matrix_sensing() -> Task:
    """Quadratic forms of rank 3 from a start near the saddle at zero: one direction is found after the other."""
    ways = torch.linalg.qr(torch.randn(14, 3, generator=torch.Generator().manual_seed(45)))[0]
    ways = ways * torch.tensor([1.0, 0.3, 0.1]).sqrt()

    def sample(gen: torch.Generator, size: int = 24) -> Batch:
        x = torch.randn(size, 14, generator=gen).clamp(-2, 2)
        return x, ((x @ ways) ** 2).sum(-1) + 0.1 * torch.randn(size, generator=gen)

    def init(gen: torch.Generator) -> Params:
        return {"w": 1e-3 * torch.randn(14, 6, generator=gen)}

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(((batch[0] @ p["w"]) ** 2).sum(-1), batch[1])

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(46), 500))


def power_spectrum() -> Task:
    """Least squares on fresh inputs whose variances fall as a power of their index: a descent that never ends."""
    gen = torch.Generator().manual_seed(47)
    scale = 1.0 / torch.arange(1, 151)
    turn = torch.linalg.qr(torch.randn(150, 150, generator=gen))[0]
    weights = torch.randn(150, generator=gen).sign()

    def sample(gen: torch.Generator, size: int = 12) -> Batch:
        x = torch.randn(size, 150, generator=gen) * scale
        return x @ turn, x @ weights + 0.1 * torch.randn(size, generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(batch[0] @ p["w"], batch[1])

    start = lambda gen: {"w": torch.zeros(150)}  # noqa: E731
    return Task(start, loss, sample, sample(torch.Generator().manual_seed(48), 600))


def diffusion() -> Task:
    """The noise in a noisy point of a spiral from the point and the noise's share (denoising diffusion)."""
    roll = datasets.make_swiss_roll(4000, noise=0.3, random_state=50)[0][:, [0, 2]]
    points = standard(torch.tensor(roll, dtype=torch.float32))

    def sample(gen: torch.Generator, low: int = 1000, high: int = 4000, size: int = 48) -> Batch:
        clean = points[torch.randint(low, high, (size,), generator=gen)]
        angle = torch.rand(size, 1, generator=gen) * math.pi / 2
        noise = torch.randn(size, 2, generator=gen)
        noisy = angle.cos() * clean + angle.sin() * noise
        return torch.cat([noisy, angle.cos(), (2 * angle).sin(), (4 * angle).sin()], 1), noise

    return Task(
        dense([5, 48, 48, 2]), fitted(mse, F.silu), sample, sample(torch.Generator().manual_seed(51), 0, 1000, 800)
    )


def quantile() -> Task:
    """Three quantiles of a target whose noise is heavy-tailed and grows with an input: a loss with kinks."""
    levels = torch.tensor([0.1, 0.5, 0.9])

    def sample(gen: torch.Generator, size: int = 16) -> Batch:
        x = torch.randn(size, 5, generator=gen)
        tails = torch.randn(size, generator=gen) / torch.rand(size, generator=gen).clamp(min=0.02) ** 0.5
        y = 2 * torch.sin(1.5 * x[:, 0]) + x[:, 1] * x[:, 2] + (0.1 + 0.2 * x[:, 3].abs()) * tails
        return x, y[:, None]

    def loss(p: Params, batch: Batch) -> Tensor:
        miss = batch[1] - mlp(p, batch[0], torch.tanh)
        return torch.maximum(levels * miss, (levels - 1) * miss).mean()

    return Task(dense([5, 32, 3]), loss, sample, sample(torch.Generator().manual_seed(52), 800))
