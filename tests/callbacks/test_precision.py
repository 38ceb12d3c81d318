"""A range test under every precision, step and optimizer: no trace, and the ladder moves on real steps alone."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from lr_lightning import LRRangeTest
from tests.helpers.identity import RANGE, difference, fit
from tests.helpers.modules import Classifier


def half(growth_interval=3, init_scale=256.0):
    """16-mixed on CPU, with a scale that changes within a sweep."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale, growth_interval=growth_interval))


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


class With(Classifier):
    """A classifier whose optimizer is made by ``make(groups, lr)``."""

    def __init__(self, lr, make, **kwargs):
        super().__init__(lr=lr, **kwargs)
        self.make = make

    def configure_optimizers(self):
        return self.make(self.groups(), self.lr)


def tensor_lr(groups, lr, **kwargs):
    groups = [{**group, "lr": torch.tensor(group["lr"], dtype=torch.float64)} for group in groups]
    return torch.optim.Adam(groups, lr=torch.tensor(lr, dtype=torch.float64), **kwargs)


class CountsSteps(torch.optim.SGD):
    """An optimizer with a step counter of its own, outside of its state."""

    count, trace = 0, ()

    def step(self, closure=None):
        self.count += 1
        self.trace = (*self.trace[-2:], self.count)
        for group in self.param_groups:
            group["weight_decay"] = 1e-3 * self.count
        return super().step(closure)


OPTIMIZERS = {
    "adamw": lambda g, lr: torch.optim.AdamW(g, lr=lr),
    "adam-amsgrad": lambda g, lr: torch.optim.Adam(g, lr=lr, amsgrad=True),
    "fused-adamw": lambda g, lr: torch.optim.AdamW(g, lr=lr, fused=True),
    "fused-sgd": lambda g, lr: torch.optim.SGD(g, lr=lr, momentum=0.9, fused=True),
    "foreach": lambda g, lr: torch.optim.AdamW(g, lr=lr, foreach=True),
    "tensor-lr": tensor_lr,
    "sgd": lambda g, lr: torch.optim.SGD(g, lr=lr, momentum=0.9),
    "rmsprop": lambda g, lr: torch.optim.RMSprop(g, lr=lr, centered=True, momentum=0.9),
    "adagrad": lambda g, lr: torch.optim.Adagrad(g, lr=lr),  # has state before the first step
    "rprop": lambda g, lr: torch.optim.Rprop(g, lr=lr),
    "asgd": lambda g, lr: torch.optim.ASGD(g, lr=lr),
    "radam": lambda g, lr: torch.optim.RAdam(g, lr=lr),
    "adadelta": lambda g, lr: torch.optim.Adadelta(g, lr=lr),
    "own-counter": lambda g, lr: CountsSteps(g, lr=lr),
}
PER_COMMIT = {"fused-adamw", "tensor-lr", "adagrad", "own-counter"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in PER_COMMIT else pytest.mark.slow) for n in OPTIMIZERS]
)
def test_optimizers(tmp_path, name):
    assert difference(tmp_path, lambda lr: With(lr, OPTIMIZERS[name])) is None


class OneGroup(With):
    def groups(self):
        return list(self.net.parameters())


def lbfgs(groups, lr):
    return torch.optim.LBFGS(groups, lr=lr, max_iter=3, history_size=4, line_search_fn=None)


def test_lbfgs(tmp_path):
    assert difference(tmp_path, lambda lr: OneGroup(lr, lbfgs)) is None


