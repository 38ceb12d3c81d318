"""A module rebuilt from its checkpoint has the LRs in use, or is told that it won't; hidden schedulers follow."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRRangeTest, LRSearch
from lr_lightning.optim.param_groups import peak_lrs
from tests.optim.test_foreign import Peak


class Net(L.LightningModule):
    def __init__(self, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(0)
        self.start, self.net, self.head = lr, nn.Linear(8, 16), nn.Linear(16, 1)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.head(self.net(batch[0]).tanh()), batch[1])

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(1)
        x, weights = torch.randn(256, 8, generator=generator), torch.randn(8, 1, generator=generator)
        return DataLoader(TensorDataset(x, x @ weights + 0.1 * torch.randn(256, 1, generator=generator)), 16)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.start)


class Shares(Net):
    def configure_optimizers(self):
        lr = self.hparams.lr * 16 / 256
        groups = [{"params": self.net.parameters(), "lr": lr * 0.1}, {"params": self.head.parameters()}]
        optimizer = torch.optim.SGD(groups, lr=lr)
        return [optimizer], [LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))]


class Pair(Net):
    def __init__(self, lr=1e-3):
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss

    def configure_optimizers(self):
        return [torch.optim.Adam(part.parameters(), lr=self.start) for part in (self.net, self.head)]


class Fixed(Net):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


class Guarded(Net):
    """Its LR is an attribute that refuses to be written."""

    def __init__(self, lr=1e-3):
        super().__init__()
        self.__dict__["lr"] = lr

    def __setattr__(self, name, value):
        if name == "lr":
            raise AttributeError("lr is fixed")
        super().__setattr__(name, value)


class Counting(Net):
    calls = None

    def configure_optimizers(self):
        self.calls = [*(self.calls or []), 1]
        return super().configure_optimizers()


def fit(module, test, **settings):
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(callbacks=[test], accelerator="cpu", **{"max_steps": 2, **off, **settings})
    trainer.fit(module)
    return trainer


def ladder(**options):
    return LRRangeTest(progress_bar=False, **options)


def in_use(trainer):
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [peak_lrs(optimizer, schedulers) for optimizer in trainer.optimizers]


@pytest.mark.parametrize("kind", [Net, Shares, Counting])
def test_a_module_rebuilt_with_its_hparams_has_the_lrs_in_use(kind):
    test = ladder()
    trainer = fit(kind(), test)
    assert test.result.suggestion is not None
    made = kind(**trainer.lightning_module.hparams).configure_optimizers()
    optimizers, schedulers = made if isinstance(made, tuple) else ([made], [])
    for rebuilt, lrs in zip([peak_lrs(o, schedulers) for o in optimizers], in_use(trainer), strict=True):
        assert rebuilt == pytest.approx(lrs, rel=1e-9)


def test_asking_the_module_leaves_no_trace():
    assert fit(Counting(), ladder()).lightning_module.calls == [1]


@pytest.mark.parametrize(
    ("kind", "options"), [(Pair, {"optimizer": 0}), (Fixed, {}), (Guarded, {})], ids=["pair", "fixed", "guarded"]
)
def test_an_lr_that_others_hang_on_or_nobody_stays_and_is_named(kind, options):
    test = ladder(**options)
    with pytest.warns(UserWarning, match=r"the module's own lr=0\.001 stays as it is"):
        trainer = fit(kind(), test)
    assert trainer.lightning_module.hparams.lr == 1e-3 or kind is Guarded
    assert in_use(trainer)[0][0] == test.result.suggestion


class Second(Pair):
    """Only the second optimizer hangs on the module's LR."""

    def configure_optimizers(self):
        parts = [(self.net, 5e-3), (self.head, self.start)]
        return [torch.optim.Adam(part.parameters(), lr=lr) for part, lr in parts]


