"""Tasks on sequences, text and sets; ``tasks.py`` tells which half they are in."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache
from pydoc_data import topics

import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.benchmarks.plateau.blocks import Batch, Params, Task, dense, mlp, mse, one_hot, sampler, split, standard


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


@cache
def _words(size: int) -> tuple[Tensor, Tensor]:
    """The most frequent words of Python's help pages in their order, as numbers, and their shares."""
    text = " ".join(topics.topics[key] for key in sorted(topics.topics)).lower()
    words = re.findall(r"[a-z]{3,}", text)
    number = {word: i for i, (word, _) in enumerate(Counter(words).most_common(size))}
    kept = torch.tensor([number[word] for word in words if word in number])
    return kept, torch.bincount(kept, minlength=size) / len(kept)


@cache
def _mackey_glass() -> Tensor:
    """The chaotic series of the delay equation x' = 0.2 x(t-17) / (1 + x(t-17)^10) - 0.1 x, every third step."""
    x = [1.2] * 18
    for _ in range(9000):
        x.append(0.9 * x[-1] + 0.2 * x[-18] / (1 + x[-18] ** 10))
    return standard(torch.tensor(x[600::3])[:, None])[:, 0]


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
