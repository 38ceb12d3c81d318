"""A module whose metrics are written in advance, so that what a callback must decide is known."""

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Scripted(L.LightningModule):
    """``values``: what each validation logs as ``val_loss``; ``losses``: the training loss of each batch."""

    def __init__(self, values=(), losses=(), lr=0.1, scheduler=None, batches=4, interval="epoch", groups=1):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(2, 1) for _ in range(groups))
        self.values, self.losses, self.lr, self.scheduler = list(values), list(losses), lr, scheduler
        self.batches, self.interval = batches, interval
        self.lrs, self.seen_batches, self.validations = [], 0, 0

    def training_step(self, batch, batch_idx):
        self.lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        loss = sum(layer(batch[0]).mean() for layer in self.layers) * 0.0
        if self.losses:
            loss = loss + self.losses[min(self.seen_batches, len(self.losses) - 1)]
        self.seen_batches += 1
        self.log("epoch_metric", float(self.current_epoch), on_step=False, on_epoch=True)
        self.log("step_metric", loss.detach(), on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch, batch_idx):
        value = self.values[min(self.validations, len(self.values) - 1)] if self.values else 1.0
        self.log("val_loss", torch.tensor(float(value), dtype=torch.float64))

    def on_validation_end(self):
        if not self.trainer.sanity_checking:
            self.validations += 1

    def state_counts(self):
        return {"seen_batches": self.seen_batches, "validations": self.validations}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["scripted"] = {"seen_batches": self.seen_batches, "validations": self.validations}

    def on_load_checkpoint(self, checkpoint):
        self.seen_batches = checkpoint["scripted"]["seen_batches"]
        self.validations = checkpoint["scripted"]["validations"]

    def configure_optimizers(self):
        groups = [{"params": layer.parameters(), "lr": self.lr * 10**-i} for i, layer in enumerate(self.layers)]
        optimizer = torch.optim.SGD(groups, lr=self.lr)
        if self.scheduler is None:
            return optimizer
        config = {"scheduler": self.scheduler(optimizer), "interval": self.interval}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(self.batches, 2)), batch_size=1)

    def val_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(1, 2)))


def fit(module, *callbacks, ckpt_path=None, **settings):
    """Fit quietly; returns the trainer."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(callbacks=list(callbacks), **{**quiet, **settings})
    trainer.fit(module, ckpt_path=ckpt_path)
    return trainer
