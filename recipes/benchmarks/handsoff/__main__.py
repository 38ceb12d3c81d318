"""What a training reaches when nobody chooses an LR, over what the best LR of a grid reaches under cosine.

    python -m recipes.benchmarks.handsoff                              # the report half, 600 steps
    python -m recipes.benchmarks.handsoff --half choose --steps 4000 --seeds 0 1 2 --tasks wine_raw_adam
    python -m recipes.benchmarks.handsoff --half check                 # 30 further tasks; more: 24 to choose rules on

Every run has the same number of optimizer steps in all; those of a search count. Each is one held-out loss, divided by
the grid's best mean loss over the seeds (13 LRs and more, cached in .benchmarks/); 10 stands for more, for a diverged
run and for no answer. Peers need ``pip install -e '.[peers]'``.
"""

import argparse
import functools
import json
import math

import numpy as np
import torch

from recipes.benchmarks.handsoff import ours
from recipes.benchmarks.handsoff.more_tasks import MORE
from recipes.benchmarks.handsoff.oracle import CACHE, CAP, grid
from recipes.benchmarks.handsoff.peers import PEERS, Run
from recipes.benchmarks.handsoff.tasks import TASKS, Task
from recipes.benchmarks.handsoff.training import SEEDS, run_cosine

P = functools.partial
SWEEP = 100


def swapped(task: Task, seed: int, steps: int, decay: str, **options: bool) -> float:
    """The grid's best LR in place of ours, with the sweep's steps taken off."""
    lrs, losses = grid(task, (seed,), steps)
    run = ours.run_plateau if decay == "plateau" else run_cosine
    return run(task, seed, lrs[int(np.argmin(losses))], steps - SWEEP, **options)


ARMS: dict[str, Run] = {
    "LRRangeTest + PlateauDecay": P(ours.run_range_test, decay="plateau"),
    "best validation kept: LRRangeTest + PlateauDecay": P(ours.run_range_test, decay="plateau", best=True),
    "best validation kept: the grid's best LR + cosine": P(swapped, decay="cosine", best=True),
    "LRRangeTest + cosine": P(ours.run_range_test, decay="cosine"),
    "the same, search not counted": P(ours.run_range_test, decay="plateau", counted=False),
    "LRRangeTest(budget=300) + PlateauDecay": P(ours.run_range_test, decay="plateau", budget=300),
    "budget=300, search not counted": P(ours.run_range_test, decay="plateau", counted=False, budget=300),
    **PEERS,
    "swapped: the grid's best LR + PlateauDecay": P(swapped, decay="plateau"),
    "swapped: the grid's best LR + cosine": P(swapped, decay="cosine"),
}


def losses(arm: str, tasks: list[Task], seeds: list[int], steps: int) -> list[list[float]]:
    """Held-out losses, tasks x seeds, from disk where they are there."""
    found = []
    for task in tasks:
        path = CACHE / "arms" / f"{task.name}_{steps}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
        for seed in seeds:
            if (key := f"{arm}|{seed}") not in known:
                known[key] = float(ARMS[arm](task, seed, steps))
                path.write_text(json.dumps(known))
        found.append([known[f"{arm}|{seed}"] for seed in seeds])
    return found


def line(arm: str, ratios: list[list[float]]) -> str:
    """A row of the table: geometric mean, median, worst task, share of tasks within 5 %."""
    logs = np.log(np.clip(np.nan_to_num(ratios, nan=CAP, posinf=CAP), 1e-3, CAP)).mean(1)
    cells = np.exp([logs.mean(), np.median(logs), logs.max()])
    return f"| {arm} | {' | '.join(f'{c:.2f}' for c in cells)} | {np.mean(logs <= math.log(1.05)):.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("choose", "report", "all", "more", "check"), default="report")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--arms", nargs="+", metavar="NAME", help="arms whose name begins so")
    parser.add_argument("--details", action="store_true", help="print each task's ratio")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tasks = [task for task in (*TASKS, *MORE) if arguments.half == task.half]
    tasks = list(TASKS) if arguments.half == "all" else tasks
    tasks = [task for task in tasks if not arguments.tasks or task.name in arguments.tasks]
    seeds, steps = arguments.seeds, arguments.steps
    best = [min(grid(task, tuple(seeds), steps)[1]) for task in tasks]
    print(f"{len(tasks)} tasks ({arguments.half}), seeds {seeds}, {steps} optimizer steps\n")
    print("| no LR chosen by hand | mean | median | worst | ≤ 5 % off |\n|---|---|---|---|---|")
    for arm in ARMS:
        if not arguments.arms or any(arm.startswith(name) for name in arguments.arms):
            found = losses(arm, tasks, seeds, steps)
            ratios = [[loss / b for loss in row] for row, b in zip(found, best, strict=True)]
            print(line(arm, ratios), flush=True)
            if arguments.details:
                for task, row in zip(tasks, ratios, strict=True):
                    print(f"    {task.name:30} {' '.join(f'{min(r, CAP):.2f}' for r in row)}", flush=True)


if __name__ == "__main__":
    main()
