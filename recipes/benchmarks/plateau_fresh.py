"""The report half of the plateau benchmark: tasks of other kinds than those the rule was chosen on.

Written before the rule was changed, and run once, at the end.
"""

from __future__ import annotations

import math
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


def signals_1d() -> Task:
    """mnist1d: ten shapes in a noisy series of 40 points, two strided convolutions."""
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    args.num_samples = 2000
    data = make_dataset(args)
    x, y = torch.tensor(data["x"], dtype=torch.float32)[:, None], torch.tensor(data["y"]).long()
    train, held = split(x, y, 400)

    def init(gen: torch.Generator) -> Params:
        return {
            "c0": torch.randn(8, 1, 5, generator=gen) * math.sqrt(2 / 5),
            "c1": torch.randn(12, 8, 5, generator=gen) * math.sqrt(2 / 40),
            "w": torch.randn(120, 10, generator=gen) / math.sqrt(120),
            "b": torch.zeros(10),
        }

    def loss(p: Params, batch: Batch) -> Tensor:
        h = F.relu(F.conv1d(batch[0], p["c0"], stride=2, padding=2))
        h = F.relu(F.conv1d(h, p["c1"], stride=2, padding=2))
        return F.cross_entropy(h.flatten(1) @ p["w"] + p["b"], batch[1])

    return Task(init, loss, sampler(train, 24, 0.1), held)


@cache
def _text() -> Tensor:
    """Characters of Python's own help pages, as numbers below 28."""
    text = " ".join(topics.topics[key] for key in sorted(topics.topics))[:120_000].lower()
    codes = [ord(c) - 96 if "a" <= c <= "z" else 27 if c in ".,:;()" else 0 for c in text]
    kept = [c for i, c in enumerate(codes) if c or (i and codes[i - 1])]
    return torch.tensor(kept)


def _windows(length: int, size: int) -> tuple[object, Batch]:
    text = _text()
    cut = len(text) - 8000

    def sample(gen: torch.Generator, low: int = 0, high: int = cut - 20, size: int = size) -> Batch:
        start = torch.randint(low, high, (size,), generator=gen)
        window = text[start[:, None] + torch.arange(length + 1)]
        return window[:, :-1], window[:, -1]

    return sample, sample(torch.Generator().manual_seed(21), cut, len(text) - 20, 400)


def help_text() -> Task:
    """Next character of Python's help pages from the 5 before it, embedding and one hidden layer."""
    sample, held = _windows(5, 24)

    def init(gen: torch.Generator) -> Params:
        return {"e": torch.randn(28, 6, generator=gen) * 0.5, **dense([30, 40, 28], 0.7)(gen)}

    def loss(p: Params, batch: Batch) -> Tensor:
        rest = {k: v for k, v in p.items() if k != "e"}
        return F.cross_entropy(mlp(rest, (one_hot(batch[0], 28) @ p["e"]).flatten(1)), batch[1])

    return Task(init, loss, sample, held)


def attention() -> Task:
    """One attention layer recalls the value that a key had in a list of 6 pairs; 15 % of answers are random."""

    def sample(gen: torch.Generator, size: int = 24) -> Batch:
        keys = torch.rand(size, 6, generator=gen).argsort(1)
        values = torch.randint(0, 6, (size, 6), generator=gen)
        place = torch.randint(0, 6, (size,), generator=gen)
        rows = torch.arange(size)
        guess = torch.randint(0, 6, (size,), generator=gen)
        answer = torch.where(torch.rand(size, generator=gen) < 0.15, guess, values[rows, place])
        return torch.cat([keys, values, keys[rows, place][:, None]], 1), answer

    def init(gen: torch.Generator) -> Params:
        shapes = {"ek": (6, 8), "ev": (6, 8), "q": (8, 8), "k": (8, 8), "v": (16, 12), "o": (12, 6)}
        return {name: torch.randn(*s, generator=gen) / math.sqrt(s[0]) for name, s in shapes.items()}

    def loss(p: Params, batch: Batch) -> Tensor:
        x = batch[0]
        keys, query = one_hot(x[:, :6], 6) @ p["ek"], one_hot(x[:, 12], 6) @ p["ek"]
        values = torch.cat([keys, one_hot(x[:, 6:12], 6) @ p["ev"]], -1)
        score = ((keys @ p["k"]) * (query @ p["q"])[:, None]).sum(-1)
        read = (torch.softmax(score, -1)[..., None] * (values @ p["v"])).sum(1)
        return F.cross_entropy(read @ p["o"], batch[1])

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(22), 400))


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

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(mlp(p, batch[0], torch.tanh), batch[1])

    return Task(dense([12, 32, 1], 0.5), loss, sample, sample(torch.Generator().manual_seed(28), 400))


def noisy_labels() -> Task:
    """150 digits with a quarter of the labels wrong and a wide network: it overfits, validation rises."""
    x, y = digits()
    train, held = split(x, y, 400)
    gen = torch.Generator().manual_seed(29)
    labels = train[1][:150].clone()
    wrong = torch.rand(150, generator=gen) < 0.25
    labels[wrong] = torch.randint(0, 10, (int(wrong.sum()),), generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        return F.cross_entropy(mlp(p, batch[0]), batch[1])

    return Task(dense([64, 48, 10]), loss, sampler((train[0][:150], labels), 24, 0.3), held)


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


# Looked at once, for the report.
REPORT = {
    f.__name__: f
    for f in (
        *(signals_1d, help_text, attention, vae, contrastive, poisson),
        *(bandit, single_index, noisy_labels, ordinal, norm_dropout),
    )
}