TRAINERS = {
    "bf16-mixed": lambda: {"precision": "bf16-mixed"},
    "bf16-true": lambda: {"precision": "bf16-true"},
    "64-true": lambda: {"precision": "64-true"},
    "16-mixed": lambda: {"plugins": half()},
    "16-mixed-overflows": lambda: {"plugins": half(growth_interval=2, init_scale=2.0**30)},
    "16-mixed-accumulate-clip": lambda: {"plugins": half(), "accumulate_grad_batches": 2, "gradient_clip_val": 0.5},
    "bf16-accumulate-3": lambda: {"precision": "bf16-mixed", "accumulate_grad_batches": 3},  # 8 batches: a rest of 2
    "clip-by-value": lambda: {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "no-sanity-check": lambda: {"num_sanity_val_steps": 0},
    "val-in-epoch": lambda: {"val_check_interval": 3},
    "detect-anomaly": lambda: {"detect_anomaly": True},
    "deterministic": lambda: {"deterministic": True},
    "max-steps": lambda: {"max_steps": 5, "max_epochs": -1},
    "no-validation": lambda: {"limit_val_batches": 0},
}
TRAINERS_PER_COMMIT = {"bf16-mixed", "16-mixed-overflows", "16-mixed-accumulate-clip", "bf16-accumulate-3"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in TRAINERS_PER_COMMIT else pytest.mark.slow) for n in TRAINERS]
)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*before.*optimizer.step:UserWarning")  # skipped first steps
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.filterwarnings("ignore:You have turned on .Trainer.detect_anomaly")
def test_trainers(tmp_path, name):
    make = lambda lr: Classifier(lr=lr, scheduler=cosine)  # noqa: E731
    assert difference(tmp_path, make, settings=TRAINERS[name]) is None


class Manual(Classifier):
    """Two optimizers and two schedulers stepped by hand, one of them every second batch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        first, second = self.optimizers()
        loss = nn.functional.cross_entropy(self.net(x), y)
        for optimizer in (first, second):
            optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(first, 1.0, "norm")
        first.step()
        if batch_idx % 2 == 0:
            second.step()
        for scheduler in self.lr_schedulers():
            scheduler.step()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        parameters = list(self.net.parameters())
        first = torch.optim.AdamW(parameters[:-2], lr=self.lr)
        second = torch.optim.SGD(parameters[-2:], lr=self.lr * 10.0, momentum=0.9)
        steps = torch.optim.lr_scheduler.StepLR
        return [first, second], [steps(first, 7), steps(second, 5)]


@pytest.mark.parametrize("plugin", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["32", "16-mixed"])
def test_manual_optimization_with_two_optimizers_and_schedulers(tmp_path, plugin):
    settings = lambda: {"plugins": half()} if plugin else {}  # noqa: E731
    assert difference(tmp_path, Manual, settings=settings) is None


class ManualWithoutLoss(Manual):
    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)


def test_manual_optimization_that_returns_no_loss_is_read_from_its_backward_passes(tmp_path):
    returned, taken = LRRangeTest(**RANGE), LRRangeTest(**RANGE)
    fit(tmp_path / "returned", lambda: Manual(lr=1e-3), [returned])
    assert difference(tmp_path, ManualWithoutLoss, taken) is None
    assert taken.result.suggestion is not None
    assert taken.result.losses == pytest.approx(returned.result.losses, rel=1e-6, nan_ok=True)


class Compiled(Classifier):
    def __init__(self, lr, backend):
        super().__init__(lr=lr)
        self.net = torch.compile(self.net, backend=backend)


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_compiled_modules(tmp_path, backend):
    assert difference(tmp_path, lambda lr: Compiled(lr, backend)) is None


class Quiet(Classifier):
    """Logs nothing: torch 2.13's dynamo trips over the inspection in Lightning's ``log``, range test or not."""

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])


@pytest.mark.slow
def test_a_compiled_lightning_module(tmp_path):
    assert difference(tmp_path, lambda lr: torch.compile(Quiet(lr=lr), backend="eager")) is None


class Sometimes(Classifier):
    """Every third training step gives no loss."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if len(self.seen) % 3 == 0 else loss


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_steps_without_a_loss(tmp_path, accumulate):
    test = LRRangeTest(**RANGE)
    settings = lambda: {"accumulate_grad_batches": accumulate}  # noqa: E731
    assert difference(tmp_path, lambda lr: Sometimes(lr=lr), test, settings=settings) is None
    assert all(loss == loss for loss in test.result.losses[:10])  # no NaN: such a step has been repeated


