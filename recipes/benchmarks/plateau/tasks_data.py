"""Tasks on data sets; ``tasks.py`` tells which half they are in."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor

from recipes.benchmarks.plateau.blocks import (
    Batch,
    Params,
    Task,
    dense,
    digits,
    fitted,
    mlp,
    mse,
    one_hot,
    sampler,
    split,
    standard,
)


def _norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-3).sqrt()


def digits_mlp() -> Task:
    """8x8 digits, one hidden layer, jittered inputs."""
    train, held = split(*digits(), 400)
    return Task(dense([64, 32, 10]), fitted(F.cross_entropy), sampler(train, 24, 0.7), held)


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

    return Task(dense([64, 32, 8, 32, 64], 0.7), fitted(mse, torch.tanh), sampler(train, 16, 0.3), held)


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

    return Task(dense([10, 16, 1]), fitted(mse), sampler(train, 8, 0.6), held)


def vae() -> Task:
    """Variational autoencoder of the digits, 4 latent numbers; the loss is the negative bound a pixel."""
    train, held = split(digits()[0], digits()[0], 300)
    plain = sampler(train, 16, 0.0)

    def sample(gen: torch.Generator) -> Batch:
        x, _ = plain(gen)
        return x, torch.randn(len(x), 4, generator=gen)

    def init(gen: torch.Generator) -> Params:
        inner, outer = dense([64, 32, 8], 0.7)(gen), dense([4, 32, 64], 0.7)(gen)
        return {**{"e" + k: v for k, v in inner.items()}, **{"d" + k: v for k, v in outer.items()}}

    def loss(p: Params, batch: Batch) -> Tensor:
        code = mlp({k[1:]: v for k, v in p.items() if k[0] == "e"}, batch[0], torch.tanh)
        mean, log_var = code[:, :4], code[:, 4:].clamp(-8, 4)
        z = mean + (0.5 * log_var).exp() * batch[1]
        out = mlp({k[1:]: v for k, v in p.items() if k[0] == "d"}, z, torch.tanh)
        kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1).mean()
        return 2.0 * mse(out, batch[0]) + kl / 64

    return Task(init, loss, sample, (held[0], torch.randn(300, 4, generator=torch.Generator().manual_seed(23))))


def contrastive() -> Task:
    """Two noisy views of a digit must find each other among 24 (InfoNCE)."""
    train, held = split(*digits(), 288)
    plain = sampler(train, 24, 0.0)

    def views(x: Tensor, gen: torch.Generator) -> Batch:
        return tuple(x * (torch.rand(x.shape, generator=gen) > 0.5) for _ in range(2))  # type: ignore[return-value]

    def sample(gen: torch.Generator) -> Batch:
        return views(plain(gen)[0], gen)

    def embed(p: Params, x: Tensor) -> Tensor:
        h = mlp(p, x)
        return h / (h.pow(2).sum(-1, keepdim=True) + 1e-4).sqrt()

    def loss(p: Params, batch: Batch) -> Tensor:
        a, b = (embed(p, x).unflatten(0, (-1, 24)) for x in batch)
        return -torch.log_softmax(5.0 * a @ b.transpose(-1, -2), -1).diagonal(dim1=-2, dim2=-1).mean()

    return Task(dense([64, 32, 12]), loss, sample, views(held[0], torch.Generator().manual_seed(24)))


def noisy_labels() -> Task:
    """150 digits with a quarter of the labels wrong and a wide network: it overfits, validation rises."""
    x, y = digits()
    train, held = split(x, y, 400)
    gen = torch.Generator().manual_seed(29)
    labels = train[1][:150].clone()
    wrong = torch.rand(150, generator=gen) < 0.25
    labels[wrong] = torch.randint(0, 10, (int(wrong.sum()),), generator=gen)

    return Task(dense([64, 48, 10]), fitted(F.cross_entropy), sampler((train[0][:150], labels), 24, 0.3), held)


def ordinal() -> Task:
    """Fifths of diabetes progression, in order: cumulative logits over a small network."""
    bunch = datasets.load_diabetes()
    x = standard(torch.tensor(bunch.data, dtype=torch.float32))
    target = torch.tensor(bunch.target, dtype=torch.float32)
    edges = torch.quantile(target, torch.tensor([0.2, 0.4, 0.6, 0.8]))
    train, held = split(x, (target[:, None] > edges).float(), 150)

    def init(gen: torch.Generator) -> Params:
        return {**dense([10, 12, 1])(gen), "cuts": torch.tensor([1.0, 0.3, -0.3, -1.0])}

    def loss(p: Params, batch: Batch) -> Tensor:
        score = mlp({k: v for k, v in p.items() if k != "cuts"}, batch[0])
        return F.binary_cross_entropy_with_logits(score + p["cuts"], batch[1])

    return Task(init, loss, sampler(train, 12, 0.3), held)


def norm_dropout() -> Task:
    """Wine: three cultivars, layer norm, and dropout whose masks come with the batch."""
    bunch = datasets.load_wine()
    x = standard(torch.tensor(bunch.data, dtype=torch.float32))
    train, held = split(x, torch.tensor(bunch.target), 70)
    plain = sampler(train, 12, 0.8)

    def sample(gen: torch.Generator) -> Batch:
        x, y = plain(gen)
        mask = (torch.rand(len(x), 24, generator=gen) < 0.7).float() / 0.7
        return torch.cat([x, mask], 1), y

    def loss(p: Params, batch: Batch) -> Tensor:
        x, mask = batch[0][:, :13], batch[0][:, 13:]
        h = x @ p["w0"] + p["b0"]
        h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True) + 1e-3).sqrt() * p["g"]
        h = torch.relu(h) * mask
        return F.cross_entropy(h @ p["w1"] + p["b1"], batch[1])

    def init(gen: torch.Generator) -> Params:
        return {**dense([13, 24, 3], 0.7)(gen), "g": torch.ones(24)}

    return Task(init, loss, sample, (torch.cat([held[0], torch.ones(len(held[0]), 24)], 1), held[1]))


def photo() -> Task:
    """Grey levels of a photograph from their coordinates, sines of fixed frequencies before two hidden layers."""
    picture = torch.tensor(datasets.load_sample_image("china.jpg"), dtype=torch.float32).mean(-1)
    small = F.avg_pool2d(picture[None, None, :420, :], 6)[0, 0]
    grid = torch.cartesian_prod(torch.linspace(0, 1, small.shape[0]), torch.linspace(0, 1.5, small.shape[1]))
    train, held = split(grid, standard(small.flatten())[:, None], 600)
    frequencies = 10 * torch.randn(2, 24, generator=torch.Generator().manual_seed(40))

    def loss(p: Params, batch: Batch) -> Tensor:
        angle = batch[0] @ frequencies
        return mse(mlp(p, torch.cat([angle.sin(), angle.cos()], -1)), batch[1])

    return Task(dense([48, 48, 32, 1]), loss, sampler(train, 32, 0.0), held)


def mixer() -> Task:
    """Digits as 8 rows, two residual blocks that mix rows and then channels, layer norm before each."""
    x, y = digits()
    train, held = split(x.view(-1, 8, 8), y, 200)

    def init(gen: torch.Generator) -> Params:
        shapes: dict[str, tuple[int, ...]] = {"in": (8, 8), "out": (8, 10)}
        for i in range(2):
            shapes |= {f"t{i}": (8, 12), f"s{i}": (12, 8), f"c{i}": (8, 16), f"d{i}": (16, 8)}
        return {name: torch.randn(*s, generator=gen) / math.sqrt(s[0]) for name, s in shapes.items()}

    def loss(p: Params, batch: Batch) -> Tensor:
        h = batch[0] @ p["in"]
        for i in range(2):
            turned = _norm(h).transpose(-1, -2)
            h = h + (torch.relu(turned @ p[f"t{i}"]) @ p[f"s{i}"]).transpose(-1, -2)
            h = h + torch.relu(_norm(h) @ p[f"c{i}"]) @ p[f"d{i}"]
        return F.cross_entropy(_norm(h).mean(-2) @ p["out"], batch[1])

    return Task(init, loss, sampler(train, 12, 0.8), held)


def friedman() -> Task:
    """Friedman's regression, 150 noisy points and a wide network: it learns, then it learns the noise."""
    x, y = datasets.make_friedman1(n_samples=500, n_features=10, noise=1.0, random_state=49)
    inputs = standard(torch.tensor(x, dtype=torch.float32))
    train, held = split(inputs, standard(torch.tensor(y, dtype=torch.float32))[:, None], 350)

    return Task(dense([10, 64, 1], 0.7), fitted(mse), sampler(train, 10, 0.0), held)


