"""A small fit whose LR is noted at every optimizer step."""

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.modules import WEIGHTS_ONLY


class Net(L.LightningModule):
    """Two named param groups with LRs 1:10."""

    def __init__(self, lr=0.1, scheduler=None, batches=4, optimizer="sgd", tensor_lr=False):
        super().__init__()
        self.lr, self.scheduler, self.batches = lr, scheduler, batches
        self.kind, self.tensor_lr = optimizer, tensor_lr
        self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
        self.late = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        (x,) = batch
        return self.late(self.head(torch.tanh(self.body(x)))).pow(2).mean()

    def configure_optimizers(self):
        groups = [
            {"params": self.body.parameters(), "lr": self.lr, "name": "body"},
            {"params": self.head.parameters(), "lr": 10 * self.lr, "name": "head"},
        ]
        if self.tensor_lr:
            for group in groups:
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
        if self.kind == "adam":
            optimizer = torch.optim.Adam(groups, lr=self.lr, foreach=False)
        else:
            optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=0.9)
        if self.scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler(optimizer), "monitor": "val_loss"},
        }

    def _data(self):
        # Rows all alike: Lightning begins a resumed epoch's data anew, which mustn't show in the weights here.
        return DataLoader(TensorDataset(torch.linspace(-1, 1, 4).expand(2 * self.batches, 4)), batch_size=2)

    def train_dataloader(self):
        return self._data()


class Validated(Net):
    """Its validation loss is what the test says, for each epoch."""

    def __init__(self, val_losses, **options):
        super().__init__(**options)
        self.val_losses = val_losses

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.val_losses[self.current_epoch])

    def val_dataloader(self):
        return self._data()


class Lrs(L.Callback):
    """Notes the LRs of all groups that each optimizer step uses."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([float(group["lr"]) for group in optimizer.param_groups])

    def of(self, group=0):
        return [lrs[group] for lrs in self.seen]


class Save(L.Callback):
    """A checkpoint after each step (but an epoch's last) and after each epoch."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, *_):
        if not trainer.is_last_batch:
            trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer, *_):
        trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt")


def fit(callbacks=(), net=None, ckpt_path=None, **options):
    """Fit and return (LRs of each step, module, trainer)."""
    torch.manual_seed(0)
    lrs, net = Lrs(), net if net is not None else Net()
    settings = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **options,
    }
    trainer = L.Trainer(callbacks=[*callbacks, lrs], **settings)
    trainer.fit(net, ckpt_path=ckpt_path, **(WEIGHTS_ONLY if ckpt_path else {}))
    return lrs, net, trainer
