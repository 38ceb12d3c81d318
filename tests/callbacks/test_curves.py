"""LRCurves in a real Trainer, read back from real event files."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import MultiStepLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRCurves, LRRangeTest
from tests.helpers import logs


class Net(L.LightningModule):
    """Two layers; ``build`` makes the optimizers from the module; the losses of all batches are kept."""

    def __init__(self, build):
        super().__init__()
        self.save_hyperparameters(ignore="build")
        self.build, self.seen, self.one, self.two = build, [], torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)

    def training_step(self, batch, index):
        loss = ((self.one(batch[0]) + self.two(batch[0])) - batch[0].sum(1, keepdim=True)).pow(2).mean()
        self.seen.append(float(loss.detach()))
        return loss

    def configure_optimizers(self):
        return self.build(self)


class Manual(Net):
    """Two optimizers that take turns by hand."""

    automatic_optimization = False

    def __init__(self, build):
        super().__init__(build)
        self.automatic_optimization = False

    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss


def fit(folder, model, *callbacks, batches=24, log_every=5, loggers=None, **options):
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(4 * batches, 4)), batch_size=4)
    trainer = L.Trainer(
        accelerator="cpu", logger=loggers or logs.board(folder, "run"), callbacks=list(callbacks),
        log_every_n_steps=log_every, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        **{"max_epochs": 1, **options},
    )  # fmt: skip
    torch.manual_seed(1)
    trainer.fit(model, data)
    return trainer


def scalars(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def sgd(module, **more):
    return SGD(module.parameters(), lr=0.01, **more)


def named(module):
    groups = [{"params": module.one.parameters(), "name": "body"}, {"params": module.two.parameters(), "name": "head"}]
    return AdamW(groups, lr=0.01)


def grouped(module):
    return [
        AdamW([{"params": module.one.parameters()}, {"params": module.two.parameters(), "lr": 0.1}], lr=0.01),
    ]


def two_alike(module):
    return [SGD(module.one.parameters(), lr=0.01), SGD(module.two.parameters(), lr=0.02)]


def scheduled(module):
    first, second = Adam(module.one.parameters(), lr=0.01), SGD(module.two.parameters(), lr=0.02)
    return [first, second], [{"scheduler": StepLR(second, 3), "interval": "step"}]


def renamed(module):
    optimizer = sgd(module)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 9), "name": "my lr"}}


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        (Net, sgd),
        (Net, named),
        (Net, grouped),
        (Net, renamed),
        (Manual, two_alike),
        (Manual, scheduled),
    ],
)
def test_tags_are_those_of_learning_rate_monitor(tmp_path, kind, build):
    fit(tmp_path / "a", kind(build), LRCurves(momentum=True, weight_decay=True))
    fit(tmp_path / "b", kind(build), LearningRateMonitor("step", log_momentum=True, log_weight_decay=True))
    ours, theirs = scalars(tmp_path / "a/run"), scalars(tmp_path / "b/run")
    extra = {tag for tag in ours if tag.startswith("curves/") or tag == "epoch"}
    assert set(ours) - extra == set(theirs)
    for tag, points in theirs.items():
        assert dict(ours[tag]).items() >= dict(points).items(), tag


def test_every_lr_is_the_one_the_step_used(tmp_path):
    def build(module):
        optimizer = sgd(module)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": MultiStepLR(optimizer, [7, 13]), "interval": "step"},
        }

    fit(tmp_path, Net(build), LRCurves(), log_every=5)
    found = scalars(tmp_path / "run")["lr-SGD"]
    wanted = {step: 0.01 * 0.1 ** ((step >= 7) + (step >= 13)) for step in (0, 4, 7, 9, 13, 14, 19, 23)}
    assert dict(found) == pytest.approx(wanted)
    assert len(found) == len(wanted)


@pytest.mark.parametrize(("every", "steps"), [(6, [0, 6, 12, 18, 23]), (1, [23])])
def test_short_epochs_have_their_points_where_logs_are_further_apart(tmp_path, every, steps):
    """A schedule that changes at each step has those of the logs alone."""

    def build(module):
        optimizer = sgd(module)
        return [optimizer], [{"scheduler": StepLR(optimizer, every, 0.9), "interval": "step"}]

    fit(tmp_path, Net(build), LRCurves(), log_every=50)
    assert dict(scalars(tmp_path / "run")["lr-SGD"]) == pytest.approx({at: 0.01 * 0.9 ** (at // every) for at in steps})


def test_each_step_its_point_on_request(tmp_path):
    model = Net(sgd)
    fit(tmp_path, model, LRCurves(every_n_steps=1), log_every=10)
    found = scalars(tmp_path / "run")
    assert [step for step, _ in found["lr-SGD"]] == list(range(24))
    assert [value for _, value in found["curves/loss"]] == pytest.approx(model.seen, rel=1e-6)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_loss_is_the_mean_since_the_last_point(tmp_path, accumulate):
    model = Net(sgd)
    fit(tmp_path, model, LRCurves(), log_every=4, accumulate_grad_batches=accumulate)
    found = scalars(tmp_path / "run")["curves/loss"]
    size = 4 * accumulate
    wanted = [sum(model.seen[at : at + size]) / size for at in range(0, 24, size)]
    assert [value for _, value in found] == pytest.approx(wanted, rel=1e-6)
    assert [step for step, _ in found] == list(range(3, 24 // accumulate, 4))


def test_gradient_norm_before_clipping(tmp_path):
    norms = []

    class Clipped(Net):
        def configure_gradient_clipping(self, optimizer, **options):
            norms.append(float(torch.cat([p.grad.flatten() for p in self.parameters()]).norm()))
            self.clip_gradients(optimizer, **options)

    fit(tmp_path, Clipped(sgd), LRCurves(grad_norm=True, every_n_steps=1), gradient_clip_val=0.01)
    assert [v for _, v in scalars(tmp_path / "run")["curves/grad_norm"]] == pytest.approx(norms, rel=1e-5)


def test_training_is_the_same_with_and_without(tmp_path):
    weights = []
    for index, callbacks in enumerate(([], [LRCurves(grad_norm=True, momentum=True, every_n_steps=1)])):
        model = Net(lambda module: sgd(module, momentum=0.9))
        torch.manual_seed(3)
        model.one.reset_parameters(), model.two.reset_parameters()
        fit(tmp_path / str(index), model, *callbacks)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_groups_added_later_get_a_tag(tmp_path):
    class Unfreeze(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                trainer.optimizers[0].add_param_group({"params": list(module.two.parameters()), "lr": 0.5})

    model = Net(lambda module: SGD(module.one.parameters(), lr=0.01))
    fit(tmp_path, model, LRCurves(), Unfreeze(), max_epochs=2)
    found = scalars(tmp_path / "run")
    assert max(step for step, _ in found["lr-SGD"]) < 24
    assert {value for _, value in found["lr-SGD/pg2"]} == {0.5}
    assert min(step for step, _ in found["lr-SGD/pg1"]) == 24


def test_a_tensor_lr_is_read_without_comparing(tmp_path):
    def build(module):
        optimizer = Adam(module.parameters(), lr=torch.tensor(0.01), capturable=False, foreach=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 10), "interval": "step"}}

    fit(tmp_path, Net(build), LRCurves(), log_every=4)
    found = dict(scalars(tmp_path / "run")["lr-Adam"])
    assert found == pytest.approx({step: 0.01 * 0.1 ** (step // 10) for step in range(3, 24, 4)})


def test_the_effective_lr_of_an_optimizer_with_an_estimate(tmp_path):
    def build(module):
        optimizer = sgd(module)
        optimizer.param_groups[0]["d"] = 3.0
        return optimizer

    fit(tmp_path, Net(build), LRCurves())
    assert [v for _, v in scalars(tmp_path / "run")["lr-SGD-effective"]] == pytest.approx([0.03] * 5)


def test_after_a_range_test_the_found_lr_is_the_first(tmp_path):
    test = LRRangeTest(progress_bar=False)
    fit(tmp_path, Net(sgd), LRCurves(), test, batches=120)
    assert test.result.suggestion is not None
    first = scalars(tmp_path / "run")["lr-SGD"][0]
    assert first == (0, pytest.approx(test.result.suggestion, rel=1e-6))


def test_epochs_and_what_is_left_at_the_end(tmp_path):
    fit(tmp_path, Net(sgd), LRCurves(), max_epochs=2, batches=7, log_every=10)
    found = scalars(tmp_path / "run")
    assert found["epoch"] == [(0, 0.0), (7, 1.0)]
    assert [step for step, _ in found["curves/loss"]] == [9, 13]


def test_a_crash_keeps_the_last_steps(tmp_path):
    class Crash(Net):
        def training_step(self, batch, index):
            if index == 8:
                raise RuntimeError("on purpose")
            return super().training_step(batch, index)

    with pytest.raises(RuntimeError, match="on purpose"):
        fit(tmp_path, Crash(sgd), LRCurves(), log_every=5)
    assert [step for step, _ in scalars(tmp_path / "run")["curves/loss"]] == [4, 7]


def test_any_logger_and_none(tmp_path):
    fit(tmp_path, Net(sgd), LRCurves(), loggers=[CSVLogger(tmp_path, name="", version="csv")])
    assert "curves/loss" in (tmp_path / "csv/metrics.csv").read_text().splitlines()[0]
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[LRCurves()],
                        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(Net(sgd), DataLoader(TensorDataset(torch.randn(8, 4)), batch_size=4))
    assert trainer.global_step == 2


def test_the_hparams_tab_compares_runs(tmp_path):
    from tensorboard import context
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import backend_context

    class Logging(Net):
        def training_step(self, batch, index):
            loss = super().training_step(batch, index)
            self.log("train_loss", loss)
            self.log("not_finite", loss * float("inf"))
            return loss

    test = LRRangeTest(progress_bar=False)
    fit(tmp_path, Logging(sgd), LRCurves(), test, batches=120)
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    board = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    ctx = context.RequestContext()
    table = board.experiment_from_metadata(
        ctx, "", True, board.hparams_metadata(ctx, ""), board.hparams_from_data_provider(ctx, "", None)
    )
    names = {info.name for info in table.hparam_infos}
    assert names >= {"lr_found", "lr_zone_low", "lr_zone_high", "range_test_status", "diverged"}
    metrics = {info.name.tag for info in table.metric_infos}
    assert "train_loss" in metrics
    assert not [tag for tag in scalars(tmp_path / "run") if tag.startswith("final/")], "charts of one point each"
