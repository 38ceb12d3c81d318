"""Fine-tuning: a range test after unfreezing, and one LR a layer group against one LR for all and a frozen body.

    python -m recipes.fine_tuning

A small CNN learns the digits 0 to 4, at the LR that a range test finds; then it learns 5 to 9 from 5 or 20 images a
class. Either only a new head (the body stays frozen), or all layers from the start, or the head first and the body
from a third of the run on, with one LR for all or with less for earlier layers (1 : 0.3 : 0.1). Every arm runs a
range test at its start; where "test again" is said, another after the thaw: it sweeps all groups at one multiplier,
so their ratio stays. `LRFormula` gives the head a cosine, and the thawed layers the same cosine behind a rise of
three epochs.

Mean error of five repetitions on images that were never seen. With 5 images a class: from scratch 0.152, frozen body
0.138, all layers at once 0.134 (one LR) and 0.136 (stepped), thawed later at the head's LR 0.135, tested again 0.148,
stepped and tested again 0.145, tested again on the validation loss (`evaluate="val"`) 0.165. With 20 images a class
0.048 to 0.053 without a second test; with it 0.212, stepped 0.439, on the validation loss 0.062: in some repetitions
the LR that it names ruins the network (errors up to 0.8).

The picture says why: after some epochs of the head the training loss on 100 images is near 0.002; the sweep has little
left to descend but learning its own eight batches by heart, and names 0.07 to 0.18. Look at the curve before you trust
a test after a thaw. Keeping the head's LR is never bad. Stepped LRs bring nothing measurable here. Differences below
0.01 are within the repetitions' spread: five of them don't rank the rest.
"""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import torch
from lightning.pytorch.callbacks import BaseFinetuning
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRFormula, LRRangeTest, RangeTestResult
from lr_lightning.cli.demo import DigitsData
from recipes._common import BLUE, GREEN, ORANGE, PURPLE, RED, arguments, fit, save

SHOTS, TUNE = (5, 20), 100  # labelled images a class; images to validate on in training, the rest is for the report
THAW = 0.3  # share of the run after which a frozen body thaws
COSINE = "base_lr * (1 + cos(pi * progress)) / 2"
RISE = "min(1, (epoch - thaw + 1) / 3) * " + COSINE  # for layers that join later: up in three epochs


@dataclass(frozen=True)
class Arm:
    """A way to fine-tune.

    Attributes:
        ratios: LRs of the body's two groups over the head's; None keeps the body frozen.
        thaw: Share of the run after which the body joins.
        again: Whether a range test runs after the thaw; with ``thaw=0`` the only one does.
        evaluate: Which loss the range tests read.
        pretrained: Whether the body is.
    """

    ratios: tuple[float, float] | None
    thaw: float = 0.0
    again: bool = False
    evaluate: str = "train"
    pretrained: bool = True


ONE, STEPPED = (1.0, 1.0), (0.3, 0.1)
ARMS = {
    "from scratch": Arm(ONE, pretrained=False),
    "frozen body": Arm(None),
    "all layers, one LR": Arm(ONE),
    "all layers, 1 : 0.3 : 0.1": Arm(STEPPED),
    "thaw later, head's LR": Arm(ONE, THAW),
    "thaw later, test again": Arm(ONE, THAW, again=True),
    "thaw later, 1 : 0.3 : 0.1, test again": Arm(STEPPED, THAW, again=True),
    "thaw later, test again on val loss": Arm(ONE, THAW, again=True, evaluate="val"),
}
Pair = tuple[Tensor, Tensor]


