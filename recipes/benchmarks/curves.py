"""Cost of LRCurves per training step beside LearningRateMonitor's, both against no callback.

python recipes/benchmarks/curves.py [--rounds 5] [--turns 60] [--log-every 50]

In one and the same fit the variants take turns, one logging interval each, in random order, with the event file
flushed at the end of each turn: the machine's mood hits all alike. A round's cost is the median over its turns of the
difference to the same turn's interval without a callback; printed is the median over rounds with their range, in µs of
CPU time a step (all threads: the event writer's too). A step is Lightning's whole batch path.

The last column is the time inside of the callback's own hooks alone, in µs a step: a logging interval of them called
directly, the fastest of all turns. It leaves out what Lightning spends on any callback (and the writer's thread), and
holds on a busy machine.
"""

import argparse
import logging
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRCurves

BARE = "no callback"
VARIANTS: dict[str, Callable[[], list[Callback]]] = {
    BARE: list,
    "LearningRateMonitor()": lambda: [LearningRateMonitor()],
    "LRCurves()": lambda: [LRCurves(hparams=False)],
    "LRCurves(loss=False)": lambda: [LRCurves(loss=False, hparams=False)],
    "LRCurves(grad_norm=True)": lambda: [LRCurves(grad_norm=True, hparams=False)],
    "LRCurves(every_n_steps=1)": lambda: [LRCurves(every_n_steps=1, hparams=False)],
}


class Net(L.LightningModule):
    """A net so small that the callbacks show."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))

    def training_step(self, batch, index):
        """One loss."""
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layers(inputs), targets)

    def configure_optimizers(self):
        """SGD under a schedule that changes the LR at every step."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class TakeTurns(Callback):
    """Gives each logging interval to one variant and notes its CPU seconds a step."""

    def __init__(self, variants: dict[str, list[Callback]]) -> None:
        self.variants = variants
        self.turns: list[dict[str, float]] = []
        self.queue: list[str] = []
        self.name, self.started = "", 0.0
        self.hooks: dict[str, float] = dict.fromkeys(variants, float("inf"))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """At the end of an interval, hand over."""
        if batch_idx % trainer.log_every_n_steps:
            return
        trainer.logger.experiment.flush()
        now = time.process_time()
        if self.name:
            self.turns[-1][self.name] = (now - self.started) / trainer.log_every_n_steps
        if not self.queue:
            self.queue = random.sample(list(self.variants), len(self.variants))
            self.turns.append({})
        self.name = self.queue.pop()
        self._time_hooks(trainer, pl_module)
        trainer.callbacks = [self, *self.variants[self.name]]
        self.started = time.process_time()

    def _time_hooks(self, trainer, pl_module):
        loop, optimizer = trainer.fit_loop.epoch_loop, trainer.optimizers[0]
        group, every, loss = optimizer.param_groups[0], trainer.log_every_n_steps, torch.ones(())
        lr, step = group["lr"], loop._batches_that_stepped
        for index in range(every):
            loop._batches_that_stepped, group["lr"], outputs = step + index, lr + index * 1e-6, {"loss": loss.clone()}
            started = time.perf_counter()
            for callback in self.variants[self.name]:
                callback.on_train_batch_start(trainer, pl_module, None, 0)
                callback.on_before_optimizer_step(trainer, pl_module, optimizer)
                callback.on_train_batch_end(trainer, pl_module, outputs, None, 0)
            self.spent = (self.spent if index else 0.0) + time.perf_counter() - started
        self.hooks[self.name] = min(self.hooks[self.name], self.spent / every)
        loop._batches_that_stepped, group["lr"] = step, lr


def measure(turns: int, log_every: int) -> tuple[list[dict[str, float]], dict[str, float]]:
    """CPU seconds a step of each variant by turn, without the first turns, and the hooks' own seconds."""
    variants = {name: make() for name, make in VARIANTS.items()}
    steps = (turns + 4) * len(variants) * log_every
    data = TensorDataset(torch.randn(8 * steps, 8), torch.randn(8 * steps, 1))
    clock = TakeTurns(variants)
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            log_every_n_steps=log_every,
            callbacks=[clock, *(callback for own in variants.values() for callback in own)],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(Net(), DataLoader(data, batch_size=8))
    return [turn for turn in clock.turns[3:] if len(turn) == len(variants)], clock.hooks


def main() -> None:
    """Print one line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--log-every", type=int, default=50)
    given = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    measured = [measure(given.turns, given.log_every) for _ in range(given.rounds)]
    rounds = [turns for turns, _ in measured]
    base = statistics.median(turn[BARE] for turns in rounds for turn in turns)
    print(f"bare step: {base * 1e6:.0f} µs; {given.rounds} rounds of {given.turns} turns of {given.log_every} steps")
    for name in VARIANTS:
        costs = [1e6 * statistics.median(turn[name] - turn[BARE] for turn in turns) for turns in rounds]
        cost, ratio = statistics.median(costs), 1 + statistics.median(costs) / (base * 1e6)
        hooks = 1e6 * min(own[name] for _, own in measured)
        spread = f"[{min(costs):+.1f} … {max(costs):+.1f}]"
        print(f"{name:27s} {ratio:6.3f} × bare  {cost:+7.1f} µs a step  {spread:20s}  hooks {hooks:6.2f} µs")


if __name__ == "__main__":
    main()
