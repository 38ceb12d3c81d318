"""The modules that the distributed tests train."""

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.utils.data import DataLoader

from tests.helpers.modules import Classifier, Noisy, network


class FSDP2(Classifier):
    """Sharded by ``fully_shard``, with or without BatchNorm."""

    norm: type | None = nn.BatchNorm1d

    def __init__(self, lr):
        super().__init__(lr=lr)
        self.net = None

    def configure_model(self):
        try:
            from torch.distributed.fsdp import fully_shard
        except ImportError:  # torch 2.4 and 2.5
            from torch.distributed._composable.fsdp import fully_shard

        if self.net is not None:
            return
        torch.manual_seed(11)
        self.net = network(norm=self.norm)
        mesh = self.device_mesh["data_parallel"]
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                fully_shard(layer, mesh=mesh)
        fully_shard(self.net, mesh=mesh)


class LayerNorm(FSDP2):
    norm = nn.LayerNorm


class TensorParallel(FSDP2):
    def configure_model(self):
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        if self.net is not None:
            return
        torch.manual_seed(11)
        self.net = nn.Sequential(*(layer for layer in network(norm=None) if not isinstance(layer, nn.Dropout)))
        mesh = self.device_mesh["tensor_parallel"]
        parallelize_module(self.net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


class Manual(Classifier):
    def __init__(self, lr):
        super().__init__(lr=lr)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        optimizers, loss = self.optimizers(), nn.functional.cross_entropy(self.net(x), y)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer, scheduler in zip(optimizers, self.lr_schedulers(), strict=True):
            optimizer.step()
            scheduler.step()
        return loss

    def configure_optimizers(self):
        parameters = list(self.net.parameters())
        first = torch.optim.AdamW(parameters[:-2], lr=self.lr)
        second = torch.optim.SGD(parameters[-2:], lr=self.lr * 10.0, momentum=0.9)
        return [first, second], [torch.optim.lr_scheduler.StepLR(o, 7) for o in (first, second)]


class Workers(Classifier):
    """A worker from a fork server: a plain fork beside gloo's threads hangs now and then, range test or not."""

    def train_dataloader(self):
        return DataLoader(Noisy(), 16, shuffle=True, num_workers=1, multiprocessing_context="forkserver")


class Wide(Classifier):
    """Several DDP buckets."""

    def __init__(self, lr):
        super().__init__(lr=lr, width=1024)


class Known(L.LightningModule):
    """Losses known in closed form: 100 + ``rank`` - number of the call, at 4 samples on rank 0 and 12 on rank 1.

    Args:
        special: ``(rank, call, what)``: there ``what`` happens instead.
    """

    def __init__(self, lr=1e-3, special=None):
        super().__init__()
        self.lr, self.special, self.calls = lr, special, 0
        self.weight = nn.Parameter(torch.zeros(2))

    def training_step(self, batch, batch_idx):
        call, self.calls = self.calls, self.calls + 1
        if self.special is not None and self.special[0] == self.global_rank and call >= self.special[1]:
            return self.special[2](self) + self.weight.sum() * 0
        return 100.0 + self.global_rank - call + self.weight.sum() * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return DataLoader(torch.zeros(20 * 4 * (1 + 2 * self.global_rank), 1), 4 * (1 + 2 * self.global_rank))


class Guarded(L.LightningModule):
    """A line that diverges; its guard raises where the weights are too large, or ``where`` says.

    Args:
        where: ``"all"``: on all ranks; ``"backward"``: in the backward of all; ``"one"``: on rank 1 alone;
            ``"healthy"``: on all ranks, while the loss falls.
    """

    def __init__(self, lr=1e-3, where="all"):
        super().__init__()
        self.lr, self.where = lr, where
        self.net = nn.Linear(4, 1)

    def configure_model(self):
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            from torch.distributed.fsdp import fully_shard

            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch, batch_idx):
        x = batch + 0.1 * self.global_rank
        loss = nn.functional.mse_loss(self.net(x).squeeze(1), x.sum(1))
        # By the weights, which all ranks share: their losses differ.
        bad = batch_idx == 7 if self.where == "healthy" else float(self.net.weight.detach().abs().max()) > 100
        if bad and self.where == "backward":
            loss.register_hook(_raise)
        elif bad and (self.where != "one" or self.global_rank == 1):
            _raise(loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return DataLoader(torch.randn(320, 4, generator=torch.Generator().manual_seed(1)), 16)


def _raise(value):
    raise ValueError("too large")
