"""LRRangeTest's options: repeats, validation loss, later epochs, on demand, one of several optimizers."""

import lightning as L
import pytest
import torch
from torch import nn

from lr_lightning import LRRangeTest
from tests.callbacks.test_no_trace import compare, cosine
from tests.callbacks.test_range_test import Line, fit, lrs, trainer
from tests.helpers.modules import Classifier
from tests.helpers.spy import Said

RANGE = {"min_lr": 1e-6, "max_lr": 10.0}


class ReturnsLoss(Classifier):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])


@pytest.mark.parametrize(
    "options",
    [{"evaluate": "val", "val_batches": 2}, {"repeats": 2}, {"sandbox": {"snapshot_device": "cpu"}}],
    ids=lambda o: next(iter(o)),
)
def test_no_option_leaves_a_trace(tmp_path, options):
    test = LRRangeTest(**RANGE, **options)
    assert compare(tmp_path, epochs=1, test=test, scheduler=cosine, model=ReturnsLoss) is None


def test_the_validation_loss_is_that_of_the_weights_before_the_step():
    class Fixed(Line):
        def validation_step(self, batch, batch_idx):
            return self.training_step(batch, batch_idx) + 7.0

        val_dataloader = Line.train_dataloader

    validated, trained = LRRangeTest(**RANGE, evaluate="val"), LRRangeTest(**RANGE, sandbox={"num_batches": 1})
    fit(validated, Fixed(batches=1))
    fit(trained, Fixed(batches=1))
    shared = min(len(validated.result.losses), len(trained.result.losses), 60)
    expected = [loss + 7.0 for loss in trained.result.losses[:shared]]
    assert validated.result.losses[:shared] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("module", "message"),
    [(Line(), "needs a val_dataloader"), (Classifier(), "validation_step returns; it returned NoneType")],
    ids=["no-loader", "no-return"],
)
def test_validation_losses_that_cannot_be_had(module, message):
    with pytest.raises(ValueError, match=message):
        fit(LRRangeTest(**RANGE, evaluate="val"), module)


def test_at_epochs_tests_at_those_epochs_and_resumes_without_repeating(tmp_path):
    test = LRRangeTest(**RANGE, at_epochs=[0, 2])
    runner = fit(test, max_epochs=3)
    assert test.state_dict()["done"] == [0, 2]
    runner.save_checkpoint(tmp_path / "last.ckpt")
    again = LRRangeTest(**RANGE, at_epochs=[0, 2, 3])
    resumed = trainer([again], max_epochs=4)
    resumed.fit(Line(), ckpt_path=tmp_path / "last.ckpt")
    assert lrs(resumed) == [resumed.lightning_module.lr] == [again.result.suggestion], "a rebuilt module has it"
    assert again.state_dict()["done"] == [0, 2, 3]
    assert again.previous_lr == test.result.suggestion
    found = [one.suggestion for one in test.results]
    assert len(found) == 2
    assert test.results[-1] is test.result
    assert [one.suggestion for one in again.results] == [*found, again.result.suggestion]
    fit(test, max_epochs=1)  # another training begins
    assert test.results == [test.result]


def test_mid_training_the_optimizers_state_comes_back_bit_for_bit():
    class Momentum(Line):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=self.lr)

    states = []

    class Around(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 12:
                inner = trainer.optimizers[0].state[module.weight]
                states.append({k: v.clone() for k, v in inner.items()} | {"weight": module.weight.detach().clone()})
                test.run(trainer)
                states.append({k: v.clone() for k, v in inner.items()} | {"weight": module.weight.detach().clone()})

    test = LRRangeTest(**RANGE, at_epochs=[], apply=False)
    trainer([test, Around()], max_epochs=2).fit(Momentum())
    before, after = states
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert test.result.suggestion is not None


def test_on_demand_after_unfreezing():
    class Unfreeze(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                trainer.optimizers[0].add_param_group({"params": [module.extra], "lr": module.lr / 10})
                test.run(trainer)

    class Frozen(Line):
        def __init__(self):
            super().__init__()
            self.extra = nn.Parameter(torch.zeros(()))

        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0], batch[1] - self.extra), batch_idx)

        def configure_optimizers(self):
            return torch.optim.SGD([self.weight], lr=self.lr)

    test = LRRangeTest(**RANGE, at_epochs=[])
    runner = trainer([test, Unfreeze()], max_epochs=2)
    runner.fit(Frozen())
    assert lrs(runner) == pytest.approx([test.result.suggestion, test.result.suggestion / 10])
    assert runner.lightning_module.lr == test.result.suggestion, "the first group hangs on it"


