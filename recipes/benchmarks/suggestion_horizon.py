"""How the best LR moves when training gets eight times longer, at constant LR and under cosine decay.

python -m recipes.benchmarks.suggestion_horizon

It backs the correction in ``lr_lightning/rules/range_test/interval.py``. Four small tasks of the benchmark's ``dev``
half, one seed: read medians, not single tasks.
"""

import math

import numpy as np
import torch

from recipes.benchmarks.suggestion_oracle import batches, fresh, held_out, oracle
from recipes.benchmarks.suggestion_tasks import TASKS, Task

LONGER = 8
NAMES = (
    "finetune_new_head_momentum",
    "linear_two_decades_sgd",
    "spirals_tanh_momentum",
    "ratings_factors_adam",
)
SPREAD = [i / 2 for i in range(-3, 3)]
SEEDS = (0,)


def final_loss(task: Task, lr: float, steps: int, seed: int, cosine: bool) -> float:
    """Held-out loss over the last 10 % (five looks)."""
    model, data = fresh(task, seed).train(), task.data()
    optimizer = task.optimizer(model.parameters(), lr=lr)
    looks, seen = {round(steps * (0.9 + 0.025 * i)) for i in range(5)}, []
    for step, pick in enumerate(batches(task, seed, steps), 1):
        if cosine:
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        optimizer.zero_grad()
        task.criterion(model(data.x[pick]), data.y[pick]).backward()
        optimizer.step()
        if step in looks:
            seen.append(held_out(task, model))
    return float(np.mean(seen)) if np.isfinite(seen).all() else math.inf


def best_lr(task: Task, center: float, steps: int, cosine: bool) -> float:
    """Log10 of the best LR on a grid of half decades: the middle of those within 1 % of the reachable progress."""
    grid = [center + offset for offset in SPREAD]
    losses = np.array([np.mean([final_loss(task, 10**x, steps, s, cosine) for s in SEEDS]) for x in grid])
    start = held_out(task, fresh(task, 0))
    good = losses <= losses.min() + 0.01 * abs(start - losses.min())
    return float(np.mean(np.array(grid)[good]))


def main() -> None:
    torch.set_num_threads(1)
    shifts: dict[str, list[float]] = {"constant": [], "cosine": []}
    for task in TASKS:
        if task.name not in NAMES:
            continue
        record = oracle(task)
        center = math.log10(record["lrs"][int(np.argmin(np.mean(record["losses"], axis=0)))])
        base = best_lr(task, center, task.steps, cosine=False)
        for name, own in shifts.items():
            own.append(best_lr(task, base, LONGER * task.steps, cosine=name == "cosine") - base)
        print(f"{task.name:30} 10^{base:.2f}", {n: round(own[-1], 2) for n, own in shifts.items()}, flush=True)
    for name, own in shifts.items():
        print(
            f"{name:9} {LONGER}x longer: median {np.median(own):+.2f} decades, from {min(own):+.2f} to {max(own):+.2f}"
        )


if __name__ == "__main__":
    main()
