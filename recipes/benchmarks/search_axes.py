"""Searches of the LR with one or two further parameters, on known surfaces: ours, Optuna's TPE, random points.

    python -m recipes.benchmarks.search_axes             # 20 seeds, about 20 minutes on one core
    python -m recipes.benchmarks.search_axes --seeds 3   # a first look

Every method gets as many whole trials. Reported is the true score of what it recommends over the best there is, after
15 and 30 trials on two axes, 20 and 40 on three: the median over seeds, and how often ours is the better one. Ours
recommends the minimum of its surrogate, Optuna its best trial, for that is what each of them says.
"""

import argparse
import json
import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round

LR = Axis("lr", 1e-5, 10.0)
WD = Axis("wd", 1e-6, 0.1)
DROPOUT = Axis("dropout", 0.0, 0.7, scale="linear", widen=False)
WIDTH = Axis("width", 8, 512, integer=True)
OPTIMIZER = Axis("optimizer", choices=("sgd", "adam", "lion"))
BATCH = Axis("batch", choices=(16, 32, 64, 128, 256))
FLAG = Axis("nesterov", choices=(True, False))
Point = tuple[Any, ...]


@dataclass(frozen=True)
class Surface:
    """A score over some axes; its minimum is 0 but for the choices' own.

    Attributes:
        name: In the table.
        axes: What is searched.
        score: Of a point; NaN where a training would have diverged.
        noise: Standard deviation of what a trial sees on top.
    """

    name: str
    axes: tuple[Axis, ...]
    score: Callable[..., float]
    noise: float = 0.02


def log(value: float) -> float:
    return math.log10(value)


def cliff(lr: float, wd: float) -> float:
    """A bowl whose minimum lies half a decade below where trainings diverge."""
    return math.nan if lr > 0.03 else (log(lr) + 2) ** 2 + 0.2 * (log(wd) + 3) ** 2


def saturating(lr: float, dropout: float) -> float:
    """Flat but for two decades around the minimum, as losses are that never move."""
    return 1 - math.exp(-((log(lr) + 1.5) ** 2)) * (1 - (dropout - 0.3) ** 2)


def of_optimizers(lr: float, optimizer: str) -> float:
    """Each optimizer has an LR of its own."""
    at, floor = {"sgd": (-0.5, 0.1), "adam": (-3.0, 0.0), "lion": (-4.0, 0.05)}[optimizer]
    return floor + min((log(lr) - at) ** 2, 4.0)


def of_optimizers_and_decay(lr: float, optimizer: str, wd: float) -> float:
    return of_optimizers(lr, optimizer) + 0.1 * (log(wd) + 2) ** 2


def batch_sizes(lr: float, batch: int) -> float:
    """The best LR grows with the batch."""
    return (log(lr) + 3.5 - log(batch / 16)) ** 2 + 0.02 * log(batch)


def bowl_of_three(lr: float, wd: float, dropout: float) -> float:
    return (log(lr) + 2.7) ** 2 + 0.3 * (log(wd) + 4) ** 2 + (dropout - 0.2) ** 2


def valley_of_three(lr: float, wd: float, width: int) -> float:
    """A narrow valley across all axes."""
    across = (log(lr) + 0.5 * log(wd) + 0.5 * log(width)) ** 2
    return across + 0.1 * (log(wd) + 4) ** 2 + 0.1 * (log(width) - 2) ** 2


SURFACES = (
    Surface("bowl", (LR, WD), lambda lr, wd: (log(lr) + 2.7) ** 2 + 0.3 * (log(wd) + 4) ** 2),
    Surface("valley", (LR, WD), lambda lr, wd: (log(lr) + 0.7 * log(wd) + 5) ** 2 + 0.1 * (log(wd) + 3) ** 2),
    Surface("cliff", (LR, WD), cliff),
    Surface("saturating", (LR, DROPOUT), saturating),
    Surface("one axis only", (LR, DROPOUT), lambda lr, dropout: (log(lr) + 3.4) ** 2, 0.1),
    Surface("asymmetric", (LR, WIDTH), lambda lr, width: _steep(log(lr) + 2 + 0.5 * log(width / 64)), 0.05),
    Surface("optimizers", (LR, OPTIMIZER), of_optimizers),
    Surface("batch sizes", (LR, BATCH), batch_sizes, 0.05),
    Surface("flag", (LR, FLAG), lambda lr, flag: (log(lr) + (2 if flag else 1.6)) ** 2 + (0.0 if flag else 0.05)),
    Surface("bowl of three", (LR, WD, DROPOUT), bowl_of_three),
    Surface("valley of three", (LR, WD, WIDTH), valley_of_three),
    Surface("optimizers and decay", (LR, OPTIMIZER, WD), of_optimizers_and_decay),
)


