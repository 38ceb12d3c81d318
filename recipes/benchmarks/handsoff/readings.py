"""What each part of a sweep's suggestion is worth, read off the tasks' grids under cosine: the search isn't counted.

    python -m recipes.benchmarks.handsoff.readings                       # all halves, 600 steps
    python -m recipes.benchmarks.handsoff.readings --half check --steps 4000 --details

Three sweeps a task, on the weights and batches of three seeds; the loss at the LR over the grid's best (mean of the
grid's seeds), log-linear between two LRs, at most ten; geometric means over tasks, and the worst task.
"""

import argparse
import functools
import math
from collections.abc import Callable

import numpy as np
import torch

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.shallow import above_bias, below_rise
from lr_lightning.rules.range_test.trials import for_decay
from recipes.benchmarks.handsoff.more_tasks import MORE
from recipes.benchmarks.handsoff.oracle import grid, ratio
from recipes.benchmarks.handsoff.ours import swept
from recipes.benchmarks.handsoff.tasks import TASKS, Task
from recipes.benchmarks.handsoff.training import SEEDS

HALVES = ("more", "choose", "report", "check")
FACTORS = (1.0, 1.25, 1.6, 2.0, 2.5, 3.5, 5.0)
BUDGET = 400
"""Steps that leave room for trials."""

Variant = Callable[[RangeTestResult, bool, int], RangeTestResult]


def read(result: RangeTestResult) -> RangeTestResult:
    """The sweep's curve, read anew."""
    return analyze(result.lrs, result.losses, planned=result.num_steps, cycle=result.cycle)


VARIANTS: dict[str, Variant] = {
    "the reading": lambda result, adaptive, steps: read(result),
    "as a peak": lambda result, adaptive, steps: for_decay(read(result), adaptive, train_steps=steps),
    "and after a bias": lambda result, adaptive, steps: for_decay(
        above_bias(read(result)), adaptive, train_steps=steps
    ),
    "and below the rise": lambda result, adaptive, steps: below_rise(
        for_decay(above_bias(read(result)), adaptive, train_steps=steps), adaptive
    ),
}
"""Each part on top of those before."""


def suggestions(task: Task, seed: int, steps: int) -> dict[str, float | None]:
    """LRs by name. Where a sweep was taken twice, or tells of dying units or no descent, the parts have no say."""
    result = swept(task, seed, train_steps=steps, budget=0.0)
    plain = result.status == "ok" and result.second_fall is None and result.steps == len(result.losses)
    found = {
        name: part(result, task.adaptive, steps).suggestion if plain else result.suggestion
        for name, part in VARIANTS.items()
    }
    if plain and (bare := read(result).suggestion) is not None:
        found |= {f"{factor:g} times the reading": factor * bare for factor in FACTORS}
    else:
        found |= {f"{factor:g} times the reading": result.suggestion for factor in FACTORS}
    return {**found, "with trials": swept(task, seed, train_steps=steps, budget=BUDGET).suggestion}


@functools.cache
def costs(task: Task, steps: int, seeds: tuple[int, ...]) -> dict[str, float]:
    """Log cost by name, mean over sweeps."""
    lrs, losses = grid(task, seeds, steps)
    each = [{name: math.log(ratio(lrs, losses, lr)) for name, lr in suggestions(task, s, steps).items()} for s in SEEDS]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", nargs="+", choices=HALVES, default=list(HALVES))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the grids")
    parser.add_argument("--details", action="store_true", help="print each task's ratios")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for adaptive, half in ((kind, half) for kind in (True, False) for half in arguments.half):
        tasks = [task for task in (*TASKS, *MORE) if task.half == half and task.adaptive == adaptive]
        found = {task.name: costs(task, arguments.steps, tuple(arguments.seeds)) for task in tasks}
        print(f"\n{'Adam and its kin' if adaptive else 'SGD'}, {half}: {len(tasks)} tasks", flush=True)
        for name in found[tasks[0].name]:
            logs = [cost[name] for cost in found.values()]
            print(f"{name:26} {math.exp(np.mean(logs)):.3f}  worst {math.exp(max(logs)):.2f}", flush=True)
        for task, cost in found.items() if arguments.details else ():
            print(f"    {task:36} " + " ".join(f"{math.exp(cost[name]):.2f}" for name in (*VARIANTS, "with trials")))


if __name__ == "__main__":
    main()
