"""A range test reads the training data and leaves them where they were, whatever they are."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler
from torchdata.stateful_dataloader import StatefulDataLoader

from lr_lightning import LRRangeTest
from tests.helpers.identity import RANGE, difference
from tests.helpers.modules import Classifier, Noisy


class Stream(IterableDataset):
    """An iterable dataset; with ``keeps_position`` a second iterator goes on where the first one is."""

    def __init__(self, keeps_position=False):
        self.data, self.keeps_position, self.position = Noisy(), keeps_position, 0

    def __iter__(self):
        if not self.keeps_position:
            self.position = 0
        for _ in range(len(self.data)):
            item = self.data[self.position % len(self.data)]
            self.position += 1
            yield item


class Hidden(IterableDataset):
    """Its position is inside of a Python generator, where nothing can put it back."""

    def __init__(self):
        self.items = (item for _ in range(99) for item in list(Noisy()))

    def __iter__(self):
        for _ in range(128):
            yield next(self.items)


class OwnRng(Noisy):
    def __init__(self):
        super().__init__()
        self.rng = torch.Generator().manual_seed(1)

    def __getitem__(self, index):
        return self.x[index] + 0.1 * torch.randn(16, generator=self.rng), self.y[index]


class Wrapped(Dataset):
    def __init__(self):
        self.dataset, self.reads = OwnRng(), []

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        self.reads.append(index)
        x, y = self.dataset[index]
        return x * (1 + 1e-3 * len(self.reads)), y


class Shifting(Sampler):
    """Starts one further at each new pass: a sampler with a state of its own."""

    def __init__(self, size=128):
        self.size, self.start = size, 0

    def __len__(self):
        return self.size

    def __iter__(self):
        self.start += 1
        return iter([(self.start + i) % self.size for i in range(self.size)])


class Batches:
    """A loader that isn't torch's, with a position."""

    def __init__(self):
        self.batches, self.passes = list(DataLoader(Noisy(), 16)), 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.passes += 1
        for x, y in self.batches:
            yield x + 0.01 * self.passes, y


class Several(Classifier):
    def training_step(self, batch, batch_idx):
        parts = batch.values() if isinstance(batch, dict) else batch
        return sum(super(Several, self).training_step(part, batch_idx) for part in parts)


class ReadsIterator(Classifier):
    def training_step(self, dataloader_iter):
        (x, y), _, _ = next(dataloader_iter)
        return nn.functional.cross_entropy(self.net(x), y)


def two():
    return DataLoader(Noisy(), 16, shuffle=True), DataLoader(Noisy(96, 9), 8, shuffle=True)


LOADERS = {
    "generator": lambda: DataLoader(Noisy(), 16, shuffle=True, generator=torch.Generator().manual_seed(5)),
    "iterable": lambda: DataLoader(Stream(), 16),
    "iterable-workers": lambda: DataLoader(Stream(), 16, num_workers=2),
    "iterable-position": lambda: DataLoader(Stream(keeps_position=True), 16),
    "own-rng": lambda: DataLoader(OwnRng(), 16),
    "wrapped-with-list": lambda: DataLoader(Wrapped(), 16, shuffle=True),
    "stateful-sampler": lambda: DataLoader(Noisy(), 16, sampler=Shifting()),
    "batch-sampler": lambda: DataLoader(
        Noisy(), batch_sampler=torch.utils.data.BatchSampler(Shifting(), 16, drop_last=True)
    ),
    "not-torchs": Batches,
    "stateful": lambda: StatefulDataLoader(Noisy(), 16, shuffle=True),
    "stateful-workers": lambda: StatefulDataLoader(Noisy(), 16, shuffle=True, num_workers=2),
    "stateful-persistent": lambda: StatefulDataLoader(Noisy(), 16, num_workers=1, persistent_workers=True),
    "persistent": lambda: DataLoader(Noisy(), 16, shuffle=True, num_workers=1, persistent_workers=True),
}
PER_COMMIT = {("generator", True), ("iterable-position", False), ("wrapped-with-list", False), ("stateful", False)}
ROWS = [
    pytest.param(name, through, marks=() if (name, through) in PER_COMMIT else pytest.mark.slow)
    for name in LOADERS
    for through in (False, True)
]

pytestmark = [
    # torchdata 0.11 calls what torch deprecates.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
    # Lightning's advice on what these tests do on purpose.
    pytest.mark.filterwarnings("ignore:You are using the `dataloader_iter` step flavor"),
    pytest.mark.filterwarnings("ignore:Found `dataloader_iter` argument in the `training_step`"),
    pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling"),
]


@pytest.mark.parametrize(("name", "through"), ROWS)
def test_loaders(tmp_path, name, through):
    test = LRRangeTest(**RANGE, sandbox={"num_batches": None}) if through else None
    assert difference(tmp_path, lambda lr: Classifier(lr=lr, loader=LOADERS[name]), test) is None


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["hidden", *slow("own-rng", "stateful")])
def test_isolated_data(tmp_path, name):
    loaders = {**LOADERS, "hidden": lambda: DataLoader(Hidden(), 16)}
    test = LRRangeTest(**RANGE, sandbox={"isolate_data": True})
    assert difference(tmp_path, lambda lr: Classifier(lr=lr, loader=loaders[name]), test) is None


def test_a_hidden_position_moves_without_isolation(tmp_path):
    # The reason for isolate_data, and the proof that these tests would notice.
    loader = lambda: DataLoader(Hidden(), 16)  # noqa: E731
    with pytest.warns(UserWarning, match=r"train_dataloader\.dataset\.items \(a generator went on\)"):
        assert "batch" in difference(tmp_path, lambda lr: Classifier(lr=lr, loader=loader))


@pytest.mark.parametrize("kind", ["dict", *slow("list", "min_size", "cycle")])
def test_several_loaders(tmp_path, kind):
    from lightning.pytorch.utilities import CombinedLoader

    make = {
        "dict": lambda: dict(zip("ab", two(), strict=True)),
        "list": lambda: list(two()),
        "min_size": lambda: CombinedLoader(list(two()), "min_size"),
        "cycle": lambda: CombinedLoader(dict(zip("ab", two(), strict=True)), "max_size_cycle"),
    }[kind]
    assert difference(tmp_path, lambda lr: Several(lr=lr, loader=make)) is None


@pytest.mark.parametrize("loader", ["generator", "iterable"])
def test_a_step_that_reads_the_iterator(tmp_path, loader):
    test = LRRangeTest(**RANGE)
    make = lambda lr: ReadsIterator(lr=lr, loader=LOADERS[loader])  # noqa: E731
    assert difference(tmp_path, make, test) is None
    assert test.result.coverage.visited > 16  # 8 batches an epoch: the data were started anew
    assert test.result.batch_size == 16


@pytest.mark.parametrize("settings", [{"limit_train_batches": 3}, {"overfit_batches": 2}, {"limit_train_batches": 0.5}])
def test_limits(tmp_path, settings):
    assert difference(tmp_path, settings=lambda: settings) is None


def test_data_modules_come_back_too(tmp_path):
    class Data(L.LightningDataModule):
        def __init__(self):
            super().__init__()
            self.transferred, self.scale = [], 1.0

        def train_dataloader(self):
            return DataLoader(Noisy(), 16, shuffle=True)

        def on_after_batch_transfer(self, batch, dataloader_idx):
            self.transferred.append(dataloader_idx)
            self.scale = 1 + 1e-3 * len(self.transferred)
            return batch[0] * self.scale, batch[1]

    class WithData(Classifier):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.data = Data()

        def train_dataloader(self):
            return self.data.train_dataloader()

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return self.data.on_after_batch_transfer(batch, dataloader_idx)

    assert difference(tmp_path, WithData) is None


class Meter:
    def __init__(self):
        self.total, self.values, self.last = 0.0, [], None

    def update(self, value):
        self.total += value
        self.values.append(value)
        self.last = torch.tensor(value)


class Stateful(Classifier):
    """Keeps state in lists, dicts, meter objects, rebound buffers and lazily made attributes, and trains by it."""

    def __init__(self, lr):
        super().__init__(lr=lr)
        self.meter, self.table, self.names = Meter(), {"steps": 0, "history": [[0.0]]}, frozenset()
        self.meter.owner = self.meter  # a reference in a circle
        self.register_buffer("queue", torch.zeros(4))
        self.kept = self.queue  # the same tensor under another name

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        value = float(loss.detach())
        if not hasattr(self, "first"):
            self.first, self.lazy = value, Meter()
        self.lazy.update(value)
        self.meter.update(value)
        self.table["steps"] += 1
        self.table["history"].append([value])
        self.table[f"step{self.table['steps']}"] = value
        self.names |= {f"{value:.6f}"}
        self.queue = torch.cat([self.queue[1:], loss.detach()[None]])  # another tensor in the buffer's place
        self.kept.add_(value)
        state = (
            self.first + self.lazy.total + self.meter.total + self.table["steps"] + len(self.table) + len(self.names)
        )
        state += float(self.queue.sum()) + float(self.kept.sum()) + sum(x[0] for x in self.table["history"])
        self.log("state", state)
        return loss * (1 + 1e-3 * state)


def test_attributes_of_every_kind(tmp_path):
    assert difference(tmp_path, Stateful) is None
