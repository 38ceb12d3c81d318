"""A third set of tasks for the plateau benchmark, of other kinds than both earlier ones, to judge a finished rule once.

Written apart from the rules: the tasks saw constant and cosine training alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pydoc_data import topics

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor

from recipes.benchmarks.plateau_tasks import (
    Batch,
    Params,
    Task,
    dense,
    digits,
    mlp,
    mse,
    one_hot,
    sampler,
    split,
    standard,
)


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


@cache
def _words(size: int) -> tuple[Tensor, Tensor]:
    """The most frequent words of Python's help pages in their order, as numbers, and their shares."""
    text = " ".join(topics.topics[key] for key in sorted(topics.topics)).lower()
    words = re.findall(r"[a-z]{3,}", text)
    number = {word: i for i, (word, _) in enumerate(Counter(words).most_common(size))}
    kept = torch.tensor([number[word] for word in words if word in number])
    return kept, torch.bincount(kept, minlength=size) / len(kept)


def skip_gram() -> Task:
    """Embeddings of 120 words: a neighbour in the text against four words drawn by frequency."""
    text, share = _words(120)
    cut = len(text) - 4000

    def sample(gen: torch.Generator, low: int = 3, high: int = cut, size: int = 48) -> Batch:
        place = torch.randint(low, high - 3, (size,), generator=gen)
        away = torch.randint(1, 4, (size,), generator=gen) * (2 * torch.randint(0, 2, (size,), generator=gen) - 1)
        others = torch.multinomial((share**0.75).expand(size, -1), 4, generator=gen)
        return text[place], torch.cat([text[place + away][:, None], others], 1)

    def init(gen: torch.Generator) -> Params:
        return {"in": 0.3 * torch.randn(120, 10, generator=gen), "out": 0.3 * torch.randn(120, 10, generator=gen)}

    def loss(p: Params, batch: Batch) -> Tensor:
        centre, words = one_hot(batch[0], 120) @ p["in"], one_hot(batch[1], 120) @ p["out"]
        score = (words * centre[:, None]).sum(-1)
        return (F.softplus(-score[:, 0]) + F.softplus(score[:, 1:]).sum(-1)).mean()

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(42), cut, len(text), 500))


@cache
def _mackey_glass() -> Tensor:
    """The chaotic series of the delay equation x' = 0.2 x(t-17) / (1 + x(t-17)^10) - 0.1 x, every third step."""
    x = [1.2] * 18
    for _ in range(9000):
        x.append(0.9 * x[-1] + 0.2 * x[-18] / (1 + x[-18] ** 10))
    return standard(torch.tensor(x[600::3])[:, None])[:, 0]


def gated() -> Task:
    """A gated recurrent net (GRU) reads 8 noisy values of a chaotic series and tells the one after the next."""
    series = _mackey_glass()

    def sample(gen: torch.Generator, low: int = 0, high: int = 2300, size: int = 24) -> Batch:
        start = torch.randint(low, high, (size,), generator=gen)
        window = series[start[:, None] + torch.arange(10)] + 0.1 * torch.randn(size, 10, generator=gen)
        return window[:, :8], window[:, 9:]

    def init(gen: torch.Generator) -> Params:
        shapes = {"x": (1, 36), "zr": (12, 24), "n": (12, 12), "o": (12, 1)}
        weights = {k: torch.randn(*s, generator=gen) / math.sqrt(s[0] + 2) for k, s in shapes.items()}
        return {**weights, "b": torch.zeros(36), "c": torch.zeros(1)}

    def loss(p: Params, batch: Batch) -> Tensor:
        h = torch.zeros(len(batch[0]), 12)
        for t in range(8):
            x = batch[0][:, t : t + 1] @ p["x"] + p["b"]
            z, r = torch.sigmoid(x[:, :24] + h @ p["zr"]).split(12, -1)
            h = (1 - z) * h + z * torch.tanh(x[:, 24:] + (r * h) @ p["n"])
        return mse(h @ p["o"] + p["c"], batch[1])

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(43), 2310, len(series) - 10, 400))


def staircase() -> Task:
    """Products of 1, 3 and 5 of 12 signs, each the key to the next: several plateaus with drops between."""

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        x = torch.randint(0, 2, (size, 12), generator=gen).float() * 2 - 1
        y = 0.6 * x[:, :5].cumprod(1)[:, ::2].sum(1, keepdim=True)
        return x, y + 0.2 * torch.randn(size, 1, generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0]), batch[1])

    return Task(dense([12, 48, 1], 0.5), loss, sample, sample(torch.Generator().manual_seed(44), 500))


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


def _norm(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-3).sqrt()


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

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0]), batch[1])

    return Task(dense([10, 64, 1], 0.7), loss, sampler(train, 10, 0.0), held)


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

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0], F.silu), batch[1])

    return Task(dense([5, 48, 48, 2]), loss, sample, sample(torch.Generator().manual_seed(51), 0, 1000, 800))


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


# To be looked at once.
CHECK: dict[str, Callable[[], Task]] = {
    f.__name__: f
    for f in (
        *(photo, mixture_density, skip_gram, gated, staircase, matrix_sensing),
        *(power_spectrum, mixer, friedman, diffusion, quantile, graph),
    )
}