def test_the_lr_of_an_optimizer_that_was_tested_alone_follows():
    test = ladder(optimizer=1)
    assert fit(Second(), test).lightning_module.hparams.lr == pytest.approx(test.result.suggestion)


@pytest.mark.parametrize(("kind", "options"), [(Pair, {"optimizer": 0}), (Fixed, {})], ids=["pair", "fixed"])
def test_it_is_named_when_it_comes_about_and_not_again(tmp_path, recwarn, kind, options):
    test, again = ladder(at_epochs=[0, 1], **options), ladder(at_epochs=[0, 1], **options)
    settings = {"max_steps": -1, "limit_train_batches": 4}
    trainer = fit(kind(), test, max_epochs=2, **settings)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    resumed = L.Trainer(callbacks=[again], accelerator="cpu", max_epochs=3, **off, **settings)
    resumed.fit(kind(), ckpt_path=tmp_path / "last.ckpt")
    assert resumed.global_step > trainer.global_step
    assert len(again.results) == 2
    assert len([one for one in recwarn if "stays as it is" in str(one.message)]) == 1


def test_both_of_a_pair_tested_at_one_multiplier_follow():
    test = ladder()
    assert fit(Pair(), test).lightning_module.hparams.lr == pytest.approx(test.result.suggestion)


class Hidden(Net):
    """Steps a scheduler that Lightning isn't told of."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        self.helper = {"schedules": [CosineAnnealingLR(optimizer, 20)]}
        self.lrs = []
        return optimizer

    def on_train_batch_end(self, *_):
        self.helper["schedules"][0].step()

    def on_before_optimizer_step(self, optimizer):
        self.lrs.append(optimizer.param_groups[0]["lr"])


def test_a_scheduler_that_the_module_steps_itself_goes_on_with_the_lr_found():
    test = ladder()
    got = fit(Hidden(), test, max_steps=12).lightning_module.lrs
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=test.result.suggestion)
    schedule, expected = CosineAnnealingLR(optimizer, 20), []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert got == pytest.approx(expected, rel=1e-9)


class Adjusts(Net):
    """The idiom of plain PyTorch's examples, with a base LR that nobody else knows of; or relative."""

    def __init__(self, lr=1e-3, relative=False):
        super().__init__(lr)
        self.relative = relative

    def on_train_epoch_start(self):
        for group in self.trainer.optimizers[0].param_groups:
            before = group["lr"] if self.relative else 1e-3
            group["lr"] = before * 0.5 ** (self.current_epoch > 0)


def search():
    return LRSearch(num_steps=8, budget=5, progress_bar=False)


@pytest.mark.parametrize(("options", "said"), [({}, 1), ({"relative": True}, 1), (None, 0)])
@pytest.mark.parametrize("find", [ladder, search])
def test_an_lr_that_somebody_else_writes_later_is_told_once(recwarn, find, options, said):
    module, callback = Net() if options is None else Adjusts(**options), find()
    fit(module, callback, max_steps=80)
    words = [str(one.message) for one in recwarn if "the LR found is lost" in str(one.message)]
    assert len(words) == said
    name = type(callback).__name__
    assert all(word.startswith(name) and "something else has set it to" in word for word in words)


class Stranger(Adjusts):
    """Beside a scheduler that isn't torch's."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [Peak(optimizer, 0.1)]

    def on_train_epoch_start(self):
        if self.adjusts:
            super().on_train_epoch_start()


@pytest.mark.parametrize("adjusts", [True, False])
@pytest.mark.parametrize("find", [ladder, search])
def test_an_lr_beside_a_scheduler_that_is_not_known_is_told_once(recwarn, find, adjusts):
    module = Stranger()
    module.adjusts = adjusts
    fit(module, find(), max_steps=80)
    words = [str(one.message) for one in recwarn if "somebody else has set it" in str(one.message)]
    assert len(words) == adjusts
    assert all(word.startswith("the learning rate isn't what Peak and the changes") for word in words)
