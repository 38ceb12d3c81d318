"""The classic range-test picture, what every tool would suggest on the curve, and what each suggestion trains to.

    python -m recipes.range_test

One sweep on the digits with SGD and momentum; the rules of this package and of its peers read the same losses. Then one
network a suggestion trains from the same weights on the same batches, at constant LR.

Over these four epochs the validation loss falls up to the border of the diverging zone: Lightning's rule ends at 0.90,
our `share` at 0.085, fastai's `minimum`, the boldest, at 0.059. The boldest is not the best on every task: how the
rules fare on tasks that none of them was chosen on is in README, "How good is the suggestion?".
"""

import functools
import math

import lightning as L
import matplotlib.pyplot as plt
import torch

from lr_lightning import LRRangeTest
from lr_lightning.cli.demo import DigitsCNN
from recipes._common import GREEN, ORANGE, arguments, fit, save, train

ZONES = {"flat": "0.6", "descending": GREEN, "diverging": ORANGE}
SGD = functools.partial(torch.optim.SGD, momentum=0.9)


def joined(named: list[tuple[float, str]], apart: float = 0.16) -> list[tuple[float, str]]:
    """One label for rules whose LRs are less than some decades apart, at the first of them."""
    labels: list[tuple[float, str]] = []
    for lr, name in named:
        if labels and math.log10(lr / labels[-1][0]) < apart:
            labels[-1] = (labels[-1][0], f"{labels[-1][1]}, {name}")
        else:
            labels.append((lr, name))
    return labels


def main() -> None:
    """Sweep, read with every rule, train at every suggestion, print a table, draw a picture."""
    options = arguments(__doc__, epochs=4)
    L.seed_everything(0, verbose=False)
    test = LRRangeTest(apply=False)
    fit(DigitsCNN(optimizer=SGD), 1, [test], limit_train_batches=1)
    result = test.result
    print(f"{result.reason}\n\n{'rule':22} {'LR':>9} {'val loss':>9} {'val accuracy':>13}")

    figure, axes = plt.subplots(figsize=(9, 4.5))
    axes.semilogx(result.lrs, result.losses, ".", color="0.6", markersize=3, label="loss")
    axes.semilogx(result.lrs[: len(result.smoothed)], result.smoothed, color="0.15", label="smoothed")
    for zone, color in ZONES.items():
        if bounds := getattr(result.zones, zone):
            axes.axvspan(*bounds, color=color, alpha=0.12, label=f"{zone} zone")
    trained: dict[float, tuple[float, float]] = {}
    named: list[tuple[float, str]] = []
    for rule, lr in sorted(result.suggestions().items(), key=lambda item: item[1] or 0.0):
        if lr is None:
            print(f"{rule:22} {'none':>9}")
            continue
        val_loss, accuracy = trained.setdefault(lr, train(lr, options.epochs, SGD)[1:])
        own = rule == result.rule
        style = {"color": GREEN, "linewidth": 2} if own else {"color": "0.5", "linewidth": 0.6, "linestyle": ":"}
        axes.axvline(lr, **style)
        named.append((lr, rule))
        print(f"{rule:22} {lr:9.2e} {val_loss:9.4f} {accuracy:13.3f}{'  <- suggestion' if own else ''}")
    for lr, names in joined(named):
        axes.text(lr, 0.98, names, rotation=90, fontsize=7, transform=axes.get_xaxis_transform(), ha="right", va="top")
    axes.set(xlabel="learning rate", ylabel="training loss", ylim=(0, 2 * max(result.losses[:10])))
    axes.legend(fontsize=8, loc="upper left")
    save(figure, options.save, "range_test")


if __name__ == "__main__":
    main()
