"""The planned end of a fit: whichever of max_epochs and max_steps comes first."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning.callbacks._formula_setup import horizon_of
from lr_lightning.callbacks._plateau.horizon import planned_batches

BATCHES = 10


class Line(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Ends(L.Callback):
    """What is read off the trainer at the start, and after three batches."""

    def __init__(self):
        self.planned = []

    def on_train_start(self, trainer, pl_module):
        self.horizon, self.planned = horizon_of(trainer), [planned_batches(trainer, 0)]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 2 and trainer.current_epoch == 0:
            self.planned.append(planned_batches(trainer, 3))


def ends(**settings):
    ends = Ends()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    loader = DataLoader(TensorDataset(torch.ones(BATCHES, 1)), 1)
    L.Trainer(accelerator="cpu", callbacks=[ends], **quiet, **settings).fit(Line(), loader)
    return ends


@pytest.mark.parametrize(
    ("settings", "batches", "horizon"),
    # horizon: epochs, steps, batches and steps of an epoch
    [
        ({"max_epochs": 3}, 30, (3, 30, 10, 10)),
        ({"max_epochs": 3, "max_steps": 12}, 12, (2, 12, 10, 10)),
        ({"max_epochs": 1, "max_steps": 12}, 10, (1, 10, 10, 10)),
        ({"max_epochs": -1, "max_steps": 7}, 7, (1, 7, 10, 10)),
        ({"max_epochs": 3, "limit_train_batches": 4}, 12, (3, 12, 4, 4)),
    ],
)
def test_the_first_end_counts(settings, batches, horizon):
    found = ends(**settings)
    assert found.planned == [batches, batches]
    assert tuple(found.horizon) == horizon


def test_accumulated_batches_make_steps_longer_and_fewer():
    found = ends(max_epochs=2, max_steps=6, accumulate_grad_batches=3)
    # 10 batches make 4 steps, the last of one batch: two epochs would be 8 steps.
    assert found.planned == [18.0, 18.0]
    assert tuple(found.horizon) == (2, 6, 10, 4)
    assert tuple(ends(max_epochs=1, max_steps=6, accumulate_grad_batches=3).horizon) == (1, 4, 10, 4)
