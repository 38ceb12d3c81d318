"""A LightningDataModule in the template's manner."""

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


class Lines(LightningDataModule):
    def __init__(self, batch_size: int, num_workers: int):
        super().__init__()
        self.save_hyperparameters(logger=False)

    def setup(self, stage=None):
        x = torch.randn(320, 4, generator=torch.Generator().manual_seed(0))
        self.set = TensorDataset(x, x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]))

    def train_dataloader(self):
        return DataLoader(self.set, self.hparams.batch_size, shuffle=True, num_workers=self.hparams.num_workers)

    def val_dataloader(self):
        return DataLoader(self.set, self.hparams.batch_size, num_workers=self.hparams.num_workers)
