"""Data of the suggestion benchmark: bundled with scikit-learn or Python, or generated. Nothing is downloaded."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Data:
    """Training and held-out samples."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def split(x: Tensor, y: Tensor, held_out: float = 0.25, most: int = 512) -> Data:
    """A fixed random split; at most ``most`` samples are held out."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    n = min(most, int(len(x) * held_out))
    return Data(x[order[n:]], y[order[n:]], x[order[:n]], y[order[:n]])


def _table(bunch: object, scaled: bool) -> tuple[Tensor, Tensor]:
    x = torch.tensor(bunch.data, dtype=torch.float32)  # type: ignore[attr-defined]
    if scaled:
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    return x, torch.tensor(bunch.target)  # type: ignore[attr-defined]


@functools.cache
def digits(noisy: float = 0.0) -> Data:
    """8x8 handwritten digits in [0, 1], shape (n, 1, 8, 8); ``noisy`` is the share of random training labels."""
    from sklearn.datasets import load_digits

    x, y = _table(load_digits(), scaled=False)
    data = split((x / 16).view(-1, 1, 8, 8), y)
    if noisy:
        draw = torch.Generator().manual_seed(1)
        wrong = torch.rand(len(data.y), generator=draw) < noisy
        data.y[wrong] = torch.randint(10, (int(wrong.sum()),), generator=draw)
    return data


@functools.cache
def table(name: str, scaled: bool) -> Data:
    """Wine, breast cancer, iris or diabetes; unscaled features range over four decades."""
    from sklearn import datasets

    loaders = {
        "wine": datasets.load_wine,
        "cancer": datasets.load_breast_cancer,
        "iris": datasets.load_iris,
        "diabetes": functools.partial(datasets.load_diabetes, scaled=False),
    }
    x, y = _table(loaders[name](), scaled)
    return split(x, y.float().unsqueeze(1) if name == "diabetes" else y)


@functools.cache
def mnist1d(n: int = 2400) -> Data:
    """MNIST-1D (Greydanus 2020), generated, shape (n, 1, 40)."""
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    args.num_samples = n
    made = make_dataset(args)
    x = np.concatenate([made["x"], made["x_test"]])
    y = np.concatenate([made["y"], made["y_test"]])
    return split(torch.tensor(x, dtype=torch.float32).unsqueeze(1), torch.tensor(y))


@functools.cache
def patches(noise: float = 0.1) -> Data:
    """Noisy 12x12 grey patches of scikit-learn's two photographs and the clean ones, shape (n, 1, 12, 12)."""
    from sklearn.datasets import load_sample_images

    draw = torch.Generator().manual_seed(0)
    found = []
    for image in load_sample_images().images:
        grey = torch.tensor(image, dtype=torch.float32).mean(2) / 255
        tops = torch.randint(grey.shape[0] - 12, (800,), generator=draw).tolist()
        lefts = torch.randint(grey.shape[1] - 12, (800,), generator=draw).tolist()
        found += [grey[t : t + 12, c : c + 12] for t, c in zip(tops, lefts, strict=True)]
    clean = torch.stack(found).unsqueeze(1) - 0.5
    return split(clean + noise * torch.randn(clean.shape, generator=draw), clean)


@functools.cache
def text(length: int = 24) -> tuple[Data, int]:
    """Characters of Python's own help topics: windows of ``length`` and the same shifted by one; vocabulary size."""
    from pydoc_data.topics import topics

    body = "".join(topics[key] for key in sorted(topics))[:60000].lower()
    letters = sorted(set(body))
    codes = torch.tensor([letters.index(c) for c in body])
    starts = torch.randint(len(codes) - length - 1, (3000,), generator=torch.Generator().manual_seed(0))
    rows = torch.stack([codes[s : s + length + 1] for s in starts.tolist()])
    return split(rows[:, :-1], rows[:, 1:], most=256), len(letters)


@functools.cache
def spirals(arms: int = 3, n: int = 1500) -> Data:
    """Points on noisy spiral arms, shape (n, 2)."""
    draw = torch.Generator().manual_seed(0)
    arm = torch.randint(arms, (n,), generator=draw)
    radius = torch.rand(n, generator=draw) ** 0.5
    angle = 4 * radius + 2 * math.pi * arm / arms + 0.1 * torch.randn(n, generator=draw)
    return split(torch.stack([radius * angle.cos(), radius * angle.sin()], 1), arm)


@functools.cache
def linear(decades: float, width: int = 20, n: int = 1000) -> Data:
    """Least squares with feature scales spread over ``decades``, little noise."""
    draw = torch.Generator().manual_seed(0)
    scale = 10 ** (-decades * torch.arange(width) / (width - 1))
    x = torch.randn(n, width, generator=draw) * scale
    y = x @ (torch.randn(width, 1, generator=draw) / scale.sqrt().unsqueeze(1)) + 0.05 * torch.randn(
        n, 1, generator=draw
    )
    return split(x, y)


@functools.cache
def wave(n: int = 1500) -> Data:
    """One-dimensional regression on a chirp whose noise depends on x."""
    draw = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(n, 1, generator=draw) - 1
    y = torch.sin(6 * x * x.abs() + 2 * x) + (0.02 + 0.1 * x.abs()) * torch.randn(n, 1, generator=draw)
    return split(x, y)


@functools.cache
def ratings(users: int = 60, items: int = 40, n: int = 4000) -> Data:
    """User-item pairs and low-rank ratings between about 1 and 5."""
    draw = torch.Generator().manual_seed(0)
    u, v = torch.randn(users, 3, generator=draw), torch.randn(items, 3, generator=draw)
    pairs = torch.stack([torch.randint(users, (n,), generator=draw), torch.randint(items, (n,), generator=draw)], 1)
    y = 3 + 0.6 * (u[pairs[:, 0]] * v[pairs[:, 1]]).sum(1, keepdim=True) + 0.2 * torch.randn(n, 1, generator=draw)
    return split(pairs, y)


@functools.cache
def sorting(length: int = 6, symbols: int = 8, n: int = 3000) -> Data:
    """Sequences of symbols and the same sorted."""
    x = torch.randint(symbols, (n, length), generator=torch.Generator().manual_seed(0))
    return split(x, x.sort(1).values, most=256)


@functools.cache
def latent(width: int, n: int = 1500) -> Data:
    """Regression of a smooth function of ``width`` inputs with small noise."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(n, width, generator=draw)
    mix = torch.randn(width, 4, generator=draw) / width**0.5
    y = 0.3 * torch.tanh(x @ mix).sum(1, keepdim=True) + 0.02 * torch.randn(n, 1, generator=draw)
    return split(x, y)