class Net(L.LightningModule):
    """Two convolutions and a head; only what isn't frozen goes into the optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.late = nn.Sequential(
            nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(512, 5)

    def logits(self, images: Tensor) -> Tensor:
        """Scores of the five classes."""
        return self.head(self.late(self.early(images)))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch."""
        return nn.functional.cross_entropy(self.logits(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss is returned for ``LRRangeTest(evaluate="val")``."""
        loss = self.training_step(batch, batch_idx)
        self.log("val_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One named group; the thaw adds the others."""
        params = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.SGD([{"params": params, "name": "head"}], lr=1e-3, momentum=0.9)


class Thaw(BaseFinetuning):
    """Freezes the body, and from an epoch on trains it as two groups with LRs in a ratio to the head's."""

    def __init__(self, epoch: int, ratios: tuple[float, float] | None) -> None:
        super().__init__()
        self.epoch, self.ratios = epoch, ratios

    def freeze_before_training(self, pl_module: L.LightningModule) -> None:
        """Only the head trains."""
        self.freeze([pl_module.early, pl_module.late], train_bn=False)

    def finetune_function(self, pl_module: L.LightningModule, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Add the body's groups; LRFormula and LRRangeTest take them up at the next batch."""
        if epoch == self.epoch and self.ratios:
            head = optimizer.param_groups[0]
            for name, ratio in zip(("late", "early"), self.ratios, strict=True):
                part = getattr(pl_module, name)
                self.make_trainable(part)
                lr = ratio * head.get("base_lr", head["lr"])
                optimizer.add_param_group({"params": list(part.parameters()), "lr": lr, "name": name})


def digits() -> tuple[Pair, Pair]:
    """The digits 0 to 4, and 5 to 9."""
    data = DigitsData()
    data.setup()
    x, y = (torch.cat(parts) for parts in zip(data.train.tensors, data.val.tensors, strict=True))
    return (x[y < 5], y[y < 5]), (x[y >= 5], y[y >= 5] - 5)


def loaders(data: Pair, count: int, batch: int, seed: int) -> tuple[DataLoader[Any], DataLoader[Any], Pair]:
    """``count`` images to train on, some to validate on, and the rest."""
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed))
    parts = [tuple(t[p] for t in data) for p in order.split([count, TUNE, len(order) - count - TUNE])]
    train = DataLoader(TensorDataset(*parts[0]), batch, shuffle=True, drop_last=True)
    return train, DataLoader(TensorDataset(*parts[1]), TUNE), parts[2]


def error(net: Net, data: Pair) -> float:
    """Share of images that are classified wrongly."""
    net.eval()
    with torch.no_grad():
        return float((net.logits(data[0]).argmax(1) != data[1]).float().mean())


def pretrain(data: Pair) -> Net:
    """Train on the digits 0 to 4, at the LR that a range test finds."""
    L.seed_everything(0, verbose=False)
    net, (train, val, rest) = Net(), loaders(data, 700, 64, 0)
    test = LRRangeTest()
    fit(net, 5, [test, LRFormula(COSINE, interval="step")], 0, (train, val))
    print(f"pretrained on digits 0 to 4 at LR {test.result.suggestion:.2g}: error {error(net, rest):.3f}")
    return net


@dataclass(frozen=True)
class Outcome:
    """One fine-tuning: its error on images that it never saw, its range tests, each group's LR by step."""

    error: float
    tests: list[RangeTestResult]
    lrs: dict[str, list[float]]


def fine_tune(arm: Arm, start: Net, data: Pair, shots: int, epochs: int, seed: int) -> Outcome:
    """Train an arm on a few images a class."""
    train, val, rest = loaders(data, 5 * shots, 10, seed)
    L.seed_everything(seed, verbose=False)
    net = Net()
    if arm.pretrained:
        net.early.load_state_dict(start.early.state_dict())
        net.late.load_state_dict(start.late.state_dict())
    thaw = round(arm.thaw * epochs)
    test = LRRangeTest(at_epochs=sorted({0, thaw}) if arm.again else [0], evaluate=arm.evaluate)
    groups = {"late": RISE, "early": RISE} if thaw else {}
    formula = LRFormula(COSINE, groups=groups, interval="step", **({"thaw": thaw} if groups else {}))
    watch = Watch()
    fit(net, epochs, [test, Thaw(thaw, arm.ratios), formula, watch], seed, (train, val), check_val_every_n_epoch=epochs)
    return Outcome(error(net, rest), test.results, watch.lrs)


class Watch(L.Callback):
    """Keeps each group's LR by step."""

    def __init__(self) -> None:
        self.lrs: dict[str, list[float]] = {"head": [], "late": [], "early": []}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Take the LRs that the step uses."""
        now = {group["name"]: group["lr"] for group in optimizer.param_groups}
        for name, lrs in self.lrs.items():
            lrs.append(now.get(name, float("nan")))


Table = dict[tuple[str, int], list[Outcome]]


def measure(epochs: int, seeds: int) -> Table:
    """Fine-tune every way with few and with more images; print a table."""
    old, new = digits()
    start = pretrain(old)
    print("fine-tuned on 5 to 9: mean error of other images; LRs found in the first repetition (start; after the thaw)")
    print(f"{'':38}" + "".join(f"{f'{shots} images a class':>20}{'':18}" for shots in SHOTS))
    table: Table = {}
    for name, arm in ARMS.items():
        line = f"{name:38}"
        for shots in SHOTS:
            runs = [fine_tune(arm, start, new, shots, epochs, seed) for seed in range(seeds)]
            table[name, shots] = runs
            found = "; ".join(f"{test.suggestion:.2g}" if test.ok else test.status for test in runs[0].tests)
            line += f"{fmean(run.error for run in runs):12.3f}   {found:23}"
        print(line)
    return table


def draw_lrs(axes: Any, run: Outcome, title: str) -> None:
    """Each group's LR."""
    for name, color in (("head", RED), ("late", ORANGE), ("early", BLUE)):
        axes.semilogy(run.lrs[name], color=color, label=name)
    axes.set(xlabel="step", ylabel="learning rate", title=title)
    axes.legend(fontsize=8)


def draw_tests(axes: Any, table: Table, name: str) -> None:
    """The second range test, with few and with more images."""
    for shots, color in zip(SHOTS, (PURPLE, GREEN), strict=True):
        test = table[name, shots][0].tests[-1]
        axes.loglog(test.lrs, test.losses, ".", color=color, markersize=3, alpha=0.5)
        axes.loglog(test.lrs[: len(test.smoothed)], test.smoothed, color=color, label=f"{shots} images a class")
        if test.ok:
            axes.axvline(test.suggestion, color=color, linestyle="--", label=f"suggestion: {test.suggestion:.2g}")
    axes.set(
        xlabel="learning rate of the head", ylabel="training loss", title="range test after the thaw", ylim=(1e-3, 5)
    )
    axes.legend(fontsize=8)


def draw_errors(axes: Any, table: Table) -> None:
    """Mean error of each arm, and each repetition."""
    names = list(ARMS)[::-1]
    for shots, color, shift in zip(SHOTS, (PURPLE, GREEN), (0.12, -0.12), strict=True):
        for row, name in enumerate(names):
            errors = [run.error for run in table[name, shots]]
            axes.plot(errors, [row + shift] * len(errors), ".", color=color, alpha=0.4)
            axes.plot(fmean(errors), row + shift, "D", color=color, markersize=5)
        axes.plot([], [], "D", color=color, label=f"{shots} images a class")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    most = max(run.error for runs in table.values() for run in runs)
    axes.set(xlabel="error on other images: mean (diamonds), each repetition (dots)", xlim=(0, 1.5 * most))
    axes.set_title("fine-tuning on 5 to 9")
    axes.legend(fontsize=8, loc="center right")


def main() -> None:
    """Pretrain, fine-tune every way, print a table, draw a picture."""
    options = arguments(__doc__, epochs=16, seeds=5)
    torch.set_num_threads(1)
    table = measure(options.epochs, options.seeds)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(16, 4.5), layout="constrained")
    draw_lrs(left, table["thaw later, 1 : 0.3 : 0.1, test again", SHOTS[0]][0], "thaw later, 1 : 0.3 : 0.1, test again")
    draw_tests(middle, table, "thaw later, 1 : 0.3 : 0.1, test again")
    draw_errors(right, table)
    save(figure, options.save, "fine_tuning")


if __name__ == "__main__":
    main()
