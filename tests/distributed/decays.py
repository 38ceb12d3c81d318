"""The fits with plateau decays that two ranks run in forked processes, see ``tests/chaos/warm.py``."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRFormula, LRRangeTest, LRSearch, PlateauDecay
from tests.chaos.fits import QUIET
from tests.distributed.cases import deepspeed, fsdp1

STRATEGIES = {
    "ddp": lambda: "ddp",
    "fsdp1": fsdp1,
    "fsdp2": lambda: ModelParallelStrategy(2, 1),
    "zero1": lambda: deepspeed(1),
    "zero3": lambda: deepspeed(3),
}


class Net(L.LightningModule):
    """Notes the LR of each step; the ranks log their own losses, not synced."""

    def __init__(self, sharded: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
        self.sharded, self.lrs = sharded, list[float]()

    def configure_model(self) -> None:
        if self.sharded:
            from torch.distributed.fsdp import fully_shard

            for part in (self.net[0], self.net[2], self.net):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def loss(self, batch: Any) -> torch.Tensor:
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch), sync_dist=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Disagreeing(Net):
    """The ranks log different numbers."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        value = 1.0 + 0.1 * self.global_rank * ((self.current_epoch * 7) % 5)
        self.log("val_loss", value, sync_dist=False)


def data(times: int) -> TensorDataset:
    """A loader restarts when a fit resumes within an epoch: each rank has its own sample, over and over."""
    torch.manual_seed(1)
    return TensorDataset(torch.randn(2, 4).repeat(times, 1), torch.randn(2, 1).repeat(times, 1))


def gated(kind: str, resume: str | None = None) -> dict[str, Any]:
    """A decay that follows the weights, copied or sharded; a checkpoint from within the run."""
    decay, saves = PlateauDecay(rule={"gate": True}), kind != "fsdp1"
    saver = [ModelCheckpoint(".", filename="half", every_n_train_steps=46)] if saves else []
    trainer = L.Trainer(
        **QUIET, devices=2, strategy=STRATEGIES[kind](), max_epochs=20, callbacks=[decay, *saver],
        enable_checkpointing=saves, logger=False,
    )  # fmt: skip
    net, rows = Net(sharded=kind == "fsdp2"), data(16)
    trainer.fit(net, DataLoader(rows, batch_size=4), DataLoader(rows, batch_size=4), ckpt_path=resume)
    path = decay._gate.path
    return {
        "lrs": net.lrs, "history": decay.history, "drift": path.drift.ratio, "positions": path.positions,
        "weights": len(path._snapshots[-1]),
    }  # fmt: skip


def paired(resume: str | None = None) -> dict[str, Any]:
    """Two decays, one by epoch and one by step, on ranks that log different numbers."""
    pair = [
        PlateauDecay(patience=1),
        PlateauDecay("train_loss", mode="max", interval="step", patience=9, factor=0.9, rule={"read_every": 7}),
    ]
    saver = ModelCheckpoint(".", filename="half", every_n_train_steps=45)
    trainer = L.Trainer(
        **QUIET, devices=2, strategy="ddp", max_epochs=10, callbacks=[*pair, saver], logger=False,
    )  # fmt: skip
    net, rows = Disagreeing(), data(32)
    trainer.fit(net, DataLoader(rows, batch_size=4), DataLoader(rows, batch_size=32), ckpt_path=resume)
    return {"lrs": net.lrs, "history": [c.history for c in pair], "state": [c._state.to_dict() for c in pair]}


class Peaked(torch.optim.lr_scheduler.LRScheduler):
    """A scheduler of a user's, whose fields nobody knows."""

    def __init__(self, optimizer: Any, peak: float) -> None:
        self.peak = peak
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [self.peak * 0.9**self.last_epoch for _ in self.optimizer.param_groups]


class Scheduled(Net):
    """With such a scheduler, by epoch."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [Peaked(optimizer, 0.1)]


KEEPERS = {
    "base_lr": lambda: LRFormula("base_lr * 0.9 ** epoch"),
    "recursive": lambda: LRFormula("lr * 0.9"),
    "range test": lambda: LRRangeTest(num_steps=40, progress_bar=False),
    "search": lambda: LRSearch(num_steps=8, budget=5, progress_bar=False),
    "decay": lambda: PlateauDecay(patience=0, threshold=10.0),
}


def kept(kind: str, name: str, resume: str | None = None, epochs: int = 10) -> list[float]:
    """The LRs of a fit with a callback that keeps something in the param groups; a checkpoint from within the run.

    A fit of no more epochs than it is resumed from saves what it was given, as ``again.ckpt``.
    """
    saver = ModelCheckpoint(".", filename="half", every_n_train_steps=26)
    trainer = L.Trainer(
        **QUIET, devices=2, strategy=STRATEGIES[kind](), max_epochs=epochs, callbacks=[KEEPERS[name](), saver],
        logger=False,
    )  # fmt: skip
    own, rows = (Net if name in ("base_lr", "recursive") else Scheduled), data(16)
    net = own(sharded=kind == "fsdp2")
    trainer.fit(net, DataLoader(rows, batch_size=4), DataLoader(rows, batch_size=4), ckpt_path=resume)
    if not net.lrs:
        trainer.save_checkpoint("again.ckpt")
    # The sweep's own steps, where there are some, come first.
    return net.lrs[-40:]
