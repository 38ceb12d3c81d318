"""The oracle: what each LR of a grid reaches under cosine, cached on disk.

python -m recipes.benchmarks.handsoff.oracle 600 0,1,2 [half]
"""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import torch

from recipes.benchmarks.handsoff.tasks import TASKS, Task
from recipes.benchmarks.handsoff.training import run_cosine

CACHE = Path(os.environ.get("LR_LIGHTNING_BENCHMARKS", ".benchmarks")) / "handsoff"
POINTS, FACTOR = 13, 2.0
"""LRs of a grid and the step between two; it goes on beyond an end at which its best lies."""

CAP = 10.0
"""A ratio beyond this, or a run that diverged, counts as this."""


def measured(task: Task, lr: float, seed: int, steps: int) -> float:
    """Held-out loss of one cosine run, from disk if there."""
    path = CACHE / "grid" / f"{task.name}_{steps}_{seed}.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    key = f"{lr:.6g}"
    if key not in known:
        known[key] = run_cosine(task, seed, lr, steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known))
    return known[key]


def grid(task: Task, seeds: tuple[int, ...], steps: int) -> tuple[list[float], list[float]]:
    """LRs, rising, and the mean held-out loss of each over ``seeds``."""
    lrs = [task.top * FACTOR**-i for i in range(POINTS)][::-1]
    while True:
        losses = [float(np.mean([measured(task, lr, seed, steps) for seed in seeds])) for lr in lrs]
        best = int(np.argmin(losses))
        if best >= len(lrs) - 2:
            lrs.append(lrs[-1] * FACTOR)
        elif best <= 1:
            lrs.insert(0, lrs[0] / FACTOR)
        else:
            return lrs, losses


def ratio(lrs: list[float], losses: list[float], lr: float | None) -> float:
    """Loss at ``lr`` over the grid's best, log-linear between its points, at most ``CAP``; no LR counts as that."""
    if lr is None:
        return CAP
    logs = [min(math.log(loss / min(losses)), math.log(CAP)) for loss in losses]
    logs = [value if math.isfinite(value) else math.log(CAP) for value in logs]
    return math.exp(float(np.interp(math.log(lr), np.log(lrs), logs)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    length, seeds = int(sys.argv[1]), tuple(int(s) for s in sys.argv[2].split(","))
    for one in sorted(TASKS, key=lambda task: "g" in task.name[:6]):
        if len(sys.argv) < 4 or one.half == sys.argv[3]:
            found = grid(one, seeds, length)
            at = int(np.argmin(found[1]))
            print(one.name, f"best {found[0][at]:.3g} loss {found[1][at]:.4g} points {len(found[0])}", flush=True)
            print("   ", " ".join(f"{ratio(*found, lr):.2f}" for lr in found[0]), flush=True)
