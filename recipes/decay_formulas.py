"""Every decay formula of the presets in one picture, and what each makes of the same training.

    python -m recipes.decay_formulas

A small network on the digits with jittered pixels, SGD with momentum, ten epochs. A range test gives the base LR
(0.33, as the peak of an LR that decays); then every preset trains at it and at a quarter to four times of it, four
seeds each. (`inverse_sqrt` is one of the two `inverse_sqrt_…`, as the interval is.)

What a decay is worth: at its best base LR the best formula, linear to zero, ends at a validation loss of 0.260, a
constant LR at 0.311. That is 16 %; everything else lies between, and the seeds (dots) of neighbours overlap: four
seeds don't rank linear, cosine, polynomial and the like. What differs is the base LR that a formula wants: exponential
and inverse_time, which fall early, the one found; inverse_sqrt_step and noam (whose peak is a quarter of its base LR)
twice as much; most others half of it; wsd, from_epoch, multistep and a constant LR, high for long, a quarter of it.
So the suggestion is twice too high for most of them on this task: at it two of the sixteen are at their own best, five
lose up to 8 %, seven 13 to 29 %, wsd and a constant LR more than 60 %.

So: change the formula, and the LR must be found anew; with `LRRangeTest` and `LRFormula` in one Trainer, look at the
shape's mean over the run before you take the suggestion for granted.
"""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lr_lightning import FormulaLR, range_test
from lr_lightning.cli.demo import DigitsData
from recipes._common import BLUE, GREEN, arguments, save

BATCH, JITTER = 64, 0.5
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
Settings = dict[str, Any]


