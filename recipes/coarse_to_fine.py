"""Where to try learning rates: at random on a linear scale, at random on a log scale, or from coarse to fine.

    python -m recipes.coarse_to_fine

A small network on the digits, 15 trials of three epochs a search, range 1e-6 to 1, eight searches a method. After
every trial each method names an LR: random search its best trial, coarse to fine the minimum of its surrogate. What
that LR is worth is looked up on the mean loss of four other seeds. The numbers are that loss over the best one:
medians, 1 is perfect.

With AdamW the best LR is near 0.01, and a linear scale puts 99 % of its trials above it: 1.38 after 15 trials, 12
(nothing learnt) in its worst search; log scale 1.13, coarse to fine 1.09. With SGD the best LR is near 0.1, in the
range's last decade, which a linear scale likes: of five trials it makes the most (1.22), and stays there (1.24).
Coarse to fine spends two of its first five trials on the borders: last after five (3.11), first from ten on (1.01,
log scale 1.06). What it buys is reliability: at the end its worst search is at 1.15, that of random search on a log
scale at 1.40.
"""

import functools
import math
import random
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from lr_lightning.cli.demo import DigitsData
from lr_lightning.rules.range_test.ladder import ladder, log_uniform
from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round
from recipes._common import BLUE, GREEN, RED, arguments, save

LOW, HIGH, BUDGET = 1e-6, 1.0, 15
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "AdamW": functools.partial(torch.optim.AdamW, fused=True),
    "SGD with momentum": functools.partial(torch.optim.SGD, momentum=0.9, fused=True),
}
Optimizer = Callable[..., torch.optim.Optimizer]
Score = Callable[[float], float]
Pairs = list[tuple[float, float]]


class Digits:
    """The digits as flat tensors, and a training run on them."""

    def __init__(self, epochs: int) -> None:
        data = DigitsData()
        data.setup()
        self.epochs = epochs
        (self.x, self.y), (self.x_val, self.y_val) = data.train.tensors, data.val.tensors

    def score(self, optimizer: Optimizer, seed: int, lr: float) -> float:
        """Validation loss of a small network after some epochs at a constant LR; at most that of knowing nothing."""
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        moves = optimizer(net.parameters(), lr=lr)
        for _ in range(self.epochs):
            for pick in torch.randperm(len(self.x)).split(64):
                moves.zero_grad()
                nn.functional.cross_entropy(net(self.x[pick]), self.y[pick]).backward()
                moves.step()
        with torch.no_grad():
            loss = float(nn.functional.cross_entropy(net(self.x_val), self.y_val))
        return min(loss, math.log(10)) if math.isfinite(loss) else math.log(10)


def at_random(lrs: list[float], score: Score) -> tuple[Pairs, list[float]]:
    """Try the LRs in order; the trials, and the LR of the best one so far after each."""
    trials: Pairs = []
    said = []
    for lr in lrs:
        trials.append((lr, score(lr)))
        said.append(min(trials, key=lambda one: one[1])[0])
    return trials, said


def linear(seed: int, score: Score) -> tuple[Pairs, list[float]]:
    """Uniform in the LR."""
    draw = random.Random(seed)
    return at_random([draw.uniform(LOW, HIGH) for _ in range(BUDGET)], score)


def log(seed: int, score: Score) -> tuple[Pairs, list[float]]:
    """Uniform in the LR's logarithm."""
    return at_random(list(log_uniform(LOW, HIGH, BUDGET, seed)), score)


def coarse_to_fine(seed: int, score: Score) -> tuple[Pairs, list[float]]:
    """Rounds of five, each where the trials so far leave the best LR; a surrogate says which LR that is."""
    settings = SearchSettings((Axis("lr", LOW, HIGH, widen=False),), budget=BUDGET, tolerance=0.01, seed=seed)
    trials: list[Trial] = []
    said = []
    while not (plan := next_round(settings, trials)).done:
        for (lr,) in plan.points:
            trials.append(Trial((lr,), score(float(lr)), plan.round))
            best = next_round(settings, trials).best
            said.append(float(best[0]) if best is not None else float(lr))
    said += said[-1:] * (BUDGET - len(said))  # done before the budget was spent
    return [(float(t.values[0]), float(t.score or 0.0)) for t in trials], said