class Never(Classifier):
    def training_step(self, batch, batch_idx):
        return None


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_never_a_loss(tmp_path):
    with pytest.raises(RuntimeError, match="no loss in 20 training batches: the range test has no curve"):
        fit(tmp_path, lambda: Never(lr=1e-3), [LRRangeTest(**RANGE)])


class Fixed(L.LightningModule):
    """A loss known in closed form: (weight - batch mean)², with weight = 0 and a vanishing LR."""

    def __init__(self, losses, lr=1e-3):
        super().__init__()
        self.losses, self.lr, self.calls = losses, lr, 0
        self.weight = nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        value = self.losses[self.calls % len(self.losses)]
        self.calls += 1
        return value + 0 * self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(26, 1), batch_size=4)  # 4, 4, 4, 4, 4, 4, 2


def test_accumulated_losses_are_the_sample_weighted_mean_of_the_window(tmp_path):
    test = LRRangeTest(min_lr=1e-8, max_lr=1e-7, num_steps=7, sandbox={"num_batches": None})
    values = [float(v) for v in range(1, 8)]
    fit(tmp_path, lambda: Fixed(values), [test], accumulate_grad_batches=3)
    samples, expected = [4, 4, 4, 4, 4, 4, 2], []
    for start in range(0, 21, 3):
        window = [(samples[i % 7], values[i % 7]) for i in range(start, start + 3)]
        expected.append(sum(n * v for n, v in window) / sum(n for n, _ in window))
    assert test.result.losses == pytest.approx(expected, rel=1e-6)


class Records(L.Callback):
    """LR and loss of each optimizer step that really happened in the sweep."""

    def on_train_start(self, trainer, module):
        self.steps, self.micro = [], 0
        trainer.optimizers[0].register_step_post_hook(lambda o, *_: self.steps.append(float(o.param_groups[0]["lr"])))

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.micro += 1


def test_skipped_steps_neither_move_the_ladder_nor_count(tmp_path):
    test, records = LRRangeTest(**RANGE, sandbox={"keep_callbacks": [Records]}), Records()
    plugin = half(growth_interval=2, init_scale=2.0**30)  # overflows at first, and again after each growth
    fit(tmp_path, lambda: Classifier(lr=1e-3), [test, records], plugins=plugin, max_steps=1)
    visited = test.result.coverage.visited
    swept = records.steps[: len(test.result.lrs)]
    assert swept == pytest.approx(test.result.lrs)  # each rung once, none twice, none left out
    assert records.micro > visited + 5  # although many batches were skipped
    assert all(loss == loss for loss in test.result.losses[:10])


def test_gradients_in_the_middle_of_an_accumulation_window_come_back():
    from lr_lightning.optim.snapshot import Snapshot

    layer = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(2, 3)).sum().backward()
    held, before = layer.weight.grad, layer.weight.grad.clone()
    snapshot = Snapshot(layer, [optimizer])
    optimizer.step()
    optimizer.zero_grad()  # to None
    snapshot.restore()
    assert layer.weight.grad is held
    assert torch.equal(held, before)


def test_groups_added_in_the_sweep_go_away():
    from lr_lightning.optim.snapshot import Snapshot

    first, second = nn.Linear(3, 1), nn.Linear(1, 1)
    optimizer = torch.optim.Adam(first.parameters(), lr=0.1)
    snapshot = Snapshot(nn.ModuleList([first, second]), [optimizer])
    optimizer.add_param_group({"params": second.parameters(), "lr": 1.0})
    second(first(torch.ones(2, 3))).sum().backward()
    optimizer.step()
    snapshot.restore()
    assert [group["lr"] for group in optimizer.param_groups] == [0.1]
    assert not optimizer.state
