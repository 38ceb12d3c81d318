"""Searches for an LR at equal cost: ours, in-process, random, Optuna's TPE, TPE with Hyperband, a 13-point grid.

    python -m recipes.benchmarks.search            # all tasks, three searches a method: about 15 minutes on one core
    python -m recipes.benchmarks.search --quick    # two tasks, one search a method

Every method gets the range 1e-5 to 10 and as many gradient steps as 13 whole trials take; range tests and pruned
trials pay for the steps that they took. A trial trains at a constant LR and scores its held-out loss (the in-process
search: its training loss). What a method recommends at a quarter, half and all of the cost is looked up on an oracle's
curve: 31 LRs, mean of three other seeds. Reported: that loss over the oracle's best, 1.0 being perfect.
"""

import argparse
import json
import logging
import math
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import optuna
import torch
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRSearch
from lr_lightning.optim.range_test import range_test
from lr_lightning.rules.range_test.ladder import ladder, log_uniform
from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.bracket import bracket
from lr_lightning.rules.search.halving import diverged, finished, judge, rungs
from lr_lightning.rules.search.records import SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round
from recipes.benchmarks.suggestion_tasks import TASKS, Task

NAMES = (
    "digits_mlp_momentum",
    "digits_cnn_adam",
    "cancer_raw_momentum",
    "diabetes_raw_adam",
    "noisy_digits_adamw",
    "digits_autoencoder_adamw",
)
LOW, HIGH, TRIALS, CHECKS = 1e-5, 10.0, 13, 8
SHARES = (0.25, 0.5, 1.0)


@dataclass
class Cost:
    """Steps spent so far, and what was recommended after each trial."""

    limit: int
    spent: int = 0
    said: list[tuple[int, float]] = field(default_factory=list)

    def at(self, share: float) -> float | None:
        """The recommendation that stood when ``share`` of the limit was spent."""
        fitting = [lr for spent, lr in self.said if spent <= share * self.limit + 1e-9]
        return fitting[-1] if fitting else None


