"""Trainings of the hands-off benchmark: batches, held-out loss, and a run under a schedule."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from recipes.benchmarks.handsoff.tasks import Task

SEEDS = (0, 1, 2)
VALIDATIONS = 25
"""How often a run is validated: what plateau decay sees."""

Pair = tuple[Tensor, Tensor]


class Loader:
    """Shuffled epochs of a task's training samples; every pass over it starts with the same batches."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed, self.data = task, seed, task.data()

    def __iter__(self) -> Iterator[Pair]:
        draw = torch.Generator().manual_seed(1000 + self.seed)
        size, n = self.task.batch, len(self.data.x)
        while True:
            order = torch.randperm(n, generator=draw)
            for i in range(0, n - size + 1, size):
                pick = order[i : i + size]
                yield self.data.x[pick], self.data.y[pick]


def fresh(task: Task, seed: int) -> nn.Module:
    """The starting weights of a seed."""
    torch.manual_seed(seed)
    return task.model().train()


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that aren't frozen."""
    return [p for p in model.parameters() if p.requires_grad]


@torch.no_grad()
def held_out(task: Task, model: nn.Module) -> float:
    """Mean held-out loss in evaluation mode."""
    data = task.data()
    model.eval()
    loss = float(task.loss(model(data.x_test), data.y_test))
    model.train()
    return loss if math.isfinite(loss) else math.inf


def train(
    task: Task, model: nn.Module, optimizer: Any, batches: Iterator[Pair], steps: int, after: Callable[[int], None]
) -> float:
    """Held-out loss after ``steps`` steps; ``after(step)`` is called after each; infinity if the loss isn't finite."""
    for step in range(1, steps + 1):
        x, y = next(batches)
        optimizer.zero_grad()
        loss = task.loss(model(x), y)
        loss.backward()
        optimizer.step()
        if step % 25 == 0 and not math.isfinite(float(loss.detach())):
            return math.inf
        after(step)
    return held_out(task, model)


def cosine(optimizer: Any, steps: int) -> Callable[[int], None]:
    """From the optimizer's LRs to zero along half a cosine."""
    bases = [group["lr"] for group in optimizer.param_groups]

    def after(step: int) -> None:
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            group["lr"] = base * 0.5 * (1 + math.cos(math.pi * step / steps))

    return after


def run_cosine(task: Task, seed: int, lr: float, steps: int, best: bool = False) -> float:
    """Held-out loss of a run with ``lr`` and cosine; with ``best`` the lowest of its validations."""
    model = fresh(task, seed)
    optimizer = task.optimizer(trained(model), lr=lr)
    lower, every, losses = cosine(optimizer, steps), max(1, steps // VALIDATIONS), list[float]()

    def after(step: int) -> None:
        lower(step)
        if best and step % every == 0:
            losses.append(held_out(task, model))

    losses.append(train(task, model, optimizer, iter(Loader(task, seed)), steps, after))
    return min(losses)
