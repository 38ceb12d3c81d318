"""Our arms: the range test's LR with cosine and with plateau decay, and the swaps that say which part costs what."""

import functools
import itertools
import math
from typing import Any

from lr_lightning.optim.plateau import PlateauLR
from lr_lightning.optim.range_test import range_test
from lr_lightning.rules.range_test.result import RangeTestResult
from recipes.benchmarks.handsoff.tasks import Task
from recipes.benchmarks.handsoff.training import VALIDATIONS, Loader, Pair, cosine, fresh, held_out, train, trained

KEPT = 1024
"""Batches that an epoch is cut to, so that the range test's loader ends."""


class Epoch:
    """The first batches of a task's stream, as a loader that can be started anew."""

    def __init__(self, task: Task, seed: int) -> None:
        self.batches: list[Pair] = list(itertools.islice(iter(Loader(task, seed)), KEPT))

    def __iter__(self) -> Any:
        return iter(self.batches)


@functools.lru_cache(maxsize=256)
def swept(task: Task, seed: int, **options: Any) -> RangeTestResult:
    """A range test as shipped."""
    model = fresh(task, seed)
    optimizer = task.optimizer(trained(model), lr=1e-3)
    return range_test(model, optimizer, lambda m, b: task.loss(m(b[0]), b[1]), Epoch(task, seed), **options)


def run_plateau(task: Task, seed: int, lr: float, steps: int, best: bool = False) -> float:
    """Held-out loss of a run with PlateauLR on the held-out loss; with ``best`` the lowest of its validations."""
    model = fresh(task, seed)
    optimizer = task.optimizer(trained(model), lr=lr)
    every = max(1, steps // VALIDATIONS)
    plateau = PlateauLR(optimizer, total=steps // every)
    losses: list[float] = []

    def after(step: int) -> None:
        if step % every == 0:
            losses.append(held_out(task, model))
            plateau.step(losses[-1])

    losses.append(train(task, model, optimizer, iter(Loader(task, seed)), steps, after))
    return min(losses) if best else losses[-1]


def run_range_test(
    task: Task, seed: int, steps: int, decay: str, counted: bool = True, best: bool = False, **options: Any
) -> float:
    """A range test and what is left of the steps; infinity if it gives no answer."""
    result = swept(task, seed, train_steps=steps, **options)
    if result.suggestion is None:
        return math.inf
    left = steps - result.steps if counted else steps
    if decay == "plateau":
        return run_plateau(task, seed, result.suggestion, left, best)
    model = fresh(task, seed)
    optimizer = task.optimizer(trained(model), lr=result.suggestion)
    return train(task, model, optimizer, iter(Loader(task, seed)), left, cosine(optimizer, left))