METHODS = {"random, linear scale": linear, "random, log scale": log, "coarse to fine": coarse_to_fine}
COLORS = {"random, linear scale": RED, "random, log scale": BLUE, "coarse to fine": GREEN}


def truth(digits: Digits, optimizer: Optimizer, points: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """LRs and the mean loss at each, over seeds that no search has seen."""
    lrs = ladder(LOW, HIGH, points)
    losses = [np.mean([digits.score(optimizer, 1000 + seed, lr) for seed in range(seeds)]) for lr in lrs]
    return np.array(lrs), np.array(losses)


def draw_search(axes: Any, lrs: np.ndarray, losses: np.ndarray, tried: dict[str, Pairs], title: str) -> None:
    """The true curve, and one search's trials of each method below it."""
    axes.semilogx(lrs, losses, color="0.4", label="loss at each LR (mean)")
    for row, (name, trials) in enumerate(tried.items(), 1):
        style = {"color": COLORS[name], "markersize": 11, "label": f"trials: {name}"}
        axes.plot([lr for lr, _ in trials], [-0.22 * row] * len(trials), "|", **style)
    axes.set(xlabel="learning rate", ylabel="validation loss", title=f"{title}: where one search tried")
    axes.set(ylim=(-0.85, 2.5), yticks=[0, 0.5, 1, 1.5, 2, 2.5])
    axes.legend(fontsize=8, loc="center left")


def draw_regret(axes: Any, regrets: dict[str, np.ndarray], title: str) -> None:
    """Median and quartiles over searches, by trials spent."""
    spent = range(1, BUDGET + 1)
    for name, values in regrets.items():
        axes.plot(spent, np.median(values, 0), color=COLORS[name], label=name)
        axes.fill_between(spent, *np.quantile(values, [0.25, 0.75], 0), color=COLORS[name], alpha=0.15, linewidth=0)
    axes.set(xlabel="trials spent", ylabel="loss at the LR named / best loss", title=f"{title}: what that was worth")
    axes.set_yscale("log")
    axes.set_yticks([1, 1.5, 2, 3, 5, 10], labels=["1", "1.5", "2", "3", "5", "10"])
    axes.set_yticks([], minor=True)
    axes.legend(fontsize=8, title="median and quartiles", title_fontsize=8)


def table(regrets: dict[str, np.ndarray], title: str) -> None:
    """What each method's answer was worth after a third, two thirds and all of the budget, and in its worst search."""
    third = BUDGET // 3
    print(
        f"{title:22} {f'{third} trials':>10} {f'{2 * third} trials':>10} {f'{BUDGET} trials':>10} {'worst at end':>13}"
    )
    for name, values in regrets.items():
        middle = np.median(values, 0)[[third - 1, 2 * third - 1, BUDGET - 1]]
        print(f"  {name:20}" + "".join(f" {value:10.2f}" for value in middle) + f" {values[:, -1].max():13.2f}")


def main() -> None:
    """Measure the true curve, search with every method and seed, print tables, draw a picture."""
    options = arguments(__doc__, epochs=3, seeds=8)
    torch.set_num_threads(1)
    digits = Digits(options.epochs)
    print("loss at the LR that a search names / loss at the best LR, median over searches")
    figure, grid = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for (title, optimizer), (left, right) in zip(OPTIMIZERS.items(), grid, strict=True):
        lrs, losses = truth(digits, optimizer, points=25 if options.seeds > 1 else 13, seeds=(options.seeds + 1) // 2)
        tried: dict[str, Pairs] = {}
        regrets: dict[str, np.ndarray] = {}
        for name, method in METHODS.items():
            found = [method(seed, functools.partial(digits.score, optimizer, seed)) for seed in range(options.seeds)]
            tried[name] = found[0][0]
            named = np.array([said for _, said in found])
            regrets[name] = np.interp(np.log(named), np.log(lrs), losses) / losses.min()
        table(regrets, title)
        draw_search(left, lrs, losses, tried, title)
        draw_regret(right, regrets, title)
    save(figure, options.save, "coarse_to_fine")


if __name__ == "__main__":
    main()
