"""Trouble inside of a sweep: steps that raise because they diverged, other writers of the LR, manual optimization."""

import lightning as L
import pytest
import torch
from torch import nn

from lr_lightning import LRFormula, LRRangeTest, LRSearch, PlateauDecay, range_test
from lr_lightning.callbacks._schedulers import decays
from tests.callbacks.test_range_test import Line, fit, lrs, trainer
from tests.callbacks.test_range_test_options import Two
from tests.helpers.spy import Said

RANGE = {"min_lr": 1e-6, "max_lr": 1e3, "num_steps": 100, "apply": False}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A search writes its records into the working directory where there is no logger."""
    monkeypatch.chdir(tmp_path)


class Net(Line):
    """Diverges fast; ``checks`` raises where it has."""

    def __init__(self, checks=lambda loss, out: None, **kwargs):
        super().__init__(**kwargs)
        self.checks = checks
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))

    def training_step(self, batch, batch_idx):
        out = self.net(batch[0]).squeeze(1)
        loss = ((out - batch[1]) ** 2).mean()
        self.checks(loss, out)
        return loss


def finite(loss, out):
    if not torch.isfinite(loss):
        raise ValueError("the loss is not finite")


def probabilities(loss, out):
    torch.distributions.Normal(out, 1.0, validate_args=True)


def limited(loss, out):
    assert float(loss.detach()) < 1e9, "exploded"


@pytest.mark.parametrize("check", [finite, probabilities, limited])
def test_a_step_that_raises_because_it_diverged_ends_the_sweep_like_divergence(check):
    right, got = LRRangeTest(**RANGE), LRRangeTest(**RANGE)
    fit(right, Net())
    runner = fit(got, Net(check))
    assert got.result.suggestion == right.result.suggestion is not None
    assert got.result.coverage.visited <= right.result.coverage.visited
    assert runner.global_step == 8


def test_anomaly_detection_ends_the_sweep_like_divergence():
    right, got = LRRangeTest(**RANGE), LRRangeTest(**RANGE)
    fit(right, Net())
    fit(got, Net(), detect_anomaly=True)
    assert got.result.suggestion == right.result.suggestion is not None


def test_a_trial_that_raises_because_it_diverged_has_diverged():
    right, got = (LRSearch(1e-4, 1e6, num_steps=12, budget=5, range_test=False) for _ in range(2))
    fit(right, Net())
    fit(got, Net(finite))
    assert got.best_lr == right.best_lr is not None
    assert "diverged" in {trial.status for trial in got.trials}


def test_an_error_of_a_healthy_step_is_raised_with_everything_restored():
    class Fails(Net):
        def training_step(self, batch, batch_idx):
            if self.global_step == 5:
                raise ValueError("not today")
            return super().training_step(batch, batch_idx)

    module = Fails()
    before = [p.clone() for p in module.net.parameters()]
    with pytest.raises(ValueError, match="not today"):
        fit(LRRangeTest(**RANGE), module)
    assert all(torch.equal(a, b) for a, b in zip(before, module.net.parameters(), strict=True))


def test_a_bug_while_the_loss_rises_is_raised_all_the_same():
    class Misspelt(Net):
        risen = False

        def training_step(self, batch, batch_idx):
            if self.risen:
                {}["weight"]
            loss = super().training_step(batch, batch_idx)
            self.risen = bool(loss > 3 * first)
            return loss

    first = float(Net().training_step(next(iter(Line().train_dataloader())), 0).detach())
    with pytest.raises(KeyError, match="weight"):
        fit(LRRangeTest(**{**RANGE, "max_lr": 10.0}), Misspelt())


class InStep(Line):
    def optimizer_step(self, epoch, batch_idx, optimizer, closure):
        optimizer.param_groups[0]["lr"] = 0.01
        optimizer.step(closure=closure)


class AfterStep(Line):
    def optimizer_step(self, epoch, batch_idx, optimizer, closure):
        optimizer.step(closure=closure)
        for group in optimizer.param_groups:
            group.update(lr=0.01)


class InTraining(Line):
    def training_step(self, batch, batch_idx):
        self.optimizers().param_groups[0]["lr"] = 0.01
        return super().training_step(batch, batch_idx)


class BeforeStep(Line):
    def on_before_optimizer_step(self, optimizer):
        optimizer.param_groups[0]["lr"] = 0.01


@pytest.mark.parametrize(
    ("module", "hook"),
    [(InStep, "optimizer_step"), (AfterStep, "optimizer_step"), (InTraining, "training_step"),
     (BeforeStep, "on_before_optimizer_step")],
)  # fmt: skip
def test_whoever_else_writes_the_lr_is_named_and_nothing_is_suggested(module, hook):
    test = LRRangeTest(**{**RANGE, "apply": True})
    runner = fit(test, module())
    assert (test.result.status, test.result.suggestion) == ("overruled", None)
    assert f"{module.__name__}.{hook} writes the LR itself" in test.result.reason
    assert type(runner.optimizers[0].param_groups[0]) is dict
    search = LRSearch(1e-4, 0.1, num_steps=8, budget=5, range_test=False)
    fit(search, module())
    assert search.best_lr is None
    assert hook in search.plan.reason


class TwoGroups(Net):
    def configure_optimizers(self):
        groups = [
            {"params": layer.parameters(), "lr": self.lr * share}
            for layer, share in ((self.net[0], 1), (self.net[2], 2))
        ]
        return torch.optim.SGD(groups)


class GroupByGroup(TwoGroups):
    """As DeepSpeed's ZeRO steps: the optimizer sees one group at a time."""

    lr_of_last = None

    def optimizer_step(self, epoch, batch_idx, optimizer, closure):
        closure()
        groups, inner = optimizer.param_groups, optimizer.optimizer
        for group in groups:
            if group is groups[-1] and self.lr_of_last is not None:
                group["lr"] = self.lr_of_last
            inner.param_groups = [group]
            inner.step()
        inner.param_groups = groups