class Two(L.LightningModule):
    """Two optimizers of their own, stepped by hand; the second one's LR hardly matters to the loss."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
        self.train_dataloader = Line().train_dataloader

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = ((x @ (self.first + 0.01 * self.second) - y) ** 2).mean()
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss

    def configure_optimizers(self):
        return [torch.optim.SGD([self.first], lr=1e-3), torch.optim.SGD([self.second], lr=2e-3)]


def test_several_optimizers_are_swept_together_or_one_alone():
    together, alone = LRRangeTest(**RANGE), LRRangeTest(**RANGE, optimizer=0)
    both, first = lrs(fit(together, Two())), lrs(fit(alone, Two()))
    assert both == pytest.approx([together.result.suggestion, together.result.suggestion * 2])
    assert first == [alone.result.suggestion, 2e-3]


def test_an_optimizer_that_is_not_there():
    with pytest.raises(ValueError, match="optimizer must be below 1, the number of optimizers, got 3"):
        fit(LRRangeTest(**RANGE, optimizer=3))


def test_an_optimizer_whose_lr_is_no_step_size_is_refused_unless_forced():
    class Prodigy(torch.optim.SGD):
        """Stands for the real one by what marks it: a `d` in its groups."""

        def __init__(self, params, lr):
            super().__init__(params, lr)
            for group in self.param_groups:
                group["d"] = 1e-6

    class Uses(Line):
        def configure_optimizers(self):
            return Prodigy(self.parameters(), lr=self.lr)

    with pytest.raises(ValueError, match=r"Prodigy estimates its own step size.*'force': True"):
        fit(LRRangeTest(**RANGE), Uses())
    forced = LRRangeTest(**RANGE, sandbox={"force": True})
    fit(forced, Uses())
    assert forced.result.suggestion is not None


def test_manual_optimization_that_steps_nothing_is_an_error():
    class Still(Two):
        def training_step(self, batch, batch_idx):
            return (batch[0] @ self.first).mean()

    with pytest.raises(RuntimeError, match="no optimizer step in 1000 training batches"):
        fit(LRRangeTest(**RANGE), Still())


def test_fitting_twice_tests_a_new_module_and_spares_the_old_one():
    test, module = LRRangeTest(**RANGE), Line()
    runner = fit(test, module)
    first = test.result
    runner.fit_loop.max_epochs = 2
    runner.fit(module)
    assert test.result is first
    fit(test, Line(lr=0.5))
    assert test.result is not first
    assert test.previous_lr == 0.5


@pytest.mark.parametrize(("scheduled", "kind"), [(True, "decay"), (False, "constant")])
def test_the_suggestion_is_for_the_kind_of_run(scheduled, kind):
    class Long(Line):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
            return ([optimizer], [scheduler]) if scheduled else optimizer

    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            trainer.should_stop = True

    test = LRRangeTest(**RANGE)
    trainer([test, Stop()], max_epochs=1000).fit(Long())
    found = test.result.schedules
    assert found["constant"] < found["decay"]
    assert test.result.suggestion == found[kind]
    told = LRRangeTest(**RANGE, rule={"schedule": "constant"})
    trainer([told, Stop()], max_epochs=1000).fit(Long())
    assert told.result.suggestion == told.result.schedules["constant"] == found["constant"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": {"schedule": "cosine"}}, "schedule must be one of auto, decay, constant, got 'cosine'"),
        ({"rule": {"nme": "share"}}, "rule has no key 'nme'; did you mean 'name'"),
        ({"rule": {"name": "valley", "pace": 1.0}}, "pace is a setting of the rule 'share', got pace=1.0"),
        ({"sandbox": {"num_batch": 3}}, "sandbox has no key 'num_batch'; did you mean 'num_batches'"),
        ({"sandbox": 5}, "sandbox must be a mapping, .*got 5"),
        ({"sandbox": {"force": 1}}, "force must be true or false, got 1"),
        ({"evaluate": "test"}, "evaluate must be one of train, val, got 'test'"),
        ({"at_epochs": [-1]}, "at_epochs must be an integer of at least 0, got -1"),
        ({"repeats": 0}, "repeats must be an integer of at least 1, got 0"),
        ({"optimizer": -1}, "optimizer must be an integer of at least 0, got -1"),
        ({"sandbox": {"keep_callbacks": [5]}}, "keep_callbacks must be callback classes or their names, got 5"),
    ],
)
def test_bad_options_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        LRRangeTest(**options)


def test_another_optimizers_cyclic_scheduler_does_not_set_this_ones_ratio():
    class Cyclic(Two):
        def configure_optimizers(self):
            first, second = super().configure_optimizers()
            return [first, second], [torch.optim.lr_scheduler.CyclicLR(second, 1e-4, 5e-3, cycle_momentum=False)]

        def training_step(self, batch, batch_idx):
            swept.append([o.param_groups[0]["lr"] for o in self.optimizers()])
            return super().training_step(batch, batch_idx)

    swept = Said()
    test = LRRangeTest(**RANGE, apply=False)
    fit(test, Cyclic())
    ladder = [[lr, lr * 5.0] for lr in test.result.lrs]  # 1e-3 against a peak of 5e-3
    assert swept[: len(ladder)] == [pytest.approx(pair) for pair in ladder]
