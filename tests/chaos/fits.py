"""The fits that are killed: every callback at once, a search at the start, two ranks. All of it deterministic."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from lr_lightning import LRCurves, LRFormula, LRRangeTest, LRSearch, PlateauDecay
from lr_lightning.callbacks._sandbox.steps import Probe
from lr_lightning.optim.snapshot import local
from tests.chaos.warm import mark
from tests.helpers.modules import Classifier

BATCHES, ROWS, EPOCHS, EVERY = (
    7,
    64,
    4,
    5,
)  # no checkpoint falls on an epoch's last batch: Lightning loses that one's validation
BALLAST = 1 << 20


class Loader:
    """Shuffled anew each epoch; its place is in the checkpoint: a resumed epoch goes on with the right batch."""

    def __init__(self, seed: int, module: L.LightningModule | None = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(BATCHES * ROWS, 8, generator=generator)
        self.y = torch.tanh(self.x @ torch.randn(8, 1, generator=torch.Generator().manual_seed(9)))
        self.module, self.position = module, 0

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if self.position >= BATCHES:  # Lightning doesn't ask for what comes after the last batch
            self.position = 0
        epoch = self.module.current_epoch if self.module is not None else 0
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(epoch))
        while self.position < BATCHES:
            rows = order[ROWS * self.position : ROWS * (self.position + 1)]
            self.position += 1
            yield self.x[rows], self.y[rows]

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class Net(L.LightningModule):
    """Two param groups, BatchNorm's buffers, and ballast that makes writing a checkpoint take its time."""

    def __init__(self, lr: float = 1e-3, scheduler: bool = False, norm: type = torch.nn.BatchNorm1d) -> None:
        super().__init__()
        self.save_hyperparameters("lr")
        self.lr, self.scheduler = lr, scheduler
        self.body = torch.nn.Sequential(torch.nn.Linear(8, 16), norm(16), torch.nn.Tanh())
        self.head = torch.nn.Linear(16, 1)
        self.register_buffer("ballast", torch.arange(BALLAST, dtype=torch.float32))

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            from torch.distributed.fsdp import fully_shard

            for part in (self.body, self.head):
                fully_shard(part, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        mark("sweep" if any(isinstance(c, Probe) for c in self.trainer.callbacks) else "step")
        loss = torch.nn.functional.mse_loss(self.head(self.body(batch[0])), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", torch.nn.functional.mse_loss(self.head(self.body(batch[0])), batch[1]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        groups = [{"params": self.body.parameters()}, {"params": self.head.parameters(), "lr": 3 * self.lr}]
        optimizer = torch.optim.Adam(groups, lr=self.lr)
        if not self.scheduler:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [self.lr, 3 * self.lr], total_steps=BATCHES * EPOCHS)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Loader:
        return Loader(1 + self.global_rank, self)

    def val_dataloader(self) -> Loader:
        return Loader(50)


class Marks(L.Callback):
    """Marks the places where our callbacks are about to decide or to write."""

    def on_train_start(self, *_: Any) -> None:
        mark("start")

    def on_train_batch_end(self, *_: Any) -> None:
        mark("batch_end")

    def on_validation_end(self, *_: Any) -> None:
        mark("validated")

    def on_train_epoch_end(self, *_: Any) -> None:
        mark("epoch_end")

    def on_save_checkpoint(self, *_: Any) -> None:
        mark("save")

    def on_train_end(self, *_: Any) -> None:
        mark("end")


def own_callbacks(kind: str) -> list[L.Callback]:
    """All of ours in one fit; ``search`` has the search in place of range test and formula."""
    decays: list[L.Callback] = [
        PlateauDecay(mode="max", patience=1, factor=0.8),  # the loss falls: each epoch is one without improvement
        PlateauDecay("train_loss", mode="max", interval="step", patience=6, factor=0.9, rule={"read_every": 3}),
    ]
    if kind == "search":
        return [LRSearch(1e-4, 1.0, num_steps=8, budget=6, first=4, later=2), *decays, LRCurves()]
    return [LRRangeTest(1e-4, 10.0, 40), LRFormula("base_lr * 0.99 ** step", interval="step"), *decays, LRCurves()]


def train(
    kind: str, life: int, resume: str | None = None, folder: str = ".", strategy: str | None = None
) -> dict[str, Any]:
    """One life of a run: from the start, or from a checkpoint; a named strategy takes two ranks."""
    L.seed_everything(3, verbose=False)
    savers = [
        ModelCheckpoint(f"{folder}/checkpoints", "{step}", save_top_k=-1, every_n_train_steps=EVERY),
        ModelCheckpoint(f"{folder}/checkpoints", "{step}-end", save_top_k=-1, save_on_train_epoch_end=True),
    ]
    own = own_callbacks(kind)
    board = TensorBoardLogger(folder, "", "board", default_hp_metric=False)
    trainer = L.Trainer(
        callbacks=[Marks(), *own, *savers], logger=[board, CSVLogger(folder, "csv", f"life{life}")],
        max_epochs=EPOCHS, log_every_n_steps=2, default_root_dir=folder, **QUIET, **spread(strategy),
    )  # fmt: skip
    norm = torch.nn.LayerNorm if strategy == "fsdp2" else torch.nn.BatchNorm1d  # statistics of its own on each rank
    net = Net(scheduler=kind == "search", norm=norm)
    trainer.fit(net, ckpt_path=resume, **({"weights_only": True} if resume else {}))
    return state_of(trainer, own)


def with_workers() -> None:
    """A sweep and a fit that fetch their batches in processes of their own."""
    test = LRRangeTest(1e-4, 10.0, 10_000, sandbox={"isolate_data": True})
    L.Trainer(callbacks=[Marks(), test], logger=False, enable_checkpointing=False, **QUIET).fit(
        Classifier(workers=1, persistent=True)
    )


def spread(strategy: str | None) -> dict[str, Any]:
    """Trainer arguments for two ranks whose collectives give up soon."""
    if strategy is None:
        return {}
    soon = timedelta(seconds=20)
    if strategy == "ddp":
        made: Any = DDPStrategy(timeout=soon)
    else:
        made = ModelParallelStrategy(
            data_parallel_size=2, tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=soon
        )
    return {"strategy": made, "devices": 2, "use_distributed_sampler": False}


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def state_of(trainer: L.Trainer, own: list[L.Callback]) -> dict[str, Any]:
    """All that two runs must have in common, tensors as digests."""
    return {
        "weights": {name: digest(tensor) for name, tensor in trainer.lightning_module.state_dict().items()},
        "optimizers": [plain(optimizer.state_dict()) for optimizer in trainer.optimizers],
        "schedulers": [plain(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs],
        "callbacks": {callback.state_key: plain(callback.state_dict()) for callback in own},
        "hparams": plain(dict(trainer.lightning_module.hparams)),
        "step": trainer.global_step,
    }


def plain(value: Any) -> Any:
    """As JSON, with every bit of a number."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return digest(value)
    return repr(value)


def digest(tensor: torch.Tensor) -> str:
    tensor = local(tensor)  # a sharded tensor's own part
    data = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return f"{tuple(tensor.shape)} {hashlib.sha256(data).hexdigest()[:24]}"


def warm_up() -> None:
    """Import lazily loaded parts once, in the server."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for kind in ("all", "search"):
            train(kind, 0, folder=folder)
        json.dumps({})
        assert list(Path(folder).rglob("*.ckpt"))
