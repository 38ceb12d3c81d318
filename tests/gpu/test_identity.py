"""On a GPU training after a range test is training with that LR set by hand, bit for bit."""

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import LRRangeTest
from tests.gpu.device import DEVICE, REHEARSAL, device_generators, trainer_settings
from tests.helpers.identity import LR, RANGE, difference, fit
from tests.helpers.modules import CLASSES, Classifier, Noisy
from tests.helpers.spy import digest, first_difference


class Noise(Classifier):
    """Draws on every device in each step, and keeps a digest of their generators where the spy sees it."""

    device_rng = ""

    def training_step(self, batch, batch_idx):
        for number in range(1 if REHEARSAL else torch.cuda.device_count()):
            torch.rand((), device="cpu" if REHEARSAL else f"cuda:{number}")
        noise = 0.01 * torch.rand((), device=self.device)
        self.device_rng = digest(device_generators())
        return super().training_step(batch, batch_idx) * (1 + noise)


class With(Noise):
    """The same with an optimizer made by ``make(groups, lr)``."""

    def __init__(self, lr, make):
        super().__init__(lr=lr)
        self.make = make

    def configure_optimizers(self):
        return self.make(self.groups(), self.lr)


def overflowing():
    """16-mixed whose scale overflows at first and again after each growth."""
    return MixedPrecision("16-mixed", DEVICE, torch.amp.GradScaler(DEVICE, init_scale=2.0**30, growth_interval=2))


TRAINERS = {
    "32-true": dict,
    "bf16-mixed": lambda: {"precision": "bf16-mixed"},
    "bf16-mixed-accumulate-clip": lambda: {
        "precision": "bf16-mixed",
        "accumulate_grad_batches": 3,
        "gradient_clip_val": 0.5,
    },
    "16-mixed-overflows": lambda: {"plugins": overflowing()},
    "16-mixed-overflows-accumulate": lambda: {"plugins": overflowing(), "accumulate_grad_batches": 2},
}


def identical(folder, make, test=None, settings=dict):
    assert difference(folder, make, test, settings=lambda: trainer_settings(**settings())) is None


def test_two_fits_without_a_range_test_are_the_same(tmp_path):
    """Otherwise no comparison here means anything."""
    (first, _), (second, _) = (fit(tmp_path / n, lambda: Noise(lr=LR), [], **trainer_settings()) for n in "ab")
    assert first_difference(first, second) is None
    assert len(first.events) > 50


@pytest.mark.parametrize("name", TRAINERS)
def test_precisions(tmp_path, name):
    identical(tmp_path, lambda lr: Noise(lr=lr), settings=TRAINERS[name])


def tensor_lr(groups, lr, **kwargs):
    """Each group's LR on the device, as CUDA graphs need it, ten times the first one's in the second."""
    groups = [{**group, "lr": torch.tensor(group["lr"], device=DEVICE)} for group in groups]
    return torch.optim.AdamW(groups, lr=torch.tensor(lr, device=DEVICE), **kwargs)


CAPTURABLE = {"capturable": not REHEARSAL}  # torch has it for accelerators alone
OPTIMIZERS = {
    "fused": lambda groups, lr: torch.optim.AdamW(groups, lr=lr, fused=True),
    "fused-sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, fused=True),
    "capturable": lambda groups, lr: torch.optim.AdamW(groups, lr=lr, **CAPTURABLE),
    "tensor-lr-fused": lambda groups, lr: tensor_lr(groups, lr, fused=True),
    "tensor-lr-capturable": lambda groups, lr: tensor_lr(groups, lr, foreach=not REHEARSAL, **CAPTURABLE),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(tmp_path, name):
    identical(tmp_path, lambda lr: With(lr, OPTIMIZERS[name]))


def test_fused_with_a_scale_that_overflows(tmp_path):
    """A fused optimizer looks at the overflow itself, on the device: its step is called and does nothing."""
    identical(tmp_path, lambda lr: With(lr, OPTIMIZERS["fused"]), settings=TRAINERS["16-mixed-overflows"])


@pytest.mark.parametrize("name", ["fused", "capturable"])
def test_in_the_middle_of_training(tmp_path, name):
    """The optimizer has state then, its step counts on the device among it."""
    test = LRRangeTest(**RANGE, at_epochs=[1], apply=False)
    tested, _ = fit(tmp_path / "tested", lambda: With(LR, OPTIMIZERS[name]), [test], **trainer_settings())
    plain, _ = fit(tmp_path / "plain", lambda: With(LR, OPTIMIZERS[name]), [], **trainer_settings())
    assert test.result.coverage.visited >= 10
    assert first_difference(tested, plain) is None


def test_copies_in_host_memory(tmp_path):
    identical(tmp_path, lambda lr: Noise(lr=lr), LRRangeTest(**RANGE, sandbox={"snapshot_device": "cpu"}))


class Compiled(Classifier):
    def __init__(self, lr, **how):
        super().__init__(lr=lr)
        self.net = torch.compile(self.net, **({"backend": "eager"} if REHEARSAL else how))


@pytest.mark.parametrize("how", [{}, {"mode": "reduce-overhead"}], ids=["graphs-off", "graphs-on"])
def test_compiled_networks(tmp_path, how):
    """CUDA graphs read and write fixed addresses: what is put back must land in them."""
    without_validation = {"limit_val_batches": 0, "num_sanity_val_steps": 0}  # no second graph for evaluation
    identical(tmp_path, lambda lr: Compiled(lr, **how), settings=lambda: without_validation)


class ChannelsLast(Classifier):
    """A convolution in channels-last; the layout of its weights is among what the spy sees."""

    def __init__(self, lr):
        super().__init__(lr=lr)
        layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)
        self.net = nn.Sequential(*layers, *head).to(memory_format=torch.channels_last)
        self.layout = ""

    def training_step(self, batch, batch_idx):
        self.layout = str([p.stride() for p in self.net.parameters()])
        x, y = batch
        return super().training_step((x.contiguous(memory_format=torch.channels_last), y), batch_idx)

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(5)
        x = torch.randn(128, 3, 8, 8, generator=generator)
        return DataLoader(TensorDataset(x, torch.randint(CLASSES, (128,), generator=generator)), 16, shuffle=True)

    def val_dataloader(self):
        return self.train_dataloader()


@pytest.mark.parametrize("name", ["32-true", "bf16-mixed"])
def test_channels_last(tmp_path, name):
    identical(tmp_path, lambda lr: ChannelsLast(lr), settings=TRAINERS[name])


@pytest.mark.parametrize("persistent", [False, True], ids=["workers", "persistent-workers"])
def test_pinned_loaders(tmp_path, persistent):
    """Batches of a pinned loader are copied without waiting, by Lightning's own transfer."""
    many = {"num_workers": 2, "persistent_workers": persistent, "pin_memory": not REHEARSAL}
    loader = lambda: DataLoader(Noisy(), batch_size=16, shuffle=True, **many)  # noqa: E731
    identical(tmp_path, lambda lr: Classifier(lr=lr, loader=loader))
