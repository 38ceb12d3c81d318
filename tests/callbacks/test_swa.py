"""Lightning's weight averaging, begun in epoch 0: it writes its target LR where torch keeps the initial one."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging

from lr_lightning.optim import param_groups
from tests.helpers.formula_fit import Net, fit

SWA = 0.03


class Found(L.Callback):
    """Applies an LR before the first step, as a range test does."""

    def __init__(self, lr):
        self.lr = lr

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 0:
            schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
            self.changes = param_groups.rescale(trainer.optimizers, schedulers, self.lr)


@pytest.mark.parametrize("lrs", [SWA, [SWA, 0.3]])
@pytest.mark.filterwarnings("ignore:Swapping scheduler")
def test_an_lr_found_in_epoch_0_is_where_the_averaging_starts_from(lrs):
    def averaging():
        return StochasticWeightAveraging(swa_lrs=lrs, swa_epoch_start=1, annealing_epochs=4)

    found = Found(0.0471)
    tested, _, trainer = fit([averaging(), found], Net(lr=0.1), max_epochs=6)
    plain, _, other = fit([averaging()], Net(lr=0.0471), max_epochs=6)
    assert [(change.old, change.new) for change in found.changes] == [(0.1, 0.0471), (1.0, 10 * 0.0471)]
    assert tested.seen == plain.seen
    assert trainer.optimizers[0].param_groups[0]["swa_lr"] == SWA
    assert tested.seen[-1] == pytest.approx([SWA, SWA if lrs == SWA else 0.3])
    assert [group["lr"] for group in other.optimizers[0].param_groups] == tested.seen[-1]


def test_plain_torch_keeps_the_target_too():
    def build(lr):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr)
        return optimizer, torch.optim.swa_utils.SWALR(optimizer, swa_lr=SWA, anneal_epochs=3)

    optimizer, scheduler = build(0.1)
    param_groups.rescale([optimizer], [scheduler], 0.7)
    other, fresh = build(0.7)
    for _ in range(5):
        assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"]
        for one, by in ((optimizer, scheduler), (other, fresh)):
            one.step()
            by.step()
    assert other.param_groups[0]["lr"] == pytest.approx(SWA)
