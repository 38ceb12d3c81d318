"""A project with LightningCLI: no line of it is about learning rates."""

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, width: int = 1):
        super().__init__()
        self.layer = torch.nn.Linear(4, width)

    def training_step(self, batch, batch_idx):
        return (self.layer(batch[0]) - batch[1]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", (self.layer(batch[0]) - batch[1]).pow(2).mean())

    def on_train_end(self):
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        print(f"\nLR {lr:.6g} with", *(type(callback).__name__ for callback in self.trainer.callbacks))


class Data(L.LightningDataModule):
    def train_dataloader(self):
        x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16)

    val_dataloader = train_dataloader


if __name__ == "__main__":
    LightningCLI(Net, Data)
