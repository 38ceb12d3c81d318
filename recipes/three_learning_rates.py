"""Too low, right, too high: what the three look like in the loss curve, and what a range test says of them.

    python -m recipes.three_learning_rates

A range test on the digits (no training yet) finds the flat, the descending and the diverging zone. Then three networks
train from the same weights on the same batches: one with an LR from the flat zone (the loss hardly moves), one with the
suggestion, one from the diverging zone (the loss jumps up and stays high).
"""

import lightning as L
import matplotlib.pyplot as plt

from lr_lightning import LRRangeTest
from lr_lightning.cli.demo import DigitsCNN
from recipes._common import BLUE, GREEN, RED, arguments, fit, save, train

COLORS = {"too low": BLUE, "right": GREEN, "too high": RED}


def main() -> None:
    """Sweep, train three times, print a table, draw a picture."""
    options = arguments(__doc__, epochs=6)
    L.seed_everything(0, verbose=False)
    test = LRRangeTest(apply=False)
    fit(DigitsCNN(), 1, [test], limit_train_batches=1)
    result = test.result
    flat, diverging = result.zones.flat, result.zones.diverging
    chosen = {"too low": (flat[0] * flat[1]) ** 0.5, "right": result.suggestion, "too high": diverging[0] * 30}
    print(f"range test: {result.reason}")
    print(f"{'':10} {'LR':>9} {'last train loss':>16} {'val loss':>9} {'val accuracy':>13}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    left.semilogx(result.lrs, result.losses, color="0.7", label="loss of the sweep")
    left.semilogx(result.lrs[: len(result.smoothed)], result.smoothed, color="0.2", label="smoothed")
    for name, lr in chosen.items():
        losses, val_loss, accuracy = train(lr, options.epochs)
        print(f"{name:10} {lr:9.2e} {sum(losses[-10:]) / 10:16.4f} {val_loss:9.4f} {accuracy:13.3f}")
        left.axvline(lr, color=COLORS[name], linestyle="--", label=f"{name}: {lr:.1e}")
        right.plot(losses, color=COLORS[name], label=name, linewidth=1)
    top = 2 * max(result.losses[:10])
    left.set(xlabel="learning rate", ylabel="loss", title="LR range test", ylim=(0, top))
    right.set(xlabel="step", ylabel="training loss", title="Training at each", ylim=(0, top))
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    save(figure, options.save, "three_learning_rates")


if __name__ == "__main__":
    main()
