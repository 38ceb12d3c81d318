"""Further models of the hands-off benchmark's further tasks."""

import itertools

import torch
from torch import Tensor, nn

from recipes.benchmarks.suggestion_tasks.models import mlp


class Bag(nn.Module):
    """Predicts each next symbol from the mean embedding of those so far."""

    def __init__(self, symbols: int, width: int, hidden: int, act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.body = nn.Sequential(nn.Linear(width, hidden), act(), nn.Linear(hidden, symbols))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.embed(x).cumsum(1) / torch.arange(1, x.shape[1] + 1).view(1, -1, 1))


class Columns(nn.Module):
    """An embedding for each column of categories, and an MLP of one hidden layer on all of them."""

    def __init__(self, sizes: tuple[int, ...], width: int, outputs: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.body = mlp(len(sizes) * width, 32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.cat([table(x[:, i]) for i, table in enumerate(self.tables)], 1))


class Mixer(nn.Module):
    """One MLP-Mixer block (Tolstikhin et al. 2021) on 2 x 2 patches of 8 x 8 grey pixels."""

    def __init__(self, width: int = 24, classes: int = 10) -> None:
        super().__init__()
        self.cut, self.embed = nn.Unfold(2, stride=2), nn.Linear(4, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.places = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.cut(x).transpose(1, 2))
        x = x + self.places(self.first(x).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channels(self.second(x))).mean(1))


def layer_norm_mlp(*widths: int) -> nn.Sequential:
    """An MLP with LayerNorm and GELU after each hidden layer."""
    hidden = [
        layer for a, b in itertools.pairwise(widths[:-1]) for layer in (nn.Linear(a, b), nn.LayerNorm(b), nn.GELU())
    ]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-2], widths[-1]))


def group_norm_cnn(width: int = 8) -> nn.Sequential:
    """Two convolutions with GroupNorm, mean over places, a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.GroupNorm(2, width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.GroupNorm(2, 2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )  # fmt: skip


def plain_cnn(width: int = 8) -> nn.Sequential:
    """Two convolutions without normalization on 8 x 8 pixels, and a linear head on all places."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * width * 16, 10),
    )  # fmt: skip


def linear() -> nn.Sequential:
    """Logistic regression on 64 pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
