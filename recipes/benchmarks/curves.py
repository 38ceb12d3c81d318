"""Cost of LRCurves per training step beside LearningRateMonitor's, both against no callback.

python recipes/benchmarks/curves.py [--rounds 7] [--steps 3000] [--log-every 50]

The variants take turns round by round (the machine's mood hits all alike). Each cost is the median over rounds of the
difference to the same round's run without a callback, in µs of CPU time a step (all threads: the event writer's too),
where a step is Lightning's whole batch path. CPU time, so that a busy machine doesn't drown the difference.
"""

import argparse
import contextlib
import io
import logging
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


class Clock(Callback):
    """Times the steps between the 200th and the last: neither set-up nor the end counts."""

    seconds = 0.0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """Start or stop the clock."""
        if batch_idx == 200:
            self.started = time.process_time()
        elif batch_idx == trainer.max_steps - 1:
            self.seconds = (time.process_time() - self.started) / (batch_idx - 200)


def measure(make: Callable[[], list[Callback]], steps: int, log_every: int) -> float:
    """Seconds a step with the callbacks that ``make`` returns."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(8 * (steps + 1), 8), torch.randn(8 * (steps + 1), 1))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        trainer = L.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            log_every_n_steps=log_every,
            callbacks=[*make(), clock],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(Net(), DataLoader(data, batch_size=8))
    return clock.seconds


def main() -> None:
    """Print one line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--log-every", type=int, default=50)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    variants: dict[str, Callable[[], list[Callback]]] = {
        "no callback": list,
        "LearningRateMonitor": lambda: [LearningRateMonitor()],
        "LRCurves()": lambda: [LRCurves()],
        "LRCurves(loss=False)": lambda: [LRCurves(loss=False)],
        "LRCurves(grad_norm=True)": lambda: [LRCurves(grad_norm=True)],
        "LRCurves(every_n_steps=1)": lambda: [LRCurves(every_n_steps=1)],
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(given.rounds):
        for name in sorted(variants, key=lambda name: hash((number, name))):
            times[name].append(measure(variants[name], given.steps, given.log_every))
    bare = times["no callback"]
    base = statistics.median(bare)
    print(f"bare step: {base * 1e6:.0f} µs (median of {given.rounds} rounds of {given.steps} steps)")
    for name, own in times.items():
        cost = statistics.median(a - b for a, b in zip(own, bare, strict=True))
        ratio = statistics.median(a / b for a, b in zip(own, bare, strict=True))
        print(f"{name:28s} {ratio:6.3f} × a bare step   {cost * 1e6:+7.1f} µs a step")


if __name__ == "__main__":
    main()