def presets(epochs: int, batches: int) -> dict[str, Settings]:
    """Every preset with arguments that fit the run (those of long runs would hardly move); by step unless said."""
    steps = epochs * batches
    return {
        "constant": {"expression": "base_lr"},
        "inverse_time": {"decay_rate": 9 / steps},
        "exponential": {"gamma": 0.01 ** (1 / steps)},
        "inverse_sqrt_epoch": {"interval": "epoch"},
        "inverse_sqrt_step": {},
        "from_epoch": {"n": epochs // 2, "factor": 0.5, "interval": "epoch"},
        "step": {"step_size": max(steps // 4, 1), "gamma": 0.25},
        "multistep": {"milestones": [steps // 2, steps * 3 // 4], "gamma": 0.1},
        "linear": {},
        "polynomial": {"power": 2.0},
        "cosine": {},
        "cosine_restarts": {"t_0": -(-steps // 7), "t_mult": 2},  # three cycles: 1/7, 2/7 and 4/7 of the run
        "one_cycle": {},
        "triangular": {"up": max(steps // 8, 1), "cycle_gamma": 0.5, "low": 0.01},
        "wsd": {},
        "noam": {"d_model": 1, "warmup_steps": 16},  # its peak is a quarter of the base LR
    }


@dataclass(frozen=True)
class Digits:
    """The digits with jittered pixels, so that there is noise for a decay to average out."""

    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    loader: DataLoader[Any]

    def loss(self, net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy on a jittered batch."""
        x = batch[0] + JITTER * torch.randn_like(batch[0])
        return nn.functional.cross_entropy(net(x), batch[1])


def digits() -> Digits:
    """Load them."""
    data = DigitsData(BATCH)
    data.setup()
    return Digits(data.train.tensors, data.val.tensors, data.train_dataloader())


def fresh(lr: float, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network and SGD with momentum."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return net, torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, fused=True)


def train(data: Digits, name: str, settings: Settings, lr: float, epochs: int, seed: int) -> tuple[float, list[float]]:
    """Train with a formula; final validation loss (that of knowing nothing, 2.3, if it diverged), and the LRs."""
    net, optimizer = fresh(lr, seed)
    batches = len(data.train[0]) // BATCH
    formula = {"interval": "step", **({} if "expression" in settings else {"preset": name}), **settings}
    schedule = FormulaLR(optimizer, epochs=epochs, batches=batches, **formula)
    lrs = []
    for _ in range(epochs):
        for pick in torch.randperm(len(data.train[0]))[: batches * BATCH].split(BATCH):
            lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            data.loss(net, (data.train[0][pick], data.train[1][pick])).backward()
            optimizer.step()
            if formula["interval"] == "step":
                schedule.step()
        if formula["interval"] == "epoch":
            schedule.step()
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(net(data.val[0]), data.val[1]))
    return min(loss, 2.3) if loss == loss else 2.3, lrs


def find_lr(data: Digits) -> float:
    """The base LR of all: what a range test suggests for a run that decays its LR."""
    net, optimizer = fresh(1e-3, seed=0)
    result = range_test(net, optimizer, data.loss, data.loader)
    print(f"range test: LR {result.suggestion:.3g}; {result.reason}")
    assert result.suggestion is not None
    return result.suggestion


Table = dict[str, dict[float, list[float]]]


def measure(data: Digits, lr: float, epochs: int, seeds: int) -> tuple[Table, dict[str, list[float]]]:
    """Final losses by preset and multiple of the LR found, one a seed; and the LR curve of each."""
    losses: Table = {}
    curves = {}
    for name, settings in presets(epochs, len(data.train[0]) // BATCH).items():
        losses[name] = {}
        for multiple in MULTIPLES:
            runs = [train(data, name, settings, lr * multiple, epochs, seed) for seed in range(seeds)]
            losses[name][multiple] = [loss for loss, _ in runs]
            if multiple == 1:
                curves[name] = runs[0][1]
    return losses, curves


def show(losses: Table) -> None:
    """Mean final losses by multiple, the best preset first."""
    print(
        f"mean validation loss at multiples of that LR\n{'':20}" + "".join(f"{m:>8g}" for m in MULTIPLES) + "    best"
    )
    for name in order(losses):
        means = [fmean(losses[name][m]) for m in MULTIPLES]
        print(f"{name:20}" + "".join(f"{mean:8.3f}" for mean in means) + f"{min(means):8.3f}")


def order(losses: Table) -> list[str]:
    """Presets by their loss at their own best multiple."""
    return sorted(losses, key=lambda name: min(fmean(values) for values in losses[name].values()))


def draw(losses: Table, curves: dict[str, list[float]], lr: float) -> Any:
    """The shapes as small pictures, and beside them the losses."""
    figure = plt.figure(figsize=(14, 7.5), layout="constrained")
    shapes, results = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    grid = shapes.subplots(4, 4, sharex=True, sharey=True)
    for axes, (name, lrs) in zip(grid.flat, curves.items(), strict=True):
        axes.plot([value / lr for value in lrs], color=BLUE)
        axes.set_title(name, fontsize=9)
    shapes.supxlabel("step", fontsize=10)
    shapes.supylabel("LR / base LR", fontsize=10)
    axes = results.subplots()
    names = order(losses)[::-1]
    for row, name in enumerate(names):
        best = min(losses[name], key=lambda multiple, name=name: fmean(losses[name][multiple]))
        for multiple, color, shift in ((1.0, BLUE, 0.15), (best, GREEN, -0.15)):
            values = losses[name][multiple]
            axes.plot(values, [row + shift] * len(values), ".", color=color, alpha=0.4)
            axes.plot(fmean(values), row + shift, "D", color=color, markersize=5)
        axes.text(1.01, row, f"×{best:g}", fontsize=8, va="center", transform=axes.get_yaxis_transform())
    axes.plot([], [], "D", color=BLUE, label=f"at the LR found, {lr:.2g}")
    axes.plot([], [], "D", color=GREEN, label="at its own best multiple (right)")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set(xlabel="final validation loss: mean (diamonds), each seed (dots)")
    axes.legend(fontsize=8)
    return figure


def main() -> None:
    """Find the base LR, train with every preset, print the table, draw a picture."""
    options = arguments(__doc__, epochs=10, seeds=4)
    torch.set_num_threads(1)
    data = digits()
    lr = find_lr(data)
    losses, curves = measure(data, lr, options.epochs, options.seeds)
    show(losses)
    save(draw(losses, curves, lr), options.save, "decay_formulas")


if __name__ == "__main__":
    main()
