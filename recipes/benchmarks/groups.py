"""Ratios between param groups that start 10 to 100 times wrong: how much of the gap to a 2-D grid's best is closed?

    python -m recipes.benchmarks.groups              # tasks that nothing was chosen on; the others: --half choose

Each task has two groups with LRs of their own. The oracle trains for 300 steps under a cosine on a grid of both LRs, a
factor of 4 apart (means over 2 seeds, cached in .benchmarks/). The start is the grid's best pair with the second LR 10
or 100 times off. *Kept* is the best along that wrong ratio, *swept* what a range test makes of it that keeps it,
*found* what ``rule={"groups": "search"}`` does (no steps are taken off), all over the grid's best. Closed is ``(swept -
found) / (swept - best)``, in logarithms of held-out losses.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from lr_lightning import LRRangeTest
from recipes.benchmarks.handsoff.ours import Epoch
from recipes.benchmarks.handsoff.tasks import BY_NAME, P, Task
from recipes.benchmarks.handsoff.training import Loader, cosine, fresh, train, trained
from recipes.benchmarks.harness import bare_trainer

CACHE = Path(os.environ.get("LR_LIGHTNING_BENCHMARKS", ".benchmarks")) / "groups"
STEPS, SEEDS, FACTOR, REACH = 300, (0, 1), 4.0, 2
WRONG = (1 / 100, 1 / 10, 10.0, 100.0)
CAP, CLEAR = 10.0, 1.1
"""A loss of more than ``CAP`` times the best counts as that; below ``CLEAR`` there is no gap: seeds differ as much."""

Optimizers = list[torch.optim.Optimizer]


class Both:
    """Optimizers stepped as one."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Of all."""
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """Of all."""
        for part in self.parts:
            part.step()


def apart(which: Callable[[nn.Module], nn.Module], kind: Any, model: nn.Module, lrs: Sequence[float]) -> Optimizers:
    """One optimizer, with the module that ``which`` names in a second group."""
    own = set(map(id, which(model).parameters()))
    first = [p for p in trained(model) if id(p) not in own]
    second = [p for p in trained(model) if id(p) in own]
    return [kind([{"params": first, "lr": lrs[0]}, {"params": second, "lr": lrs[1]}])]


def muon(model: nn.Module, lrs: Sequence[float]) -> Optimizers:
    """torch.optim.Muon for inner matrices (of a transformer its blocks'), AdamW for the rest."""
    blocks = getattr(model, "blocks", None)
    matrices = [p for p in trained(blocks or model) if p.ndim == 2][slice(1, -1) if blocks is None else slice(None)]
    inner = set(map(id, matrices))
    rest = [p for p in trained(model) if id(p) not in inner]
    return [torch.optim.Muon(matrices, lr=lrs[0]), torch.optim.AdamW(rest, lr=lrs[1])]


@dataclass(frozen=True)
class Pair:
    """A task, its optimizers with two groups in all, and the middle of the grid for each."""

    half: str
    task: Task
    build: Callable[[nn.Module, Sequence[float]], Optimizers]
    middle: tuple[float, float]


def _last(model: nn.Module) -> nn.Module:
    return list(model.children())[-1]


def _first(model: nn.Module) -> nn.Module:
    return next(module for module in model.modules() if list(module.parameters(recurse=False)))


ADAMW, MOMENTUM = torch.optim.AdamW, P(torch.optim.SGD, momentum=0.9)
PAIRS = {
    "new head, AdamW": Pair("choose", BY_NAME["finetune_conv_adamw"], P(apart, _last, ADAMW), (1e-3, 1e-2)),
    "first layer, momentum": Pair("choose", BY_NAME["friedman_mlp_momentum"], P(apart, _first, MOMENTUM), (2e-2, 2e-2)),
    "Muon + AdamW, MLP": Pair("choose", BY_NAME["mnist1d_mlp_norm_sgd"], muon, (2e-2, 5e-3)),
    "embedding, AdamW": Pair("report", BY_NAME["network_gpt_adam"], P(apart, _first, ADAMW), (4e-3, 4e-3)),
    "head, momentum": Pair("report", BY_NAME["digits_cnn_norm_nesterov"], P(apart, _last, MOMENTUM), (5e-2, 5e-2)),
    "Muon + AdamW, transformer": Pair("report", BY_NAME["digits_vit_adamw"], muon, (2e-2, 5e-3)),
}