def _steep(x: float) -> float:
    """Gentle below the minimum, steep above it."""
    return x**2 * (4.0 if x > 0 else 0.5)


def counts(surface: Surface) -> tuple[int, int]:
    return (15, 30) if len(surface.axes) == 2 else (20, 40)


def seen(surface: Surface, point: Point, draw: random.Random) -> float:
    return surface.score(*point) + draw.gauss(0.0, surface.noise)


Said = Iterator[Point | None]


def ours(surface: Surface, seed: int) -> Said:
    """The sweeper's rule with its defaults."""
    draw, most = random.Random(seed), counts(surface)[-1]
    how = SearchSettings(surface.axes, budget=most, seed=seed)
    trials: list[Trial] = []
    plan = next_round(how, trials)
    while not plan.done:
        for point in plan.points:
            trials.append(Trial(point, seen(surface, point, draw), plan.round))
            if len(trials) in counts(surface) and point != plan.points[-1]:
                yield next_round(how, trials).best
        plan = next_round(how, trials)
        if len(trials) in counts(surface) and not plan.done:
            yield plan.best
    yield plan.best


def tpe(surface: Surface, seed: int) -> Said:
    """Optuna's TPE with its defaults; a diverged trial has a bad score, as Optuna asks for."""
    draw = random.Random(seed)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for count in range(1, counts(surface)[-1] + 1):
        one = study.ask()
        value = seen(surface, tuple(_suggest(one, axis) for axis in surface.axes), draw)
        study.tell(one, value if math.isfinite(value) else 1e3)
        if count in counts(surface):
            best = study.best_trial.params
            yield tuple(best[axis.name] for axis in surface.axes)


def at_random(surface: Surface, seed: int) -> Said:
    """Points evenly at random, each axis on its scale."""
    draw, tried = random.Random(seed), []
    for count in range(1, counts(surface)[-1] + 1):
        point = tuple(axis.value(draw.random()) for axis in surface.axes)
        value = seen(surface, point, draw)
        tried.append((value if math.isfinite(value) else math.inf, count, point))
        if count in counts(surface):
            yield min(tried)[-1]


def _suggest(one: optuna.Trial, axis: Axis) -> Any:
    if axis.choices:
        return one.suggest_categorical(axis.name, axis.choices)
    log_scale = axis.scale == "log"
    if axis.integer:
        return one.suggest_int(axis.name, int(axis.low), int(axis.high), log=log_scale)
    return one.suggest_float(axis.name, axis.low, axis.high, log=log_scale)


METHODS: dict[str, Callable[[Surface, int], Said]] = {
    "lr_coarse_to_fine": ours, "Optuna TPE": tpe, "random": at_random
}  # fmt: skip


def least(surface: Surface) -> float:
    """The lowest score, from many points: the surfaces are smooth."""
    draw = random.Random(0)
    points = [tuple(axis.value(draw.random()) for axis in surface.axes) for _ in range(100_000)]
    return min(value for point in points if math.isfinite(value := surface.score(*point)))


def regret(surface: Surface, point: Point | None, best: float) -> float:
    value = math.nan if point is None else surface.score(*point)
    return max(value - best, 0.0) if math.isfinite(value) else 10.0


def study(surface: Surface, seeds: Sequence[int]) -> dict[str, Any]:
    """Regrets of every method by the number of trials, one a seed."""
    best, found = least(surface), {}
    for name, method in METHODS.items():
        told: dict[str, list[float]] = {str(count): [] for count in counts(surface)}
        for seed in seeds:
            said = list(method(surface, seed))
            for at, count in enumerate(counts(surface)):
                told[str(count)].append(regret(surface, said[min(at, len(said) - 1)], best))
        found[name] = told
    return {"surface": surface.name, "axes": len(surface.axes), "methods": found}


def row(result: dict[str, Any]) -> str:
    """One line a surface: medians at both counts, and the share of seeds in which ours is better than TPE."""
    cells = [f"{result['surface']:22}"]
    for count in result["methods"]["random"]:
        values = {name: told[count] for name, told in result["methods"].items()}
        mine, other = values["lr_coarse_to_fine"], values["Optuna TPE"]
        wins = sum(a < b for a, b in zip(mine, other, strict=True)) / len(mine)
        cells.append(f"{count:>3}: " + " ".join(f"{median(v):7.4f}" for v in values.values()) + f" {wins:5.0%}")
    return "   ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--surfaces", nargs="+", default=[s.name for s in SURFACES])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.captureWarnings(True)
    results = []
    print("trials: median regret of lr_coarse_to_fine, TPE, random; ours better than TPE")
    for surface in SURFACES:
        if surface.name in options.surfaces:
            results.append(study(surface, range(options.seeds)))
            print(row(results[-1]), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
