"""What each callback costs per training step, alone and all four together, beside Lightning's and torch's own tools.

    python -m recipes.benchmarks.callbacks_cost [--rounds 5] [--turns 16] [--log-every 50]

In one and the same fit the variants take turns, one logging interval each, in random order, with the event file
flushed at the end of each turn: the machine's mood hits all alike. A round's cost is the median over its turns of the
difference to the same turn's interval without a callback; printed is the median over rounds with their range, as ratio
to the bare step, in CPU time (all threads: the event writer's too). A step is Lightning's whole batch path, of a net so
small that the callbacks show. The range test is over when the turns begin: what is left of it is an idle callback.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRCurves, LRFormula, LRRangeTest, PlateauDecay
from lr_lightning.optim.param_groups import set_lr
from recipes.benchmarks.harness import bare_trainer, machine, print_table, quiet

BARE = "no callback, no scheduler"


@dataclass
class Variant:
    """What acts in a turn."""

    callbacks: list[Callback] = field(default_factory=list)
    scheduler: Callable[[torch.optim.Optimizer], LRSchedulerConfig] | None = None
    logs: bool = False  # whether training_step logs its loss
    config: list[LRSchedulerConfig] = field(default_factory=list)


def _lambda(optimizer: torch.optim.Optimizer) -> LRSchedulerConfig:
    return LRSchedulerConfig(LambdaLR(optimizer, lambda t: 1 / (1 + 1e-4 * t)), interval="step")


def _plateau(optimizer: torch.optim.Optimizer) -> LRSchedulerConfig:
    scheduler = ReduceLROnPlateau(optimizer, patience=10**9)
    return LRSchedulerConfig(scheduler, interval="step", monitor="loss", reduce_on_plateau=True)


def variants() -> dict[str, Variant]:
    """All that is compared. One LRFormula an optimizer is allowed, so the combinations share theirs."""
    test = LRRangeTest(num_steps=20, apply=False, progress_bar=False)
    formula = LRFormula("base_lr / (1 + 0.0001 * step)", interval="step")
    per_epoch = PlateauDecay("val_loss", verbose=False)
    per_step = PlateauDecay("train_loss", interval="step", verbose=False)
    curves = LRCurves(hparams=False)
    return {
        BARE: Variant(),
        "LearningRateMonitor(step)": Variant([LearningRateMonitor("step")]),
        "LambdaLR": Variant(scheduler=_lambda),
        "LambdaLR + LearningRateMonitor(step)": Variant([LearningRateMonitor("step")], _lambda),
        "self.log(loss) + ReduceLROnPlateau every step": Variant(scheduler=_plateau, logs=True),
        "LRRangeTest, done": Variant([test]),
        "LRFormula, per step": Variant([formula]),
        "PlateauDecay(val_loss)": Variant([per_epoch]),
        "PlateauDecay(train_loss, step)": Variant([per_step]),
        "LRCurves": Variant([curves]),
        "LRCurves(loss=False)": Variant([LRCurves(loss=False, hparams=False)]),
        "LRCurves(grad_norm=True)": Variant([LRCurves(grad_norm=True, hparams=False)]),
        "LRCurves(every_n_steps=1)": Variant([LRCurves(every_n_steps=1, hparams=False)]),
        "all four, formula per step": Variant([test, formula, per_epoch, curves]),
        "all four, formula and decay per step": Variant([test, formula, per_step, curves]),
    }


class Net(L.LightningModule):
    """A net so small that the callbacks show."""

    logs = False

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One loss."""
        loss = torch.nn.functional.mse_loss(self.layers(batch[0]), batch[1])
        if self.logs:
            self.log("loss", loss, logger=False)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class TakeTurns(Callback):
    """Gives each logging interval to one variant and notes its CPU seconds a step."""

    def __init__(self, chosen: dict[str, Variant]) -> None:
        self.variants = chosen
        self.turns: list[dict[str, float]] = []
        self.queue: list[str] = []
        self.name, self.started, self.lr = "", 0.0, 0.0

    def now(self) -> float:
        """Processor time."""
        return time.process_time()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Build the schedulers now: LRFormula refuses to stand beside one, and here they only take turns."""
        for variant in self.variants.values():
            if variant.scheduler:
                variant.config = [variant.scheduler(trainer.optimizers[0])]

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """At the end of an interval, hand over."""
        if batch_idx % trainer.log_every_n_steps:
            return
        trainer.logger.experiment.flush()
        now = self.now()
        if self.name:
            self.turns[-1][self.name] = (now - self.started) / trainer.log_every_n_steps
        group = trainer.optimizers[0].param_groups[0]
        if self.name and self.variants[self.name].scheduler:
            set_lr(group, self.lr)  # else a formula would notice in its next turn that another has set the LR
        self.lr = group["lr"]
        if not self.queue:
            self.queue = random.sample(list(self.variants), len(self.variants))
            self.turns.append({})
        self.name = self.queue.pop()
        variant = self.variants[self.name]
        trainer.callbacks = [*variant.callbacks, self]  # last: those that end their turn have had this hook
        trainer.strategy.lr_scheduler_configs = variant.config
        pl_module.logs = variant.logs
        self.started = self.now()


def measure(turns: int, log_every: int) -> list[dict[str, float]]:
    """CPU seconds a step of each variant by turn, without the first turns."""
    chosen = variants()
    steps = (turns + 4) * len(chosen) * log_every
    data = TensorDataset(torch.randn(8 * steps, 8), torch.randn(8 * steps, 1))
    clock = TakeTurns(chosen)
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder, default_hp_metric=False)
        each = {id(callback): callback for variant in chosen.values() for callback in variant.callbacks}
        callbacks = [*each.values(), clock]
        trainer = bare_trainer(callbacks, max_epochs=1, logger=logger, log_every_n_steps=log_every)
        trainer.fit(Net(), DataLoader(data, batch_size=8))
    return [turn for turn in clock.turns[3:] if len(turn) == len(chosen)]


def report(rounds: int = 5, turns: int = 16, log_every: int = 50) -> None:
    """One line a variant."""
    random.seed(0)
    measured = [measure(turns, log_every) for _ in range(rounds)]
    base = statistics.median(turn[BARE] for found in measured for turn in found)
    rows = []
    for name in variants():
        costs = [statistics.median(turn[name] - turn[BARE] for turn in found) for found in measured]
        ratios = [1 + cost / base for cost in costs]
        middle = statistics.median(costs) * 1e6
        rows.append((name, f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]", f"{middle:+.1f}"))
    title = f"CPU time over a bare step of {base * 1e6:.0f} µs; {rounds} rounds of {turns} turns of {log_every} steps"
    print_table(title, ("in the Trainer", "ratio", "µs"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=16)
    parser.add_argument("--log-every", type=int, default=50)
    given = parser.parse_args()
    quiet()
    print(machine())
    report(given.rounds, given.turns, given.log_every)


if __name__ == "__main__":
    main()
