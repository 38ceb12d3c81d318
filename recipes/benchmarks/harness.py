"""What the cost benchmarks share: the machine's description, silence, spreads, tables, and models of three sizes."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

MODELS = {  # hidden width, batch size: about 40 thousand, 2 million and 21 million parameters
    "tiny": (128, 32),
    "small": (1024, 128),
    "large": (3200, 32),
}


def machine() -> str:
    """One line on where this runs and how busy it is."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    load = f"load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    return (
        f"{name}, {os.cpu_count()} cores, {load}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"lightning {L.__version__}, {torch.get_num_threads()} thread"
    )


def quiet() -> None:
    """One thread, no warnings, no banners."""
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)


def clocks() -> tuple[float, float]:
    """Wall and processor time: the latter says more on a busy machine, but leaves out waiting for other ranks.

    A GPU in use has finished its work by then.
    """
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Seconds by both clocks."""
    now = clocks()
    return now[0] - start[0], now[1] - start[1]


def spread(values: Iterable[float], digits: int = 3) -> str:
    """Median, and in brackets minimum and maximum."""
    given = sorted(values)
    return f"{statistics.median(given):.{digits}f} [{given[0]:.{digits}f}, {given[-1]:.{digits}f}]"


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A Markdown table under a title."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def run_parts(parts: Mapping[str, Callable[[], object]], text: str | None) -> None:
    """The command line of a benchmark in parts: run those named there, or all."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(parts))
    chosen = parser.parse_args().parts
    unknown = sorted(set(chosen) - set(parts))
    if unknown:
        parser.error(f"part must be one of {', '.join(parts)}, got {unknown[0]!r}")
    quiet()
    print(machine(), flush=True)
    for part in chosen or parts:
        parts[part]()


class Perceptron(L.LightningModule):
    """Three hidden layers with BatchNorm, trained by AdamW on random numbers."""

    def __init__(self, model: str, batches: int) -> None:
        super().__init__()
        width, self.batch = MODELS[model]
        self.batches, self.lr = batches, 1e-3
        layers: list[nn.Module] = [nn.Linear(32, width), nn.BatchNorm1d(width), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(width, 10))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Cross-entropy."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled random numbers."""
        n = self.batches * self.batch
        return DataLoader(TensorDataset(torch.randn(n, 32), torch.randint(10, (n,))), self.batch, shuffle=True)


def bare_trainer(callbacks: list[L.Callback], **settings: Any) -> L.Trainer:
    """A CPU trainer that logs, validates, saves and shows nothing unless it is told to."""
    plain: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
    }
    return L.Trainer(callbacks=callbacks, **{**plain, **settings})