class OneGroupFixed(GroupByGroup):
    lr_of_last = 0.01


def test_an_optimizer_stepped_group_by_group_is_swept_like_one_stepped_at_once():
    plain, parts, fixed = (LRRangeTest(**RANGE) for _ in range(3))
    fit(plain, TwoGroups())
    fit(parts, GroupByGroup())
    assert parts.result.status == plain.result.status == "ok"
    assert repr(parts.result.losses) == repr(plain.result.losses)  # they end with NaN
    fit(fixed, OneGroupFixed())
    assert "OneGroupFixed.optimizer_step writes the LR itself" in fixed.result.reason


def test_another_callback_that_writes_the_lr_is_muted_and_a_kept_one_named():
    class Writes(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            optimizer.param_groups[0]["lr"] = 0.01

    test = LRRangeTest(**RANGE, sandbox={"keep_callbacks": ["Writes"]})
    trainer([test, Writes()]).fit(Line())
    assert "Writes.on_before_optimizer_step writes the LR itself" in test.result.reason
    with pytest.raises(ValueError, match="keep_callbacks names 'Write', which this trainer doesn't have; did you mean"):
        trainer([LRRangeTest(sandbox={"keep_callbacks": ["Write"]}), Writes()]).fit(Line())


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_scheduler_stepped_by_hand_is_no_other_writer():
    class Scheduled(Two):
        def training_step(self, batch, batch_idx):
            for scheduler in self.lr_schedulers():
                scheduler.step()
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            optimizers = super().configure_optimizers()
            return optimizers, [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in optimizers]

    plain, scheduled = LRRangeTest(**RANGE), LRRangeTest(**RANGE)
    fit(plain, Two())
    runner = fit(scheduled, Scheduled())
    assert scheduled.result.losses == plain.result.losses
    assert lrs(runner) == [1e-3 / 2**8, 2e-3 / 2**8]


class ByHand(Line):
    """Steps at each ``every``-th batch, returns nothing."""

    def __init__(self, every=1, returns=False):
        super().__init__(batches=64)
        self.automatic_optimization, self.every, self.returns = False, every, returns

    def training_step(self, batch, batch_idx):
        optimizer, loss = self.optimizers(), super().training_step(batch, batch_idx)
        self.manual_backward(loss / self.every)
        if (batch_idx + 1) % self.every == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss if self.returns else None


@pytest.mark.parametrize("every", [1, 32])
def test_manual_optimization_that_returns_nothing_has_its_loss_from_the_backward(every):
    settings = {"min_lr": 1e-5, "max_lr": 10.0, "num_steps": 40, "apply": False}
    silent, told = LRRangeTest(**settings), LRRangeTest(**settings)
    fit(silent, ByHand(every))
    fit(told, ByHand(every, returns=True))
    assert [loss * every for loss in silent.result.losses] == pytest.approx(told.result.losses, rel=1e-5)
    assert silent.result.suggestion == pytest.approx(told.result.suggestion, rel=1e-3)


def test_a_generator_that_steps_every_25_batches():
    class Critics(Two):
        def training_step(self, batch, batch_idx):
            x, y = batch
            for number, optimizer in enumerate(self.optimizers()):
                if number == 0 and batch_idx % 25 != 24:
                    continue
                self.toggle_optimizer(optimizer)
                loss = ((x @ (self.first + self.second) - y) ** 2).mean() * (1.0 if number else 7.0)
                optimizer.zero_grad()
                self.manual_backward(loss)
                steps.append((number, optimizer.param_groups[0]["lr"]))
                optimizer.step()
                self.untoggle_optimizer(optimizer)

    for index in (None, 0, 1):
        steps = Said()
        module = Critics()
        module.train_dataloader = Line(batches=50).train_dataloader
        test = LRRangeTest(**{**RANGE, "num_steps": 20}, optimizer=index)
        fit(test, module, limit_train_batches=50)
        ladder = {round(lr, 12) for lr in test.result.lrs}
        swept = {round(lr, 12) for number, lr in steps if number == (index or 0)}
        assert ladder <= swept
        ratios = {
            round(second / first, 6) for (_, first), (n, second) in zip(steps[24::26], steps[25::26], strict=False) if n
        }
        assert index is not None or not ratios or ratios == {2.0}


class RelativeStep(torch.optim.SGD):
    def __init__(self, parameters):
        super().__init__(parameters, lr=1.0)
        self.param_groups[0]["lr"] = None


@pytest.mark.parametrize(
    ("made", "words"),
    [(lambda p: None, "configure_optimizers of this module returns none"),
     (RelativeStep, "RelativeStep has no LR \\(lr=None\\)")],
)  # fmt: skip
@pytest.mark.parametrize("callback", [lambda: LRRangeTest(**RANGE), lambda: LRSearch(num_steps=8, budget=5)])
@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_what_has_no_lr_is_refused_by_name(callback, made, words):
    class Has(Line):
        def configure_optimizers(self):
            return made(self.parameters())

    with pytest.raises(ValueError, match=words):
        fit(callback(), Has())


def test_subclasses_of_what_decays_the_lr_are_known():
    class Own(PlateauDecay):
        pass

    assert decays(trainer([Own("x")]))
    assert decays(trainer([LRFormula("base_lr")]))
    assert not decays(trainer([LRRangeTest()]))


class Curved(Line):
    """LBFGS: a closure is evaluated three times a step, by hand or by Lightning."""

    def __init__(self, manual, **settings):
        super().__init__()
        self.automatic_optimization, self.settings = not manual, settings
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def loss(self, batch):
        return ((self.net(batch[0]).squeeze(1) - batch[1]) ** 2).mean()

    def training_step(self, batch, batch_idx):
        if self.automatic_optimization:
            return self.loss(batch)
        optimizer = self.optimizers()

        def closure():
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            return loss

        optimizer.step(closure)
        return None

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.net.parameters(), lr=0.1, max_iter=3, **self.settings)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_descends_on_a_ladder_and_its_loss_is_that_before_the_step(search):
    by_hand, automatic = (LRRangeTest(max_lr=1e3, apply=False, budget=0, sandbox={"num_batches": 1}) for _ in range(2))
    fit(by_hand, Curved(True, line_search_fn=search))
    fit(automatic, Curved(False, line_search_fn=search))
    assert by_hand.result.losses == automatic.result.losses
    module = Curved(False, line_search_fn=search)
    batches = list(module.train_dataloader())
    plain = range_test(
        module.net, module.configure_optimizers(), lambda _, batch: module.loss(batch), batches[:1], max_lr=1e3
    )
    losses = automatic.result.losses
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert min(losses) < 0.5 * losses[0]
    assert min(plain.losses) < 0.5 * plain.losses[0]
    assert by_hand.result.suggestion is not None
    assert plain.suggestion is not None
