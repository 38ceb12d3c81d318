"""The command's default job: a small CNN on the 1,797 real handwritten digits (8 x 8) that scikit-learn ships."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lr_lightning.rules.checks import MOST_LR, check_count, check_number, shown

CLASSES = 10


class DigitsCNN(L.LightningModule):
    """Two convolutions and a linear layer.

    Args:
        lr: Learning rate; a range test replaces it.
        width: Channels of the first convolution; the second has twice as many.
        optimizer: Builds the optimizer from parameters and ``lr``; AdamW by default.

    >>> import torch
    >>> DigitsCNN(width=4).net(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, lr: float = 1e-3, width: int = 16, optimizer: Callable[..., torch.optim.Optimizer] | None = None
    ):
        super().__init__()
        check_number("lr", lr, 0.0, MOST_LR, open_low=True)
        check_count("width", width, 1, 4096)
        if not (optimizer is None or callable(optimizer)):
            raise ValueError(f"optimizer must build an optimizer from parameters and lr, got {shown(optimizer)}")
        self.save_hyperparameters("lr", "width")
        self.lr, self.optimizer = lr, optimizer or torch.optim.AdamW
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.25), nn.Linear(2 * width * 16, CLASSES),
        )  # fmt: skip
        self.val_accuracy = MulticlassAccuracy(CLASSES, average="micro")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of one batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.net(images), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss and accuracy of one batch."""
        images, labels = batch
        logits = self.net(images)
        loss = nn.functional.cross_entropy(logits, labels)
        self.val_accuracy(logits, labels)
        self.log("val_loss", loss, prog_bar=True, sync_dist=True)
        self.log("val_accuracy", self.val_accuracy, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer over all parameters."""
        return self.optimizer(self.parameters(), lr=self.lr)


class DigitsData(L.LightningDataModule):
    """The digits, shuffled once with a fixed seed: 1,437 to train on, 360 to validate on.

    Args:
        batch_size: Images a batch.
        num_workers: Worker processes of the training loader.

    >>> DigitsData(batch_size=32).batch_size
    32
    """

    def __init__(self, batch_size: int = 64, num_workers: int = 0):
        super().__init__()
        check_count("batch_size", batch_size, 1)
        check_count("num_workers", num_workers, 0, 64)
        self.batch_size, self.num_workers = batch_size, num_workers

    def setup(self, stage: str | None = None) -> None:
        """Load the images, scaled to 0…1.

        Raises:
            ModuleNotFoundError: If scikit-learn is missing; the message says how to get it.
        """
        try:
            from sklearn.datasets import load_digits
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the digits come with scikit-learn: pip install 'lr-lightning[recipes]'"
            ) from error
        digits: Any = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(digits.target)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        self.train, self.val = (TensorDataset(images[part], labels[part]) for part in (order[:1437], order[1437:]))

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training batches."""
        return DataLoader(self.train, self.batch_size, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation batches."""
        return DataLoader(self.val, 360)
