"""Which LR suggestion is best? Regret against an oracle, beside the peers.

    python -m recipes.benchmarks.suggestion            # blind tasks; the others: --half dev, report, all

Each tool gets the same starting weights and batches and suggests one LR. The oracle trained with constant LRs on a
grid, 3 seeds each (cached in .benchmarks/; the first run takes half an hour). Regret of a suggestion::

    r = (L(lr) - L(best)) / (L(start) - L(best))      L: held-out loss over the last 10 % of the steps

Our suggestion is the one for constant LR, as the oracle's. r is 2 for a diverged run, 1 for no suggestion; a failure is
r > .25; "strict" takes the best constant prediction's loss for L(start). Peers: ``pip install torch-lr-finder
matplotlib fastai``; "(rule)" is a peer's published rule, re-stated.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lr_lightning.optim.range_test import range_test
from lr_lightning.rules.range_test.result import RangeTestResult
from recipes.benchmarks.suggestion_oracle import SEEDS, fresh, oracle, regret
from recipes.benchmarks.suggestion_peers import loader, peers
from recipes.benchmarks.suggestion_tasks import TASKS, Task

OURS: dict[str, Callable[..., RangeTestResult]] = {
    "lr_lightning": functools.partial(range_test, decays=False),
    "lr_lightning num_steps=300": functools.partial(range_test, decays=False, num_steps=300),
}


@dataclass(frozen=True)
class Row:
    """One tool on one task and seed."""

    tool: str
    task: str
    lr: float | None
    regret: float
    strict: float
    steps: int
    covered: bool | None = None
    decades: float | None = None


def ours(task: Task, seed: int, test: Callable[..., RangeTestResult]) -> RangeTestResult:
    """Run a range test as shipped."""
    model = fresh(task, seed)
    optimizer = task.optimizer(model.parameters(), lr=1e-3)
    return test(model, optimizer, lambda m, batch: task.criterion(m(batch[0]), batch[1]), loader(task, seed))


def rows_of(task: Task) -> list[Row]:
    """All tools on one task."""
    record, rows = oracle(task), []
    best = record["lrs"][int(np.argmin(np.mean(record["losses"], axis=0)))]
    for name, test in OURS.items():
        for seed in SEEDS:
            result = ours(task, seed, test)
            lr, bounds = result.suggestion, result.interval
            covered = None if bounds is None else bounds[0] <= best <= bounds[1]
            decades = None if bounds is None else float(np.log10(bounds[1] / bounds[0]))
            losses = regret(record, lr), regret(record, lr, strict=True)
            rows.append(Row(name, task.name, lr, *losses, result.steps, covered, decades))
    for name, answers in peers(task).items():
        for lr, steps in answers:
            rows.append(Row(name, task.name, lr, regret(record, lr), regret(record, lr, strict=True), steps))
    return rows


def table(rows: list[Row]) -> str:
    """Markdown: one line a tool, by mean regret."""
    lines = ["| tool | steps | mean regret | failures | strict | worst |", "|---|---|---|---|---|---|"]
    tools = {row.tool: [r for r in rows if r.tool == row.tool] for row in rows}
    for name, own in sorted(tools.items(), key=lambda item: np.mean([r.regret for r in item[1]])):
        regrets = np.array([r.regret for r in own])
        lines.append(
            f"| {name} | {np.mean([r.steps for r in own]):.0f} | {regrets.mean():.3f} | {np.mean(regrets > 0.25):.0%} "
            f"| {np.mean([r.strict for r in own]):.3f} | {regrets.max():.2f} |"
        )
    return "\n".join(lines)


def details(rows: list[Row]) -> str:
    """Our regrets (and strict ones) by task, and how good the intervals are."""
    lines = []
    for tool in OURS:
        own = [r for r in rows if r.tool == tool]
        known = [r for r in own if r.covered is not None]
        lines.append(
            f"{tool}: interval holds the oracle's best LR in {np.mean([r.covered for r in known]):.0%} of runs, "
            f"median width {np.median([r.decades for r in known if r.decades is not None]):.2f} decades"
        )
        for task in dict.fromkeys(r.task for r in own):
            mine = [r for r in own if r.task == task]
            seeds = "  ".join(f"{r.regret:.3f}/{r.strict:.3f} @{r.lr or 0:.1e}" for r in mine)
            lines.append(f"  {task:32} {seeds}")
    return "\n".join(lines)


def figure(rows: list[Row], path: Path) -> None:
    """An SVG: one line a tool, one dot a run at its regret, a bar at the mean."""
    tools = {row.tool: [r.regret for r in rows if r.tool == row.tool] for row in rows}
    ordered = sorted(tools.items(), key=lambda item: np.mean(item[1]))
    width, left, pitch = 860, 230, 24
    scale = (width - left - 40) / np.sqrt(2.0)
    height = pitch * len(ordered) + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for value in (0, 0.02, 0.1, 0.25, 0.5, 1, 2):
        x = left + scale * np.sqrt(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{height - 44}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 28}" text-anchor="middle" fill="#555">{value:g}</text>')
    for index, (name, regrets) in enumerate(ordered):
        y, color = 20 + pitch * index, "#0b6e4f" if name in OURS else "#7a7a7a"
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end" fill="{color}">{name}</text>')
        for value in regrets:
            x = left + scale * np.sqrt(value)
            parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="3.5" fill="{color}" fill-opacity="0.35"/>')
        x = left + scale * np.sqrt(np.mean(regrets))
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{y + 9}" stroke="{color}" stroke-width="3"/>')
    parts.append(
        f'<text x="{left}" y="{height - 8}" fill="#555">regret of the suggested LR (square-root axis): '
        "dots = runs, bar = mean, right of .25 = failed</text></svg>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("dev", "report", "check", "all"), default="check")
    parser.add_argument("--figure", type=Path, help="write an SVG there")
    parser.add_argument("--details", action="store_true", help="print our regrets by task")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tasks = [task for task in TASKS if arguments.half in (task.half, "all")]
    rows = [row for task in tasks for row in rows_of(task)]
    print(f"{len(tasks)} tasks ({arguments.half}), {len(SEEDS)} seeds")
    print(table(rows))
    if arguments.details:
        print(details(rows))
    if arguments.figure:
        figure(rows, arguments.figure)


if __name__ == "__main__":
    main()
