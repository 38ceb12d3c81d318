"""Small modules and data that hold every kind of state a training step can touch."""

import inspect

import lightning as L
import torch
import torchmetrics
from torch import nn
from torch.utils.data import DataLoader, Dataset

FEATURES, CLASSES = 16, 3
# Lightning 2.5 reads checkpoints with pickle and has no such argument.
WEIGHTS_ONLY = {"weights_only": True} if "weights_only" in inspect.signature(L.Trainer.fit).parameters else {}


class Noisy(Dataset):
    """Map-style data with a random augmentation drawn from torch's global RNG."""

    def __init__(self, size: int = 128, seed: int = 7):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(size, FEATURES, generator=generator)
        self.y = (self.x @ torch.randn(FEATURES, CLASSES, generator=torch.Generator().manual_seed(0))).argmax(1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index] + 0.01 * torch.randn(FEATURES), self.y[index]


def network(width: int = 32, norm: type | None = nn.BatchNorm1d) -> nn.Sequential:
    layers = [nn.Linear(FEATURES, width), *([norm(width)] if norm else []), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES))


class Classifier(L.LightningModule):
    """BatchNorm, dropout, a torchmetrics metric, two param groups, plain attributes that a step changes."""

    def __init__(self, lr=1e-3, optimizer="adamw", scheduler=None, workers=0, persistent=False, width=32, loader=None):
        super().__init__()
        self.save_hyperparameters("lr")
        self.lr, self.optimizer, self.scheduler, self.loader = lr, optimizer, scheduler, loader
        self.workers, self.persistent = workers, persistent
        self.net = network(width)
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=CLASSES)
        self.register_buffer("running", torch.zeros(()))
        self.seen: list[int] = []
        self.ema = 0.0

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.net(x)
        loss = nn.functional.cross_entropy(logits, y)
        self.accuracy(logits, y)
        self.seen.append(len(x))
        self.ema = 0.9 * self.ema + 0.1 * float(loss.detach())
        self.running = 0.9 * self.running + 0.1 * loss.detach()
        self.log("train_loss", loss)
        self.log("train_accuracy", self.accuracy, on_step=True, on_epoch=True)
        return loss * (1 + 0.01 * self.ema)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y), sync_dist=True)

    def groups(self):
        parameters = list(self.net.parameters())
        return [{"params": parameters[:-2], "lr": self.lr}, {"params": parameters[-2:], "lr": self.lr * 10.0}]

    def configure_optimizers(self):
        makers = {
            "adamw": lambda g: torch.optim.AdamW(g, lr=self.lr),
            "sgd": lambda g: torch.optim.SGD(g, lr=self.lr, momentum=0.9),
        }
        optimizer = makers[self.optimizer](self.groups())
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train_dataloader(self):
        if self.loader is not None:
            return self.loader()
        return DataLoader(
            Noisy(), batch_size=16, shuffle=True, num_workers=self.workers, persistent_workers=self.persistent
        )

    def val_dataloader(self):
        return DataLoader(Noisy(48, 8), batch_size=16)
