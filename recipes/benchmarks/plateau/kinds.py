"""Small training tasks whose kind of plateau is known by construction, for the diagnosis benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    standard,
)
from recipes.benchmarks.plateau.tasks_data import cancer, diabetes
from recipes.benchmarks.plateau.tasks_drawn import factors, parity, quadratic, single_index, teacher
from recipes.benchmarks.plateau.tasks_sequences import markov


@dataclass(frozen=True)
class Known:
    """A task with the kind of its first plateau.

    Attributes:
        kind: One of the diagnosis's names.
        make: The task.
        lrs: LR by optimizer (``"momentum"``, ``"adam"``).
        every: Steps from one observation to the next; a run has 60.
        monitor: What is observed: ``"validation"``, or ``"training"`` loss, whose noise hides a slow trend.
    """

    kind: str
    make: Callable[[], Task]
    lrs: dict[str, float]
    every: int = 20
    monitor: str = "validation"


def deep(scale: float, noise: float) -> Task:
    """Four linear layers from a small start: a saddle."""
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(7)) / 2

    def sample(gen: torch.Generator, size: int = 16, noise: float = noise) -> Batch:
        x = torch.randn(size, 8, generator=gen)
        return x, x @ target + noise * torch.randn(size, 8, generator=gen)

    def init(gen: torch.Generator) -> Params:
        return {f"w{i}": torch.randn(8, 8, generator=gen) * scale for i in range(4)}

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(batch[0] @ p["w0"] @ p["w1"] @ p["w2"] @ p["w3"], batch[1])

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(8), 400, 0.1))


def product() -> Task:
    """A matrix of rank 3 as a product of two factors from a tiny start: a saddle."""
    gen = torch.Generator().manual_seed(11)
    target = torch.randn(20, 3, generator=gen) @ torch.randn(3, 20, generator=gen) / 4

    def sample(gen: torch.Generator) -> Batch:
        return target + torch.randn(20, 20, generator=gen), torch.zeros(1)

    def init(gen: torch.Generator) -> Params:
        return {name: 1e-3 * torch.randn(20, 3, generator=gen) for name in ("u", "v")}

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse(p["u"] @ p["v"].t(), batch[0])

    return Task(init, loss, sample, (target, torch.zeros(1)))


def whole(task: Callable[[Params, Batch], Tensor], init: Callable[[torch.Generator], Params], batch: Batch) -> Task:
    """Full batches: the loss itself is what is observed."""
    return Task(init, task, lambda gen: batch, batch)


def counts() -> Task:
    """Poisson regression, full batch: beyond its edge of stability Newton-like steps go to and fro (Ricker's map)."""
    gen = torch.Generator().manual_seed(12)
    x = torch.randn(100, 5, generator=gen) / 2
    y = torch.poisson((x.sum(1) / 2).exp(), generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        rate = batch[0] @ p["w"] + p["b"]
        return (rate.exp() - batch[1] * rate).mean() + 2.0

    return whole(loss, lambda gen: {"w": 0.1 * torch.randn(5, generator=gen), "b": torch.zeros(())}, (x, y))


def linex() -> Task:
    """Sum of exp(x) - x over curvatures 1 to 1/10, full batch."""
    curvature = torch.logspace(0, -1, 10)

    def loss(p: Params, batch: Batch) -> Tensor:
        return (curvature * (p["x"].exp() - p["x"] - 1)).sum() + 0.1

    return whole(loss, lambda gen: {"x": 0.5 * torch.randn(10, generator=gen)}, (torch.zeros(1), torch.zeros(1)))


def ridge_logistic() -> Task:
    """Breast-cancer diagnosis by logistic regression with weight decay, full batch."""
    bunch = datasets.load_breast_cancer()
    x, y = standard(torch.tensor(bunch.data, dtype=torch.float32)), torch.tensor(bunch.target, dtype=torch.float32)

    def loss(p: Params, batch: Batch) -> Tensor:
        fit = F.binary_cross_entropy_with_logits(batch[0] @ p["w"] + p["b"], batch[1])
        return fit + 0.02 * (p["w"] ** 2).sum()

    return whole(loss, lambda gen: {"w": 0.3 * torch.randn(30, generator=gen), "b": torch.zeros(())}, (x, y))


def sides() -> Task:
    """Smooth quantile regression on real patients, full batch: steps from one side of the optimum to the other."""
    bunch = datasets.load_diabetes()
    x = standard(torch.tensor(bunch.data, dtype=torch.float32))
    y = standard(torch.tensor(bunch.target, dtype=torch.float32))

    def loss(p: Params, batch: Batch) -> Tensor:
        miss = batch[1] - batch[0] @ p["w"] - p["b"]
        return (0.8 * miss + 0.1 * F.softplus(-10 * miss)).mean()

    return whole(loss, lambda gen: {"w": 0.1 * torch.randn(10, generator=gen), "b": torch.ones(())}, (x, y))


def edge() -> Task:
    """Products of two weights at a target of 1, full batch: an LR above the edge of stability, yet bounded."""
    scale = torch.linspace(1.0, 0.5, 6)

    def loss(p: Params, batch: Batch) -> Tensor:
        return (scale * (p["u"] * p["v"] - 1) ** 2).sum() / 2 + 0.01

    def init(gen: torch.Generator) -> Params:
        return {name: 1 + 0.1 * torch.randn(6, generator=gen) for name in ("u", "v")}

    return whole(loss, init, (torch.zeros(1), torch.zeros(1)))


def retrieval() -> Task:
    """Phase retrieval from a tiny start: a saddle in 20 directions."""

    def sample(gen: torch.Generator, size: int = 24) -> Batch:
        x = torch.randn(size, 20, generator=gen)
        return x, x[:, 0] ** 2 + 0.5 * torch.randn(size, generator=gen)

    def loss(p: Params, batch: Batch) -> Tensor:
        return mse((batch[0] @ p["w"]) ** 2 + p["b"], batch[1])

    def init(gen: torch.Generator) -> Params:
        return {"w": 0.01 * torch.randn(20, generator=gen), "b": torch.ones(())}

    return Task(init, loss, sample, sample(torch.Generator().manual_seed(14), 400))


def sigmoids() -> Task:
    """Two classes of points behind three layers of sigmoids: gradients vanish at the start."""

    def sample(gen: torch.Generator, size: int = 32) -> Batch:
        x = torch.randn(size, 4, generator=gen)
        return x, (x[:, 0] * x[:, 1] > 0).float()[:, None]

    def loss(p: Params, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(mlp(p, batch[0], torch.sigmoid), batch[1])

    return Task(dense([4, 24, 24, 1]), loss, sample, sample(torch.Generator().manual_seed(15), 400))


def few(x: Tensor, y: Tensor, size: int, net: list[int], fit: Callable[[Tensor, Tensor], Tensor]) -> Task:
    """``size`` examples of a data set and a net that learns them by heart."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    x, y = x[order], y[order]

    def sample(gen: torch.Generator) -> Batch:
        index = torch.randint(size, (16,), generator=gen)
        return x[index], y[index]

    return Task(dense(net), fitted(fit), sample, (x[-200:], y[-200:]))


def few_patients() -> Task:
    """60 patients' diabetes."""
    bunch = datasets.load_diabetes()
    x = standard(torch.tensor(bunch.data, dtype=torch.float32))
    return few(x, standard(torch.tensor(bunch.target, dtype=torch.float32)[:, None]), 60, [10, 64, 1], mse)


def wrong_digits() -> Task:
    """120 digits, a third of their labels wrong."""
    x, y = digits()
    gen = torch.Generator().manual_seed(29)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    y = y.clone()
    wrong = order[:120][torch.rand(120, generator=gen) < 0.33]
    y[wrong] = torch.randint(0, 10, (len(wrong),), generator=gen)
    return few(x, y, 120, [64, 64, 10], F.cross_entropy)


def few_tumours() -> Task:
    """40 tumours, a quarter of their labels wrong."""
    bunch = datasets.load_breast_cancer()
    x, y = standard(torch.tensor(bunch.data, dtype=torch.float32)), torch.tensor(bunch.target, dtype=torch.long)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    wrong = order[:40:4]
    y[wrong] = 1 - y[wrong]
    return few(x, y, 40, [30, 48, 2], F.cross_entropy)


def few_digits() -> Task:
    """50 digits."""
    return few(*digits(), 50, [64, 64, 10], F.cross_entropy)


def few_points() -> Task:
    """40 points of two overlapping classes."""
    gen = torch.Generator().manual_seed(16)
    y = torch.randint(0, 2, (240,), generator=gen)
    return few(torch.randn(240, 12, generator=gen) + 0.4 * y[:, None], y, 40, [12, 64, 2], F.cross_entropy)


def few_waves() -> Task:
    """80 noisy points of a function of six numbers."""
    gen = torch.Generator().manual_seed(13)
    x = torch.randn(400, 6, generator=gen)
    clean = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    noise = torch.randn(400, 1, generator=gen) * torch.tensor([0.8, 0.0]).repeat_interleave(200)[:, None]
    y = clean + noise

    def sample(gen: torch.Generator) -> Batch:
        index = torch.randint(80, (16,), generator=gen)
        return x[index], y[index]

    return Task(dense([6, 64, 1]), fitted(mse), sample, (x[200:], y[200:]))


FLOOR, FLAT, TO_AND_FRO, OVER = "noise floor", "flat region", "oscillation", "overfitting"
# Rules were looked at on these, and on the next half once; REPORT is for the figures.
CHOOSE = {
    "quadratic": Known(FLOOR, quadratic, {"momentum": 0.05, "adam": 0.05}),
    "teacher": Known(FLOOR, teacher, {"momentum": 0.05, "adam": 0.02}),
    "deep linear": Known(FLAT, lambda: deep(0.15, 0.5), {"momentum": 0.003, "adam": 2e-4}, monitor="training"),
    "product": Known(FLAT, product, {"momentum": 0.04, "adam": 3e-4}, monitor="training"),
    "linex": Known(TO_AND_FRO, linex, {"plain": 2.3}, 5),
    "Poisson": Known(TO_AND_FRO, counts, {"plain": 1.9}, 5),
    "few patients": Known(OVER, few_patients, {"momentum": 0.01, "adam": 0.003}),
    "wrong digits": Known(OVER, wrong_digits, {"momentum": 0.01, "adam": 0.002}),
}
SECOND = {
    "cancer": Known(FLOOR, cancer, {"momentum": 0.1, "adam": 0.1}),
    "factors": Known(FLOOR, factors, {"momentum": 0.3, "adam": 0.05}),
    "parity": Known(FLAT, parity, {"momentum": 0.007, "adam": 0.0015}, monitor="training"),
    "single index": Known(FLAT, single_index, {"momentum": 0.004, "adam": 0.001}, monitor="training"),
    "ridge logistic": Known(TO_AND_FRO, ridge_logistic, {"plain": 8.0}, 5),
    "few tumours": Known(OVER, few_tumours, {"momentum": 0.01, "adam": 0.003}),
    "few waves": Known(OVER, few_waves, {"momentum": 0.02, "adam": 0.005}),
}
REPORT = {
    "Markov chain": Known(FLOOR, markov, {"momentum": 0.2, "adam": 0.05}),
    "jittered patients": Known(FLOOR, diabetes, {"momentum": 0.03, "adam": 0.02}),
    "phase retrieval": Known(FLAT, retrieval, {"momentum": 1.5e-4, "adam": 7e-4}, monitor="training"),
    "sigmoids": Known(FLAT, sigmoids, {"momentum": 0.07, "adam": 0.003}, monitor="training"),
    "quantiles": Known(TO_AND_FRO, sides, {"plain": 3.0}, 5),
    "edge": Known(TO_AND_FRO, edge, {"plain": 1.1}, 5),
    "few digits": Known(OVER, few_digits, {"momentum": 0.02, "adam": 0.003}),
    "few points": Known(OVER, few_points, {"momentum": 0.02, "adam": 0.003}),
}
HALVES = {"choose": CHOOSE, "second": SECOND, "report": REPORT}
