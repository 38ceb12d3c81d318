"""What Lightning's LearningRateMonitor promises, asked of LRCurves through a thin shim; README.md has the rest."""

import csv

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRCurves


class Net(L.LightningModule):
    """Three layers, and the optimizers that ``build`` makes of them; several are stepped by hand in turn."""

    def __init__(self, build):
        super().__init__()
        self.build = build
        self.backbone = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
        self.head = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        loss = self.head(self.backbone(batch[0])).square().mean()
        if not self.automatic_optimization:
            optimizers = self.optimizers()
            for optimizer in optimizers:
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in optimizers:
                optimizer.step()
        return loss

    def validation_step(self, batch, batch_idx):
        pass

    def on_train_epoch_end(self):
        if not self.automatic_optimization:
            for scheduler in self.lr_schedulers() or []:
                scheduler.step()

    def configure_optimizers(self):
        built = self.build(self)
        self.automatic_optimization = not (isinstance(built, tuple | list) and len(built[0]) > 1)
        return built


class ByHand(Net):
    """The same under manual optimization from the start."""

    def __init__(self, build):
        super().__init__(build)
        self.automatic_optimization = False

    def configure_optimizers(self):
        return self.build(self)


class Monitor:
    """A fit with LRCurves, and what the monitor's attributes would hold: tag -> values in the order of the steps."""

    def __init__(self, folder, build, *callbacks, kind=Net, log_every=1, epochs=2, batches=5, **options):
        logger = CSVLogger(folder, name="", version="")
        self.trainer = L.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=logger, log_every_n_steps=log_every, enable_progress_bar=False,
            callbacks=[LRCurves(loss=False, hparams=False, **options), *callbacks], enable_model_summary=False,
            default_root_dir=folder, enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        )  # fmt: skip
        data = DataLoader(TensorDataset(torch.ones(batches, 4)))
        self.trainer.fit(kind(build), data, data)
        with (folder / "metrics.csv").open() as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["step"]))
        tags = [name for name in rows[0] if name.startswith(("lr-", "my"))]
        self.logged = {tag: [float(row[tag]) for row in rows if row[tag]] for tag in tags}

    def tags(self, ending=""):
        ends = ("-momentum", "-weight_decay")
        return [tag for tag in self.logged if (tag.endswith(ending) if ending else not tag.endswith(ends))]


def sgd(net, **options):
    return torch.optim.SGD(net.parameters(), lr=0.1, **options)


def stepped(net):
    optimizer = sgd(net)
    return [optimizer], [StepLR(optimizer, 1, gamma=0.5)]


@pytest.mark.parametrize("build", [sgd, stepped], ids=["no scheduler", "scheduler"])
def test_one_lr_and_nothing_else_by_default(tmp_path, build):
    monitor = Monitor(tmp_path, build)
    assert list(monitor.logged) == ["lr-SGD"]
    assert monitor.logged["lr-SGD"] == [0.1] * 5 + [0.05 if build is stepped else 0.1] * 5


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize(
    ("name", "options"), [("SGD", {"momentum": 0.9}), ("Adam", {"betas": (0.9, 0.999)})], ids=["sgd", "adam"]
)
def test_momentum_and_weight_decay_on_request(tmp_path, name, options, scheduled):
    def build(net):
        optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.01, weight_decay=0.2, **options)
        if not scheduled:
            return optimizer
        return [optimizer], [{"scheduler": OneCycleLR(optimizer, 0.01, total_steps=20), "interval": "step"}]

    monitor = Monitor(tmp_path, build, momentum=True, weight_decay=True)
    assert set(monitor.logged) == {f"lr-{name}{ending}" for ending in ("", "-momentum", "-weight_decay")}
    assert monitor.logged[f"lr-{name}-weight_decay"] == [0.2] * 10
    momentum = monitor.logged[f"lr-{name}-momentum"]
    assert momentum == [0.9] * 10 if not scheduled else min(momentum) < 0.9 < max(momentum)


@pytest.mark.parametrize("scheduled", [False, True])
def test_an_optimizer_without_momentum_is_told_and_logged_as_0(tmp_path, scheduled):
    def build(net):
        optimizer = torch.optim.ASGD(net.parameters(), lr=0.01)
        return ([optimizer], [StepLR(optimizer, 1)]) if scheduled else optimizer

    with pytest.warns(RuntimeWarning, match="optimizers do not have momentum"):
        monitor = Monitor(tmp_path, build, momentum=True, epochs=1)
    assert monitor.logged["lr-ASGD-momentum"] == [0.0] * 5


@pytest.mark.parametrize("scheduled", [False, True])
def test_two_optimizers_of_a_kind_are_counted(tmp_path, scheduled):
    def build(net):
        both = [torch.optim.Adam(part.parameters(), lr=0.01) for part in (net.backbone, net.head)]
        return (both, [StepLR(one, 1, gamma=0.1) for one in both]) if scheduled else both

    monitor = Monitor(tmp_path, build, kind=ByHand, log_every=2, batches=7)
    assert monitor.tags() == ["lr-Adam", "lr-Adam-1"]
    steps = monitor.trainer.global_step // 2
    for values in monitor.logged.values():
        # One more at each jump and at the end of the run.
        assert steps // 2 <= len(values) <= steps // 2 + 3
        assert values[0] == 0.01
        assert values[-1] == pytest.approx(0.001 if scheduled else 0.01)


