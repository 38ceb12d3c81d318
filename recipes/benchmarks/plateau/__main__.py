"""When to decay: PlateauDecay against torch's, Keras's and dlib's rules, step decay and cosine.

    python -m recipes.benchmarks.plateau             # the table and the figure (cached in .benchmarks/)
    python -m recipes.benchmarks.plateau --half choose   # or report
    python -m recipes.benchmarks.plateau --cells photo/sgd graph/adam   # these alone: one process a cell goes as well
    python -m recipes.benchmarks.plateau --signals   # detection alone, on signals with known onsets

Real small tasks x {SGD with momentum, Adam}, each rule fed at four cadences: the train loss of every step, and 225, 75
or 25 validations a run. A figure is the final validation loss over cosine's, from the same start, data order and LR:
the largest LR whose cosine run ends within 10 % of the best one's. Three sets of tasks: the rule was chosen on
``choose`` and, later on, ``report``; ``check`` was written apart from the rules, and run when they were finished.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from recipes.benchmarks.plateau.arms import RULES, SCHEDULES, arms, cosine
from recipes.benchmarks.plateau.blocks import Task
from recipes.benchmarks.plateau.runs import CADENCES, VALIDATIONS, Arm, train
from recipes.benchmarks.plateau.tasks import HALVES

STEPS = 8 * VALIDATIONS
SEEDS = 2
CACHE = Path(".benchmarks/plateau")

Ratios = dict[str, float]


def start_lr(name: str, task: Task, optimizer: str) -> float:
    """A good but high LR: the largest of the ladder with which cosine ends within 10 % of its best; cached."""
    held = CACHE / "lrs" / f"{name}-{optimizer}.json"
    if held.exists():
        return float(json.loads(held.read_text()))
    ladder = [(1.0 if optimizer == "sgd" else 0.1) * 10 ** (-0.5 * i) for i in range(7)]
    rows = [[Arm(str(i), schedule=cosine) for i in range(len(ladder))] for _ in range(SEEDS)]
    final = train(task, optimizer, ladder, rows, STEPS).final
    means = [sum(final[str(i), "225"]) / SEEDS for i in range(len(ladder))]
    best = min(x for x in means if math.isfinite(x))
    lr = next(lr for lr, x in zip(ladder, means, strict=True) if x <= 1.1 * best)
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text(json.dumps(lr))
    return lr


def cell(name: str, task: Task, optimizer: str) -> Ratios:
    """Final loss over cosine's of every rule and cadence, geometric mean over seeds; cached."""
    path = CACHE / f"{name}-{optimizer}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    lr = start_lr(name, task, optimizer)
    rows = [arms() for _ in range(SEEDS)]
    final = train(task, optimizer, [lr] * len(rows[0]), rows, STEPS).final
    reference = _mean(final["cosine", "225"])
    ratios = {"|".join(key): _mean(values) / reference for key, values in final.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"lr": lr, **ratios}, indent=1))
    return {"lr": lr, **ratios}


def _mean(values: list[float]) -> float:
    """Geometric mean; a loss that isn't finite counts as a hundred."""
    return math.exp(sum(math.log(x if math.isfinite(x) else 100.0) for x in values) / len(values))


def table(cells: dict[str, Ratios]) -> list[tuple[str, float, float, str]]:
    """Rows of (rule, geometric mean, worst, where)."""
    rows = []
    for name in [*SCHEDULES, *RULES]:
        cadences = ["225"] if name in SCHEDULES else list(CADENCES)
        values = {f"{key}/{c}": ratios[f"{name}|{c}"] for key, ratios in cells.items() for c in cadences}
        worst = max(values, key=lambda key: values[key])
        rows.append((name, _mean(list(values.values())), values[worst], worst))
    return rows


def figure(cells: dict[str, Ratios], path: Path) -> None:
    """One dot a cell and cadence, a line of dots a rule."""
    import plotly.graph_objects as go

    chart = go.Figure()
    for name in RULES:
        points = [(ratios[f"{name}|{c}"], f"{key}, {c}") for key, ratios in cells.items() for c in CADENCES]
        chart.add_trace(
            go.Scatter(x=[p[0] for p in points], y=[name] * len(points), text=[p[1] for p in points], mode="markers")
        )
    chart.update_layout(showlegend=False, title="Final validation loss over cosine's, by task, optimizer and cadence")
    chart.update_xaxes(type="log")
    path.parent.mkdir(parents=True, exist_ok=True)
    chart.write_html(path, include_plotlyjs="cdn")


def main() -> None:
    """Run what isn't cached and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=sorted(HALVES), default="check")
    parser.add_argument("--signals", action="store_true", help="detection on synthetic signals instead of training")
    parser.add_argument("--cells", nargs="+", metavar="TASK/OPTIMIZER", help="these of the half, not all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.signals:
        from recipes.benchmarks.plateau import signals

        print(signals.report(options.half))
        return
    known = [f"{name}/{optimizer}" for name in HALVES[options.half] for optimizer in ("sgd", "adam")]
    if unknown := sorted(set(options.cells or ()) - set(known)):
        parser.error(f"--cells must be of {', '.join(known)}, got {unknown[0]!r}")
    cells = {}
    for key in options.cells or known:
        name, optimizer = key.split("/")
        cells[key] = cell(name, HALVES[options.half][name](), optimizer)
        print(f"{key} done, LR {cells[key]['lr']:.3g}", flush=True)
    print(f"\n{'final validation loss / cosine':34s} geometric mean   worst")
    for name, mean, worst, where in table(cells):
        print(f"{name:34s} {mean:14.3f}   {worst:.2f} ({where})")
    if not options.cells:
        figure(cells, CACHE / f"{options.half}.html")
        print(f"figure: {CACHE / f'{options.half}.html'}")


if __name__ == "__main__":
    main()