def graph() -> Task:
    """Species of iris flowers over a graph of near neighbours, 40 of 150 told: the whole batch, no noise at all."""
    bunch = datasets.load_iris()
    gen = torch.Generator().manual_seed(53)
    flowers = standard(torch.tensor(bunch.data, dtype=torch.float32))
    features = flowers[:, :2] + 0.5 * torch.randn(150, 2, generator=gen)
    seen = flowers + 0.8 * torch.randn(flowers.shape, generator=gen)
    near = torch.cdist(seen, seen).argsort(1)[:, :6]
    links = torch.zeros(150, 150).scatter_(1, near, 1.0)
    links = links / links.sum(1, keepdim=True)
    told = (torch.randperm(150, generator=gen) < 40).float()
    labels = torch.tensor(bunch.target)

    def loss(p: Params, batch: Batch) -> Tensor:
        h = torch.relu(links @ features @ p["w0"] + p["b0"])
        out = torch.log_softmax(links @ h @ p["w1"] + p["b1"], -1)
        size = sum((w**2).sum() for w in p.values())
        return 0.002 * size - ((out * one_hot(batch[1], 3)).sum(-1) * batch[0]).sum() / batch[0].sum()

    return Task(dense([2, 16, 3], 0.7), loss, lambda gen: (told, labels), (1 - told, labels))
