"""What a range test costs over the optimizer steps it takes.

Compares a sweep of 100 steps (snapshot, second data iterator, 100 steps at rising LRs, losses read each 10 steps,
restore) with 100 bare steps of the same Lightning trainer, taken in turn in one process::

    python -m recipes.benchmarks.range_test_cost
    python -m recipes.benchmarks.range_test_cost --strategy ddp --devices 2

Prints ratios by wall and processor time: median over the repetitions, minimum and maximum.
Nothing logs, validates, saves or shows a bar.
"""

import argparse
import json
import logging
import statistics
import time
import warnings

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRRangeTest
from lr_lightning.callbacks._snapshot import Snapshot

STEPS = 100
MODELS = {  # hidden width, batch size: about 20 thousand and 2 million parameters
    "tiny": (128, 32),
    "small": (1024, 128),
}


def clocks() -> tuple[float, float]:
    """Wall and processor time: the latter says more on a busy machine, but leaves out waiting for other ranks."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Seconds by both clocks."""
    now = clocks()
    return now[0] - start[0], now[1] - start[1]


class Perceptron(L.LightningModule):
    """Three hidden layers with BatchNorm, trained by AdamW on random numbers."""

    def __init__(self, width: int, batch: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(32, width), nn.BatchNorm1d(width), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, 10))
        self.batch = batch

    def training_step(self, batch, batch_idx):
        """Cross-entropy."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def train_dataloader(self):
        """Enough batches for all ranks."""
        n = 4 * STEPS * self.batch
        return DataLoader(TensorDataset(torch.randn(n, 32), torch.randint(10, (n,))), self.batch, shuffle=True)


class Timed(LRRangeTest):
    """A range test that times itself; its LRs are so low that nothing diverges and all steps are taken."""

    def __init__(self):
        super().__init__(min_lr=1e-9, max_lr=1e-7, num_steps=STEPS, apply=False, confirm=None, progress_bar=False)
        self.copies = 0.0

    def run(self, trainer):
        """Time the whole test, and of it the share of a snapshot."""
        start = clocks()
        result = super().run(trainer)
        self.seconds = since(start)
        assert result.coverage.visited == STEPS
        snapshot = Snapshot(trainer.strategy.model, trainer.optimizers)
        parameters = sum(p.numel() * p.element_size() for p in trainer.lightning_module.parameters())
        self.copies = snapshot.nbytes() / parameters
        return result


class Stopwatch(L.Callback):
    """Seconds from the first batch's start to the last one's end."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        """Start."""
        if batch_idx == 0:
            self.start = clocks()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        """Stop."""
        self.seconds = since(self.start)


def fit(model, callback, steps, strategy, devices):
    """A fit without anything else."""
    trainer = L.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy, max_steps=steps, callbacks=[callback], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(Perceptron(*MODELS[model]))
    return callback, trainer


def spread(values) -> list[float]:
    """Median, minimum, maximum."""
    values = sorted(values)
    return [round(x, 3) for x in (statistics.median(values), values[0], values[-1])]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for model in MODELS:
        ratios, bare = [], []
        fit(model, Stopwatch(), 10, options.strategy, options.devices)  # caches, imports
        for _ in range(options.repetitions):
            watch, _ = fit(model, Stopwatch(), STEPS, options.strategy, options.devices)
            test, trainer = fit(model, Timed(), 1, options.strategy, options.devices)
            bare.append(watch.seconds)
            ratios.append([ours / theirs for ours, theirs in zip(test.seconds, watch.seconds, strict=True)])
        if trainer.global_rank == 0:
            record = {
                "model": model,
                "strategy": f"{options.strategy} x {options.devices}",
                "wall": spread(r[0] for r in ratios),
                "processor": spread(r[1] for r in ratios),
                "bare_ms_per_step": round(1e3 * statistics.median(b[0] for b in bare) / STEPS, 2),
                "snapshot_over_parameters": round(test.copies, 3),
            }
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
