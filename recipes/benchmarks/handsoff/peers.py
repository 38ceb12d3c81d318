"""What else there is for somebody who chooses no LR, as its packages do it with their defaults.

``pip install -e '.[peers]'``. LR-free optimizers replace the task's own.
"""

import itertools
import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.tuner import Tuner
from torch.utils.data import IterableDataset

from lr_lightning.rules.range_test.peers import fastai_valley
from recipes.benchmarks.handsoff.ours import swept
from recipes.benchmarks.handsoff.tasks import Task
from recipes.benchmarks.handsoff.training import Loader, cosine, fresh, held_out, run_cosine, train, trained

CUSTOMARY = {True: 1e-3, False: 0.1}
"""LR that tutorials give for adaptive optimizers and for SGD."""

CALIBRATED = 0.016
"""The one LR at which AdamW with a cosine was best on the choosing half, of .001, .002, … .032 (seed 0, 600 steps)."""

Run = Callable[[Task, int, int], float]
"""Held-out loss of a task with a seed after so many optimizer steps in all."""


def customary(task: Task, seed: int, steps: int) -> float:
    """.1 or 1e-3, cosine."""
    return run_cosine(task, seed, CUSTOMARY[task.adaptive], steps)


def one_adamw(task: Task, seed: int, steps: int) -> float:
    """AdamW in place of the task's optimizer, one LR for all tasks, cosine."""
    model = fresh(task, seed)
    optimizer = torch.optim.AdamW(trained(model), lr=CALIBRATED, fused=True)
    return train(task, model, optimizer, iter(Loader(task, seed)), steps, cosine(optimizer, steps))


def prodigy(task: Task, seed: int, steps: int) -> float:
    """Prodigy (Mishchenko & Defazio 2023), cosine."""
    from prodigyopt import Prodigy

    model = fresh(task, seed)
    optimizer = Prodigy(trained(model))
    return train(task, model, optimizer, iter(Loader(task, seed)), steps, cosine(optimizer, steps))


def d_adaptation(task: Task, seed: int, steps: int) -> float:
    """D-Adaptation's Adam or SGD (Defazio & Mishchenko 2023), cosine."""
    from dadaptation import DAdaptAdam, DAdaptSGD

    model = fresh(task, seed)
    logging.disable(logging.INFO)
    optimizer = DAdaptAdam(trained(model)) if task.adaptive else DAdaptSGD(trained(model), momentum=0.9)
    return train(task, model, optimizer, iter(Loader(task, seed)), steps, cosine(optimizer, steps))


def schedule_free(task: Task, seed: int, steps: int) -> float:
    """Schedule-Free AdamW (Defazio et al. 2024); BatchNorm's statistics are taken anew at the averaged weights."""
    from schedulefree import AdamWScheduleFree

    model = fresh(task, seed)
    optimizer = AdamWScheduleFree(trained(model))
    optimizer.train()
    if train(task, model, optimizer, iter(Loader(task, seed)), steps, lambda step: None) == math.inf:
        return math.inf
    optimizer.eval()
    with torch.no_grad():
        for x, _ in itertools.islice(iter(Loader(task, seed)), 50):
            model(x)
    return held_out(task, model)


def greedy(task: Task, seed: int, steps: int) -> float:
    """GreedyLR (2512.14527, in transformers) from the customary LR on the smoothed training loss."""
    from transformers.optimization import GreedyLR

    model, base = fresh(task, seed), CUSTOMARY[task.adaptive]
    optimizer = task.optimizer(trained(model), lr=base)
    scheduler = GreedyLR(optimizer, smooth=True, min_lr=base / 1000)
    x_loss: list[float] = []

    def loss(outputs: Any, y: torch.Tensor) -> torch.Tensor:
        value = task.loss(outputs, y)
        x_loss[:] = [float(value.detach())]
        return value

    batches = iter(Loader(task, seed))
    for _ in range(steps):
        x, y = next(batches)
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
        scheduler.step(x_loss[0])
    return held_out(task, model)


def valley_one_cycle(task: Task, seed: int, steps: int) -> float:
    """The valley of fastai (its rule, re-stated) and OneCycleLR, fastai's fit_one_cycle."""
    result = swept(task, seed)
    lr = fastai_valley(np.array(result.lrs), np.array(result.losses), result.num_steps)
    if lr is None:
        return math.inf
    model = fresh(task, seed)
    optimizer = task.optimizer(trained(model), lr=lr)
    left = steps - result.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, left + 1)
    return train(task, model, optimizer, iter(Loader(task, seed)), left, lambda step: schedule.step())


class Samples(IterableDataset[Any]):
    """A task's batches for a Trainer."""

    def __init__(self, task: Task, seed: int) -> None:
        self.loader = Loader(task, seed)

    def __iter__(self) -> Any:
        return iter(self.loader)


class Module(L.LightningModule):
    """A task for Lightning."""

    def __init__(self, task: Task, seed: int) -> None:
        super().__init__()
        self.task, self.model, self.lr = task, fresh(task, seed), CUSTOMARY[task.adaptive]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The task's loss."""
        return self.task.loss(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The task's optimizer."""
        return self.task.optimizer(trained(self.model), lr=self.lr)


def lightning_finder(task: Task, seed: int, steps: int) -> float:
    """Lightning's ``Tuner.lr_find``, cosine."""
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.pytorch.tuner.lr_finder"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_steps=steps,
    )  # fmt: skip
    batches = torch.utils.data.DataLoader(Samples(task, seed), batch_size=None)
    found = Tuner(trainer).lr_find(Module(task, seed), train_dataloaders=batches, attr_name="lr")
    lr = None if found is None else found.suggestion()
    return math.inf if lr is None else run_cosine(task, seed, lr, steps - len(found.results["lr"]))


PEERS: dict[str, Run] = {
    "Prodigy + cosine": prodigy,
    "D-Adaptation + cosine": d_adaptation,
    "Schedule-Free AdamW": schedule_free,
    "GreedyLR": greedy,
    "customary LR + cosine": customary,
    "one AdamW for all tasks + cosine": one_adamw,
    "fastai's valley + OneCycle": valley_one_cycle,
    "Lightning's finder + cosine": lightning_finder,
}