def batches(task: Task, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    data, draw = task.data(), torch.Generator().manual_seed(seed)
    while True:
        for pick in torch.randperm(len(data.x), generator=draw).split(task.batch)[: len(data.x) // task.batch]:
            yield data.x[pick], data.y[pick]


def held_out(task: Task, model: torch.nn.Module) -> float:
    data = task.data()
    model.eval()
    with torch.no_grad():
        loss = float(task.criterion(model(data.x_test), data.y_test))
    model.train()
    return loss


def trial(task: Task, lr: float, seed: int) -> Iterator[float]:
    """Train at a constant LR; the held-out loss after each eighth of the steps."""
    torch.manual_seed(seed)
    model = task.model()
    optimizer = task.optimizer(model.parameters(), lr=lr)
    stream = batches(task, seed)
    for _ in range(CHECKS):
        for _ in range(task.steps // CHECKS):
            x, y = next(stream)
            optimizer.zero_grad()
            task.criterion(model(x), y).backward()
            optimizer.step()
        yield held_out(task, model)


def whole(task: Task, lr: float, seed: int, cost: Cost) -> float:
    """A whole trial's score; the steps count in full even if the loss is lost on the way."""
    cost.spent += task.steps
    score = math.nan
    for score in trial(task, lr, seed):
        if not math.isfinite(score):
            break
    return score


def best_of(scores: dict[float, float]) -> float:
    return min(scores, key=lambda lr: scores[lr] if math.isfinite(scores[lr]) else math.inf)


def fixed(task: Task, seed: int, cost: Cost, lrs: list[float]) -> None:
    scores: dict[float, float] = {}
    for lr in lrs:
        scores[lr] = whole(task, lr, seed, cost)
        cost.said.append((cost.spent, best_of(scores)))


def grid(task: Task, seed: int, cost: Cost) -> None:
    order = list(ladder(LOW, HIGH, TRIALS))
    random.Random(seed).shuffle(order)  # at a part of the cost an ordered grid would have seen one end alone
    fixed(task, seed, cost, order)


def log_random(task: Task, seed: int, cost: Cost) -> None:
    fixed(task, seed, cost, list(log_uniform(LOW, HIGH, TRIALS, seed)))


def tpe(task: Task, seed: int, cost: Cost, pruner: Any = None) -> None:
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner or optuna.pruners.NopPruner()
    )
    while cost.spent < cost.limit:
        one = study.ask()
        value, state = math.inf, optuna.trial.TrialState.COMPLETE
        for check, loss in enumerate(trial(task, one.suggest_float("lr", LOW, HIGH, log=True), seed), 1):
            cost.spent += task.steps // CHECKS
            value = loss if math.isfinite(loss) else 1e30
            one.report(value, check)
            if check < CHECKS and one.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        study.tell(one, None if state == optuna.trial.TrialState.PRUNED else value, state)
        if any(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials):
            cost.said.append((cost.spent, study.best_params["lr"]))


def hyperband(task: Task, seed: int, cost: Cost) -> None:
    tpe(task, seed, cost, optuna.pruners.HyperbandPruner(min_resource=1, max_resource=CHECKS, reduction_factor=2))


def first_bracket(task: Task, seed: int, cost: Cost) -> Axis:
    torch.manual_seed(seed)
    model, data = task.model(), task.data()
    loader = DataLoader(TensorDataset(data.x, data.y), task.batch, shuffle=True, drop_last=True)
    optimizer = task.optimizer(model.parameters(), lr=1e-3)

    def loss_of(net: torch.nn.Module, batch: Any) -> torch.Tensor:
        return task.criterion(net(batch[0]), batch[1])

    result = range_test(model, optimizer, loss_of, loader, min_lr=LOW, max_lr=HIGH, num_steps=100)
    cost.spent += result.coverage.visited
    low, high, _ = bracket(result.to_dict(), LOW, HIGH)
    return Axis("lr", low, high)


def ours(task: Task, seed: int, cost: Cost) -> None:
    """The sweeper's rule: bracket, rounds of five, successive halving at 1, 2 and 4 eighths."""
    settings = SearchSettings((first_bracket(task, seed, cost),), budget=60, tolerance=0.02, seed=seed)
    trials: list[Trial] = []
    curves: list[list[float]] = []
    while cost.spent < cost.limit and not (plan := next_round(settings, trials)).done:
        for (lr,) in plan.points:
            status = pruned_trial(task, float(lr), seed, cost, curves)
            trials.append(Trial((lr,), curves[-1][-1], plan.round, status))
            trials = [replace(t, score=score(t, c, curves)) for t, c in zip(trials, curves, strict=True)]
            best = next_round(settings, trials).best
            if best is not None:
                cost.said.append((cost.spent, float(best[0])))
            if cost.spent >= cost.limit:
                break


def pruned_trial(task: Task, lr: float, seed: int, cost: Cost, curves: list[list[float]]) -> str:
    """Train as long as the trial keeps up with the others; its curve is appended."""
    values: list[float] = []
    curves.append(values)
    for check, loss in enumerate(trial(task, lr, seed), 1):
        cost.spent += task.steps // CHECKS
        values.append(loss)
        if diverged(loss, values[0], min(values)):
            return "diverged"
        peers = [curve[check - 1] for curve in curves[:-1] if len(curve) >= check]
        if check in rungs(1, 2.0, CHECKS) and judge(loss, peers, 2.0):
            return "pruned"
    return "completed"


def score(one: Trial, curve: list[float], curves: list[list[float]]) -> float:
    """The last loss, or what it would have become."""
    if one.status != "pruned":
        return curve[-1]
    return finished(curve[-1], [(c[len(curve) - 1], c[-1]) for c in curves if len(c) == CHECKS])


class Net(L.LightningModule):
    """A task as a LightningModule."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.net, self.task = task.model(), task

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return self.task.criterion(self.net(x), y)

    def configure_optimizers(self) -> Any:
        return self.task.optimizer(self.net.parameters(), lr=1e-3)


def in_process(task: Task, seed: int, cost: Cost) -> None:
    """LRSearch in a real fit: trials of half the length, twice as many."""
    L.seed_everything(seed, verbose=False)
    data = task.data()
    search = LRSearch(LOW, HIGH, task.steps // 2, budget=2 * TRIALS + 10, tolerance=0.02)
    with TemporaryDirectory() as folder:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        trainer = L.Trainer(
            accelerator="cpu", max_steps=1, logger=False, callbacks=[search], default_root_dir=folder, **quiet
        )
        loader = DataLoader(TensorDataset(data.x, data.y), task.batch, shuffle=True, drop_last=True)
        trainer.fit(Net(task), loader)
    cost.spent = search.steps - sum(search.costs)
    for count in range(1, len(search.trials) + 1):
        cost.spent += search.costs[count - 1]
        if cost.spent > cost.limit:
            break
        best = next_round(search.searched, search.trials[:count]).best
        if best is not None:
            cost.said.append((cost.spent, float(best[0])))


METHODS: dict[str, Callable[[Task, int, Cost], None]] = {
    "lr_coarse_to_fine": ours,
    "LRSearch (in process)": in_process,
    "random log-uniform": log_random,
    "Optuna TPE": tpe,
    "Optuna TPE + Hyperband": hyperband,
    "13-point grid": grid,
}


def oracle(task: Task, points: int = 31, seeds: tuple[int, ...] = (101, 102, 103)) -> dict[float, float]:
    """Mean held-out loss over LRs."""
    free = Cost(0)
    return {lr: fmean(whole(task, lr, seed, free) for seed in seeds) for lr in ladder(LOW, HIGH, points)}


def lookup(curve: dict[float, float], lr: float | None) -> float:
    """Linear in log LR between the oracle's points; beyond them, at NaN or without an LR: the worst finite loss."""
    worst = max(v for v in curve.values() if math.isfinite(v))
    if lr is None:
        return worst
    x, xs = math.log(lr), [math.log(v) for v in curve]
    if not xs[0] <= x <= xs[-1]:
        return worst
    values = [min(v, worst) if math.isfinite(v) else worst for v in curve.values()]
    i = min(max(sum(v <= x for v in xs) - 1, 0), len(xs) - 2)
    share = (x - xs[i]) / (xs[i + 1] - xs[i])
    return values[i] * (1 - share) + values[i + 1] * share


def study(task: Task, seeds: int) -> dict[str, Any]:
    curve = oracle(task)
    best = min(v for v in curve.values() if math.isfinite(v))
    row: dict[str, Any] = {"task": task.name, "best_lr": best_of(curve), "best_loss": best, "methods": {}}
    for name, method in METHODS.items():
        ratios: dict[float, list[float]] = {share: [] for share in SHARES}
        for seed in range(seeds):
            cost = Cost(TRIALS * task.steps)
            method(replace(task), seed, cost)
            for share in SHARES:
                ratios[share].append(lookup(curve, cost.at(share)) / best)
        row["methods"][name] = {str(share): fmean(values) for share, values in ratios.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=NAMES, choices=[task.name for task in TASKS])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tasks = [task for task in TASKS if task.name in (NAMES[:2] if options.quick else options.tasks)]
    rows = []
    for task in tasks:
        rows.append(study(task, 1 if options.quick else options.seeds))
        print(json.dumps(rows[-1]), flush=True)
        if options.out is not None:
            options.out.write_text(json.dumps(rows, indent=1))
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Median and worst over the tasks."""
    lines = [f"{'held-out loss over the best':30}" + "".join(f"{f'{share:.0%} of cost':>24}" for share in SHARES)]
    for name in METHODS:
        cells = []
        for share in SHARES:
            values = [row["methods"][name][str(share)] for row in rows]
            cells.append(f"{median(values):9.3f} (max {max(values):7.3f})")
        lines.append(f"{name:30}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