def test_groups_are_numbered_named_or_renamed_by_the_scheduler(tmp_path):
    def groups(net, *names):
        parts = [{"params": part.parameters(), "lr": lr} for part, lr in ((net.backbone, 0.01), (net.head, 0.1))]
        return [part | {"name": name} if name else part for part, name in zip(parts, names, strict=True)]

    def numbered(net):
        optimizer = torch.optim.Adam(groups(net, None, None), betas=(0.7, 0.999), weight_decay=0.1)
        return [optimizer], [StepLR(optimizer, 1, gamma=0.1)]

    monitor = Monitor(tmp_path / "numbered", numbered, momentum=True, weight_decay=True)
    assert monitor.tags() == ["lr-Adam/pg1", "lr-Adam/pg2"]
    assert monitor.logged["lr-Adam/pg2"] == pytest.approx([0.1] * 5 + [0.01] * 5)
    assert monitor.logged["lr-Adam/pg1-momentum"] == [0.7] * 10
    assert monitor.logged["lr-Adam/pg2-weight_decay"] == [0.1] * 10
    named = Monitor(tmp_path / "named", lambda net: torch.optim.SGD(groups(net, "body", "top"), lr=0.1))
    assert named.tags() == ["lr-SGD/body", "lr-SGD/top"]
    single = Monitor(tmp_path / "single", lambda net: torch.optim.SGD(groups(net, "linear", None)[:1], lr=0.1))
    assert single.tags() == ["lr-SGD/linear"]
    alike = Monitor(tmp_path / "alike", lambda net: torch.optim.SGD(groups(net, "linear", "linear"), lr=0.1))
    assert alike.tags() == ["lr-SGD/pg1", "lr-SGD/pg2"]

    def renamed(net):
        optimizer = sgd(net)
        return [optimizer], [{"scheduler": StepLR(optimizer, 1), "name": "my_logging_name"}]

    assert Monitor(tmp_path / "renamed", renamed).tags() == ["my_logging_name"]


def test_a_prefix_comes_before_every_tag(tmp_path):
    monitor = Monitor(tmp_path, sgd, log_key_prefix="my_run/", momentum=True)
    assert set(monitor.logged) == {"my_run/lr-SGD", "my_run/lr-SGD-momentum"}


class Unfreezing(BackboneFinetuning):
    """A layer joins SGD in epoch 1, others join Adam in epochs 2 and 3; AdamW has its group throughout."""

    def freeze_before_training(self, pl_module):
        for part in (pl_module.backbone[0], pl_module.backbone[1], pl_module.head):
            self.freeze(part)

    def finetune_function(self, pl_module, epoch, optimizer):
        plan = {(1, "SGD"): pl_module.backbone[0], (2, "Adam"): pl_module.head, (3, "Adam"): pl_module.backbone[1]}
        part = plan.get((epoch, type(optimizer).__name__))
        if part is not None:
            self.unfreeze_and_add_param_group(part, optimizer, lr=0.1)


def test_groups_added_while_three_optimizers_train(tmp_path):
    def build(net):
        parameters = [p for p in net.parameters() if p.requires_grad]
        every = [kind(parameters, lr=0.1) for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)]
        return every, [StepLR(one, 1, gamma=0.5) for one in every[:2]]

    monitor = Monitor(tmp_path, build, Unfreezing(), kind=ByHand, epochs=5, batches=2)
    found = {tag: values[::2] for tag, values in monitor.logged.items()}
    halves = [0.1 * 0.5**epoch for epoch in range(5)]
    assert found["lr-AdamW"] == [0.1] * 5
    assert found["lr-SGD"] == halves[:1]
    assert found["lr-SGD/pg1"] == pytest.approx(halves[1:])
    assert found["lr-SGD/pg2"] == pytest.approx(halves[:4])
    assert found["lr-Adam"] == pytest.approx(halves[:2])
    assert found["lr-Adam/pg1"] == pytest.approx(halves[2:])
    assert found["lr-Adam/pg2"] == pytest.approx(halves[:3])
    assert found["lr-Adam/pg3"] == pytest.approx(halves[:2])


@pytest.mark.parametrize("at_epoch_end", [True, False])
def test_a_fit_stops_early_at_an_lr(tmp_path, at_epoch_end):
    stop = EarlyStopping("lr-SGD", mode="min", stopping_threshold=0.02, check_on_train_epoch_end=at_epoch_end)
    monitor = Monitor(tmp_path, stepped, stop, epochs=6, batches=2, log_every=50)
    assert monitor.trainer.current_epoch == 4
    assert float(monitor.trainer.callback_metrics["lr-SGD"]) == pytest.approx(0.0125)
    assert stop.stopped_epoch == 3


def test_a_checkpoint_is_named_by_an_lr(tmp_path):
    keep = ModelCheckpoint(tmp_path, monitor="lr-SGD", mode="min", filename="{lr-SGD:.3f}")
    Monitor(tmp_path, stepped, keep, epochs=3)
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["lr-SGD=0.025.ckpt"]
