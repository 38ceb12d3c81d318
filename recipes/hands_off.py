"""No learning rate chosen by hand, beside a grid of chosen ones: what a range test and plateau decay reach together.

    python -m recipes.hands_off

A small CNN on the digits, 26 epochs. Hands off, `LRRangeTest()` finds the LR on the first batch and `PlateauDecay()`
lowers it; the same LR under a cosine stands beside it. The grid trains the same network with each chosen LR under a
cosine, which knows the run's end. Every arm has the same number of optimizer steps: hands off trains five epochs less,
which are the range test's steps.

With AdamW the LR found, 0.0093, lies where the grid is nearly best: a validation loss of 0.029, the grid's 0.023 to
0.027. With plain SGD it is 0.076, four to thirteen times too low: 0.055 against 0.035. In both the same LR under a
cosine is worse, 0.048 and 0.078: plateau decay stays high for longer. One seed: differences of a tenth are noise.
"""

from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import torch

from lr_lightning import LRFormula, LRRangeTest, PlateauDecay
from lr_lightning.cli.demo import DigitsCNN
from recipes._common import BLUE, GREEN, ORANGE, arguments, fit, save

COSINE = "base_lr * (1 + cos(pi * progress)) / 2"
OPTIMIZERS = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}
GRIDS = {"AdamW": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1], "SGD": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]}
COLORS = {"AdamW": GREEN, "SGD": ORANGE}
SWEEP = 5
"""Epochs that the range test's 100 steps are worth, 23 steps each, rounded up."""


class Watch(L.Callback):
    """Keeps the LR of every step and the validation losses with their steps."""

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.losses: list[tuple[int, float]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Take the LR that the step uses."""
        self.lrs.append(optimizer.param_groups[0]["lr"])

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the validation loss."""
        if not trainer.sanity_checking:
            self.losses.append((trainer.global_step, float(trainer.callback_metrics["val_loss"])))


def train(optimizer: str, lr: float, epochs: int, callbacks: list[L.Callback]) -> tuple[float, Watch]:
    """Final validation loss, and what was watched on the way."""
    watch = Watch()
    trainer = fit(DigitsCNN(lr=lr, optimizer=OPTIMIZERS[optimizer]), epochs, [*callbacks, watch])
    return float(trainer.callback_metrics["val_loss"]), watch


def compare(name: str, epochs: int, axis: Any) -> Watch:
    """One optimizer's grid, hands off, and the LR found under a cosine, drawn and printed; hands off's history."""
    grid, left = GRIDS[name], max(1, epochs - SWEEP)
    losses = [train(name, lr, epochs, [LRFormula(COSINE, interval="step")])[0] for lr in grid]
    test = LRRangeTest()
    ours, watch = train(name, 1e-3, left, [test, PlateauDecay()])
    result = test.result
    with_cosine, _ = train(name, result.suggestion, left, [LRFormula(COSINE, interval="step")])
    print(f"{name}, LR: loss  " + ", ".join(f"{lr:g}: {loss:.4f}" for lr, loss in zip(grid, losses, strict=True)))
    print(f"{name}: hands off, LR {result.suggestion:.2g}: {ours:.4f}; under a cosine: {with_cosine:.4f}")
    axis.loglog(grid, losses, "o-", color="0.4", label="a chosen LR, cosine")
    axis.axvspan(*result.interval, color=GREEN, alpha=0.12, label="the range test's interval")
    axis.plot(result.suggestion, ours, "*", color=GREEN, markersize=16, label="hands off")
    axis.plot(result.suggestion, with_cosine, "^", color=BLUE, label="the LR found, cosine")
    axis.set(xlabel="learning rate", ylabel=f"validation loss after {epochs} epochs", title=name)
    axis.legend(fontsize=8)
    return watch


def main() -> None:
    """Train every arm, print the losses, draw a picture."""
    options = arguments(__doc__, epochs=26)
    figure, axes = plt.subplots(1, 3, figsize=(15, 4))
    for axis, name in zip(axes, GRIDS, strict=False):
        watch = compare(name, options.epochs, axis)
        steps, losses = zip(*watch.losses, strict=True)
        axes[2].plot(steps, losses, color=COLORS[name], label=f"{name}: validation loss")
        axes[2].plot(watch.lrs, "--", color=COLORS[name], linewidth=1, label=f"{name}: LR")
    axes[2].set(xlabel="step after the range test", title="Hands off", yscale="log")
    axes[2].legend(fontsize=8)
    save(figure, options.save, "hands_off")


if __name__ == "__main__":
    main()