def run(name: str, seed: int, lrs: Sequence[float]) -> float:
    """Held-out loss after a cosine, from disk if there."""
    path = CACHE / f"{name.replace(' ', '_')}_{STEPS}_{seed}.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    key = " ".join(f"{lr:.4g}" for lr in lrs)
    if key not in known:
        task, model = PAIRS[name].task, fresh(PAIRS[name].task, seed)
        optimizer = Both(PAIRS[name].build(model, lrs))
        known[key] = train(task, model, optimizer, iter(Loader(task, seed)), STEPS, cosine(optimizer, STEPS))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known))
    return known[key]


class Stepped(L.LightningModule):
    """A pair as a module with manual optimization, whose LRs after the range test are kept."""

    def __init__(self, pair: Pair, seed: int, lrs: Sequence[float]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.pair, self.seed, self.lrs, self.model = pair, seed, lrs, fresh(pair.task, seed)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One step of all optimizers."""
        found: Any = self.optimizers()
        both = Both(found if isinstance(found, list) else [found])
        loss = self.pair.task.loss(self.model(batch[0]), batch[1])
        both.zero_grad()
        self.manual_backward(loss)
        both.step()
        self.log("loss", loss)

    def configure_optimizers(self) -> Any:
        """The pair's."""
        return self.pair.build(self.model, self.lrs)

    def train_dataloader(self) -> Any:
        """The task's batches."""
        return Epoch(self.pair.task, self.seed)


def tested(name: str, seed: int, lrs: Sequence[float], groups: str) -> tuple[list[float], int]:
    """Both LRs after a range test that starts from ``lrs``, and what it cost."""
    test = LRRangeTest(rule={"groups": groups, "schedule": "decay"}, budget=0, progress_bar=False)
    trainer = bare_trainer([test], max_steps=1)
    trainer.fit(Stepped(PAIRS[name], seed, lrs))
    assert test.result is not None
    return [group["lr"] for one in trainer.optimizers for group in one.param_groups], test.result.steps


def mean_loss(name: str, lrs: Sequence[Sequence[float]]) -> float:
    """Mean held-out loss over the seeds, each with its own LRs."""
    return float(np.mean([run(name, seed, own) for seed, own in zip(SEEDS, lrs, strict=True)]))


def rows_of(name: str) -> list[tuple[float, float]]:
    """What a range test loses with and without the search, in logarithms, for each wrong ratio."""
    powers = [FACTOR**i for i in range(-REACH, REACH + 1)]
    pairs = [(PAIRS[name].middle[0] * x, PAIRS[name].middle[1] * y) for x in powers for y in powers]
    losses = {lrs: mean_loss(name, [lrs] * len(SEEDS)) for lrs in pairs}
    (first, second), best = min(losses.items(), key=lambda item: item[1])
    rows = []
    for wrong in WRONG:
        start = first, second * wrong
        scales = np.geomspace(FACTOR**-3, FACTOR**3, 7)
        kept = min(mean_loss(name, [[lr * scale for lr in start]] * len(SEEDS)) for scale in scales)
        sweeps, searches = ([tested(name, seed, start, how) for seed in SEEDS] for how in ("keep", "search"))
        swept, found = (mean_loss(name, [lrs for lrs, _ in tests]) for tests in (sweeps, searches))
        costs = [min(loss / best, CAP) for loss in (kept, swept, found)]
        lost, left = math.log(costs[1]), math.log(costs[2])
        rows.append((lost, left))
        share = f"{1 - left / lost:.0%}" if lost > math.log(CLEAR) else "no gap"
        cells = name, f"{wrong:g}", *(f"{cost:.2f}" for cost in costs), share, max(steps for _, steps in searches)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("choose", "report", "all"), default="report")
    half = parser.parse_args().half
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("| task | ratio off by | kept | swept | found | closed | most steps |\n|---|---|---|---|---|---|---|")
    rows = [row for name, pair in PAIRS.items() if half in (pair.half, "all") for row in rows_of(name)]
    gaps = [row for row in rows if row[0] > math.log(CLEAR)]
    shares = np.array([1 - left / lost for lost, left in gaps])
    swept, found = np.exp(np.mean(gaps, axis=0))
    print(f"{len(gaps)} of {len(rows)} starts have a gap: {swept:.2f} swept, {found:.2f} found (geometric means)")
    print(f"closed: median {np.median(shares):.0%}, 90 % and more in {np.mean(shares >= 0.9):.0%} of them")


if __name__ == "__main__":
    main()
