"""Two PlateauDecays on different metrics, each with an optimizer of its own or both on one: interrupted and resumed."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lr_lightning import PlateauDecay
from tests.helpers.scripted import Scripted, fit

pytestmark = [
    # The resumed fit's ModelCheckpoint saves nothing, so it needs no folder.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # What is logged is written in advance and doesn't depend on the loader.
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    # The state after the step is the one wanted.
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),
]

FIRST = [5, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
SECOND = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
LOSSES = (0.7 + 0.01 * torch.randn(100, generator=torch.Generator().manual_seed(1))).tolist()
EPOCHS, EVERY = len(FIRST), 10


class Pair(Scripted):
    """Two optimizers, stepped by hand in turn, with a schedule each; two metrics and a loss, written in advance."""

    def __init__(self):
        super().__init__(FIRST, LOSSES, groups=2, batches=7)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.lrs.append([group["lr"] for one in self.trainer.optimizers for group in one.param_groups])
        for one, schedule, layer in zip(self.optimizers(), self.lr_schedulers(), self.layers, strict=True):
            one.zero_grad()
            self.manual_backward(layer(batch[0]).mean() + layer.weight.square().sum())
            one.step()
            schedule.step()
        loss = torch.tensor(self.losses[min(self.seen_batches, len(self.losses) - 1)])
        self.seen_batches += 1
        return loss

    def validation_step(self, batch, batch_idx):
        Scripted.validation_step(self, batch, batch_idx)
        self.log("accuracy", SECOND[self.validations])

    def configure_optimizers(self):
        both = [torch.optim.SGD(layer.parameters(), lr=lr) for layer, lr in zip(self.layers, (0.1, 0.03), strict=True)]
        return both, [torch.optim.lr_scheduler.ExponentialLR(one, 0.99) for one in both]


class Single(Scripted):
    """One optimizer that Lightning steps, and the same metrics."""

    def __init__(self):
        super().__init__(FIRST, groups=2, batches=14, scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 5))

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.lrs[-1] = [group["lr"] for one in self.trainer.optimizers for group in one.param_groups]
        return loss

    validation_step = Pair.validation_step


def own_optimizers(min_lr=0.01):
    return [
        PlateauDecay(patience=1, optimizer=0, min_lr=min_lr, cooldown=1),
        PlateauDecay("accuracy", mode="max", optimizer=1, factor=0.3, rule={"window": 5, "endgame": 0.2, "gate": True}),
    ]


def losses_and_metric():
    """The same optimizer index in both would be the same key, were it not for monitor and interval."""
    return [
        PlateauDecay("train_loss", interval="step", optimizer=0, rule={"window": 12, "endgame": 0.2, "read_every": 3}),
        PlateauDecay(patience=1, optimizer=[1], factor=0.3),
    ]


def one_optimizer():
    return [PlateauDecay(patience=1), PlateauDecay("accuracy", mode="max", patience=2, factor=0.3)]


@pytest.mark.parametrize(
    ("kind", "callbacks"), [(Pair, own_optimizers), (Pair, losses_and_metric), (Single, one_optimizer)]
)
def test_resumed_is_not_interrupted(tmp_path, kind, callbacks):
    whole, pair = kind(), callbacks()
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=EVERY)
    trainer = fit(whole, *pair, saver, max_epochs=EPOCHS, enable_checkpointing=True)
    assert len({callback.state_key for callback in pair}) == 2
    assert all(any(entry["action"] == "decay" for entry in callback.history) for callback in pair)
    # Both count 14 steps an epoch; resumed at an epoch's last, Lightning itself leaves that epoch's validation out.
    steps = [step for step in range(EVERY, 14 * EPOCHS, EVERY) if step % 14]
    for path in [tmp_path / f"step={step}.ckpt" for step in steps[1::3]]:
        resumed, again = kind(), callbacks()
        own = ModelCheckpoint(save_top_k=0, every_n_train_steps=EVERY)
        after = fit(resumed, *again, own, max_epochs=EPOCHS, enable_checkpointing=True, ckpt_path=path)
        assert 0 < len(resumed.lrs) < len(whole.lrs)
        assert resumed.lrs == whole.lrs[-len(resumed.lrs) :], path.stem
        assert [one.history for one in again] == [one.history for one in pair], path.stem
        assert [repr(one.state_dict()) for one in again] == [repr(one.state_dict()) for one in pair], path.stem
        lrs = [[group["lr"] for one in run.optimizers for group in one.param_groups] for run in (after, trainer)]
        assert lrs[0] == lrs[1]


def test_each_optimizer_has_its_own_factor():
    pair = own_optimizers(min_lr=0.0)
    module = Pair()
    trainer = fit(module, *pair, max_epochs=EPOCHS)
    first, second = (one.param_groups[0] for one in trainer.optimizers)
    schedule = 0.99 ** len(module.lrs)
    assert first["lr"] == pytest.approx(0.1 * schedule * first["lr_factor"])
    assert pair[0].factor_so_far == first["lr_factor"] < 0.5**2
    assert second["lr"] == pytest.approx(0.03 * schedule * second["lr_factor"])
    assert pair[1].factor_so_far == pytest.approx(second["lr_factor"])
    assert pair[1].factor_so_far < 0.1
    changes = [entry for entry in pair[1].history if entry["action"] == "decay"]
    assert changes[0]["old_lr"] < 0.03


def test_factors_on_one_optimizer_multiply():
    pair, module = one_optimizer(), Single()
    trainer = fit(module, *pair, max_epochs=EPOCHS)
    product = pair[0].factor_so_far * pair[1].factor_so_far
    assert all(callback.factor_so_far < 0.5 for callback in pair)
    for group, start in zip(trainer.optimizers[0].param_groups, (0.1, 0.01), strict=True):
        assert group["lr"] == pytest.approx(start * product * 0.1 ** (EPOCHS // 5))
        assert group["lr_factor"] == pytest.approx(product)
