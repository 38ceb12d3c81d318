"""Collectives per decision over 2 to 64 ranks: counted, on rank 0 of a pretended job.

    python -m recipes.benchmarks.ranks [--ranks 2 64]

torch's fake process group answers every collective at once, so one process can be rank 0 of any number of ranks. What
is counted is every call of ``torch.distributed`` outside of DDP's own gradient averaging (which runs in C++), for the
bare fit and for the same fit with each callback. A count that doesn't grow with the ranks costs what one small
all-reduce costs there: its latency grows with the logarithm of the ranks on a tree, and so does ours.
"""

from __future__ import annotations

import argparse
import collections
import os
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy

from lr_lightning import LRCurves, LRFormula, LRRangeTest, PlateauDecay
from recipes.benchmarks.harness import Perceptron, bare_trainer, print_table, quiet

STEPS = 100
CALLS = ("all_reduce", "all_gather", "all_gather_object", "broadcast", "broadcast_object_list", "barrier", "gather")
CASES: dict[str, Callable[[], list[Callback]]] = {
    "bare": list,
    "LRRangeTest(num_steps=100), without a descent 300 more": lambda: [
        LRRangeTest(min_lr=1e-9, max_lr=1e-7, apply=False, progress_bar=False)
    ],
    "LRFormula, per step": lambda: [LRFormula("base_lr / (1 + 0.001 * step)", interval="step")],
    "PlateauDecay(train_loss, step), read every 10": lambda: [
        PlateauDecay("train_loss", interval="step", verbose=False, rule={"read_every": 10})
    ],
    "LRCurves, every 50 steps": lambda: [LRCurves(hparams=False)],
}


class Pretended(LightningEnvironment):
    """Rank 0 of ``ranks`` that aren't there."""

    def __init__(self, ranks: int) -> None:
        super().__init__()
        self.ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        """Nobody is started."""
        return True

    def world_size(self) -> int:
        """As many as are pretended."""
        return self.ranks

    def set_world_size(self, size: int) -> None:
        """Keep it."""

    def global_rank(self) -> int:
        """The first."""
        return 0

    def set_global_rank(self, rank: int) -> None:
        """Keep it."""

    def local_rank(self) -> int:
        """The first."""
        return 0


def alone(state, bucket):
    """Gradients as they are: nobody is there to average with."""
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


class Alone(Callback):
    """Lightning hands a hook over on GPUs only."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Register it."""
        trainer.strategy.model.register_comm_hook(None, alone)


def count(ranks: int, callbacks: list[Callback], steps: int = STEPS) -> collections.Counter[str]:
    """Calls of ``torch.distributed`` from the start of the fit to its end."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
    counts: collections.Counter[str] = collections.Counter()
    kept = {name: getattr(dist, name) for name in CALLS}

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            counts[name] += 1
            return kept[name](*arguments, **named)

        return call

    for name in CALLS:
        for module in (dist, dist.distributed_c10d):
            setattr(module, name, counted(name))
    try:
        with tempfile.TemporaryDirectory() as folder:
            trainer = bare_trainer(
                [Alone(), *callbacks],
                strategy=DDPStrategy(
                    cluster_environment=Pretended(ranks), process_group_backend="fake", ddp_comm_hook=alone
                ),
                num_nodes=ranks,
                max_steps=steps,
                logger=CSVLogger(folder),
                log_every_n_steps=50,
            )
            trainer.fit(Perceptron("tiny", STEPS * ranks))
    finally:
        for name in CALLS:
            for module in (dist, dist.distributed_c10d):
                setattr(module, name, kept[name])
        dist.destroy_process_group()
    return counts


def report(many: list[int]) -> None:
    """One line a callback, one column a number of ranks: calls beyond the bare fit's."""
    rows = []
    base = {ranks: count(ranks, []) for ranks in many}
    for name, make in CASES.items():
        cells = []
        for ranks in many:
            extra = count(ranks, make())
            extra.subtract(base[ranks])
            cells.append(", ".join(f"{n} {call}" for call, n in sorted(extra.items()) if n) or "none")
        rows.append((name, *cells))
    print_table(
        f"Collectives in a fit of {STEPS} steps, beyond the bare fit's",
        ("callback", *(f"{n} ranks" for n in many)),
        rows,
    )


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 64])
    many = parser.parse_args().ranks
    quiet()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    report(many)


if __name__ == "__main__":
    main()
