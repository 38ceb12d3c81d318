"""What PlateauDecay costs: microseconds an observation, and a training step with it over a bare one.

python -m recipes.benchmarks.plateau_cost
"""

from __future__ import annotations

import logging
import math
import statistics
import time
import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import PlateauDecay
from lr_lightning.rules.plateau import configure

STEPS, ROUNDS = 1500, 5


class Net(L.LightningModule):
    """A small regression network; a step of it is mostly Lightning's own work."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Mean squared error."""
        return (self.net(batch[0]) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def seconds(*callbacks: L.Callback) -> float:
    """Wall time of one fit of ``STEPS`` steps, without its set-up."""
    marks: list[float] = []

    class Clock(L.Callback):
        def on_train_start(self, *_: object) -> None:
            marks.append(time.perf_counter())

        def on_train_end(self, *_: object) -> None:
            marks.append(time.perf_counter())

    data = DataLoader(TensorDataset(torch.randn(STEPS * 16, 32)), batch_size=16)
    trainer = L.Trainer(
        max_epochs=1,
        callbacks=[Clock(), *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(Net(), data)
    return marks[1] - marks[0]


def per_observation(rule: str, count: int, interval: str) -> float:
    """Microseconds that a rule takes for one observation of a noisy decay."""
    settings = {"window": 0.1} if rule == "dlib" else {}
    chosen = configure(rule, interval=interval, **settings)
    values = [1 / (1 + i / count * 20) + 0.05 * math.sin(i * i) for i in range(count)]
    state, start = chosen.start(), time.perf_counter()
    for i, value in enumerate(values):
        state, _ = chosen.observe(state, value, i + 1, count)
    return (time.perf_counter() - start) / count * 1e6


def main() -> None:
    """Print both costs."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for rule in ("trend", "patience", "dlib"):
        for count, interval in ((100, "epoch"), (10_000, "step")):
            best = min(per_observation(rule, count, interval) for _ in range(ROUNDS))
            print(f"{rule:9s} {count:6d} observations: {best:6.1f} µs each")
    with_it, bare = [], []
    for _ in range(ROUNDS):
        bare.append(seconds())
        with_it.append(seconds(PlateauDecay("train_loss", interval="step", verbose=False)))
    ratios = [a / b for a, b in zip(with_it, bare, strict=True)]
    print(f"bare step {min(bare) / STEPS * 1e6:.0f} µs; with PlateauDecay on train_loss every step: ratio", end=" ")
    print(f"{min(with_it) / min(bare):.3f} (best of {ROUNDS} each), {statistics.median(ratios):.3f} (median of pairs)")


if __name__ == "__main__":
    main()
