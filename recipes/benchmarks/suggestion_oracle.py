"""The oracle of the suggestion benchmark: what each constant LR reaches, cached on disk."""

import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lr_lightning.rules.range_test.ladder import ladder
from recipes.benchmarks.suggestion_tasks import Task

CACHE = Path(os.environ.get("LR_LIGHTNING_BENCHMARKS", ".benchmarks")) / "suggestion"
GRID = ladder(1e-6, 10.0, 29)
SEEDS = (0, 1, 2)
DIVERGED, NONE = 2.0, 1.0


def batches(task: Task, seed: int, steps: int) -> list[list[int]]:
    """Indices of each step's batch: shuffled epochs, the incomplete last batch dropped."""
    draw = torch.Generator().manual_seed(1000 + seed)
    n = len(task.data().x)
    found: list[list[int]] = []
    while len(found) < steps:
        order = torch.randperm(n, generator=draw).tolist()
        found += [order[i : i + task.batch] for i in range(0, n - task.batch + 1, task.batch)]
    return found[:steps]


def fresh(task: Task, seed: int) -> nn.Module:
    """The starting weights of a seed."""
    torch.manual_seed(seed)
    return task.model()


@torch.no_grad()
def held_out(task: Task, model: nn.Module) -> float:
    """Mean held-out loss in evaluation mode."""
    data = task.data()
    model.eval()
    loss = float(task.criterion(model(data.x_test), data.y_test))
    model.train()
    return loss


def train(task: Task, seed: int, lr: float, order: list[Tensor]) -> float:
    """Held-out loss over the last 10 % of the steps (five looks) at constant LR; infinity if it diverges."""
    model = fresh(task, seed).train()
    optimizer = task.optimizer(model.parameters(), lr=lr)
    data = task.data()
    looks = {round(task.steps * (0.9 + 0.025 * i)) for i in range(5)}
    seen = []
    for step, pick in enumerate(order, 1):
        optimizer.zero_grad()
        loss = task.criterion(model(data.x[pick]), data.y[pick])
        loss.backward()
        optimizer.step()
        if step % 25 == 0 and not math.isfinite(float(loss.detach())):
            return math.inf
        if step in looks:
            seen.append(held_out(task, model))
    mean = float(np.mean(seen))
    return mean if math.isfinite(mean) else math.inf


def oracle(task: Task) -> dict:
    """Grid of LRs, held-out losses (seeds x LRs), starting losses and the constant predictor's, from disk if there.

    Half decades from the top down, until two LRs in a row below the best make less than half of its progress; then
    quarter decades up to one decade around the best. What lies lower counts as the starting loss.
    """
    path = CACHE / "oracle" / f"{task.name}.json"
    if path.exists():
        return json.loads(path.read_text())
    orders = [[torch.tensor(pick) for pick in batches(task, seed, task.steps)] for seed in SEEDS]
    start = [held_out(task, fresh(task, seed)) for seed in SEEDS]
    found: dict[int, list[float]] = {}

    def measure(index: int) -> None:
        if index not in found and 0 <= index < len(GRID):
            found[index] = [train(task, seed, GRID[index], order) for seed, order in zip(SEEDS, orders, strict=True)]

    for index in range(len(GRID) - 1, -1, -2):
        measure(index)
        best = min(found, key=lambda i: float(np.mean(found[i])))
        half = 0.5 * (float(np.mean(start)) + float(np.mean(found[best])))
        if index <= best - 4 and all(np.mean(found[i]) > half for i in (index, index + 2)):
            break
    for index in range(best - 4, best + 5):
        measure(index)
    known = sorted(found)
    lrs = [GRID[i] for i in known]
    losses = [[found[i][s] for i in known] for s in range(len(SEEDS))]
    if known[0] > 0:
        lrs.insert(0, GRID[known[0] - 1])
        losses = [[first, *row] for first, row in zip(start, losses, strict=True)]
    record = {"lrs": lrs, "losses": losses, "start": start, "constant": task.constant_loss(), "steps": task.steps}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return record


def regret(record: dict, lr: float | None, strict: bool = False) -> float:
    """``(L(lr) - L(best)) / (L(start) - L(best))``, between 0 and 2; 1 for no suggestion, 2 for a diverged run.

    L is the mean over seeds on the grid, linear in log LR between its points. ``strict`` takes the best constant
    predictor's loss as the start: it keeps a huge starting loss from hiding differences.
    """
    if lr is None or not lr > 0:
        return NONE
    losses = np.asarray(record["losses"])
    best = float(losses.mean(0).min())
    start = record["constant"] if strict else float(np.mean(record["start"]))
    points = np.clip(np.nan_to_num((losses.mean(0) - best) / max(start - best, 1e-12), nan=2, posinf=2), 0, DIVERGED)
    return float(np.interp(math.log(lr), np.log(record["lrs"]), points))
