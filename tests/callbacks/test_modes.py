"""A layer frozen by the user stays in evaluation mode, whatever a range test's steps and validations do."""

import pytest
import torch

from lr_lightning import LRRangeTest, range_test
from tests.callbacks.test_range_test_options import ReturnsLoss, fit


class Frozen(ReturnsLoss):
    """The norm layer is in evaluation mode from the start; each step of the test and the fit meets that."""

    def on_train_start(self):
        self.net[1].eval()
        self.wanted = [module.training for module in self.modules()]
        assert self.wanted.count(False) == 1

    def training_step(self, batch, batch_idx):
        assert [module.training for module in self.modules()] == self.wanted
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        assert not any(module.training for module in self.modules())
        return super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("options", [{}, {"evaluate": "val", "val_batches": 2}, {"repeats": 2}], ids=str)
def test_every_step_during_and_after_the_test_meets_the_same_modes(options):
    test = LRRangeTest(1e-6, 1.0, 12, **options)
    runner = fit(test, Frozen(), max_epochs=2, num_sanity_val_steps=0)
    assert test.result.coverage.visited >= 10
    assert runner.global_step == 16


def test_plain_torch_puts_the_modes_back():
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout(), torch.nn.Linear(2, 1)
    )
    model[1].eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss(model, batch):
        model[2].eval()  # a step may change modes for itself
        return (model(batch[0]) - batch[1]).square().mean()

    batches = [(torch.randn(8, 2), torch.randn(8, 1)) for _ in range(10)]
    result = range_test(model, optimizer, loss, batches, num_steps=20)
    assert result.coverage.visited >= 10
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
