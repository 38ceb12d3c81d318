"""What the plateau benchmark's tasks are built of: pure functions, so that many runs train as one batch (vmap)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
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


def fitted(
    measure: Callable[[Tensor, Tensor], Tensor], act: Callable[[Tensor], Tensor] = torch.relu
) -> Callable[[Params, Batch], Tensor]:
    return lambda p, batch: measure(mlp(p, batch[0], act), batch[1])


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
