"""What a snapshot costs: one copy of what this process holds, and nothing twice."""

import gc
import weakref

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lr_lightning import LRRangeTest
from lr_lightning.optim.range_test import range_test
from lr_lightning.optim.snapshot import Snapshot
from tests.helpers.identity import RANGE, difference
from tests.helpers.spy import Said


def trained():
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return model, optimizer


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(16, 64)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def test_before_the_first_step_it_is_parameters_and_buffers():
    model, optimizer = trained()
    held = size([*model.parameters(), *model.buffers()])
    assert Snapshot(model, [optimizer]).nbytes() == held
    assert held < 1.2 * size(model.parameters())


def test_in_the_middle_of_training_it_is_the_optimizer_state_as_well():
    model, optimizer = trained()
    step(model, optimizer)
    states = [t for state in optimizer.state.values() for t in state.values()]
    held = size([*model.parameters(), *model.buffers(), *states])
    assert Snapshot(model, [optimizer]).nbytes() == held
    assert held == pytest.approx(3 * size(model.parameters()), rel=0.15)  # Adam's two moments


def test_a_state_that_is_set_aside_lets_go_of_the_originals_and_comes_back_exactly():
    model, optimizer = trained()
    start = Snapshot(model, [optimizer])
    for _ in range(3):
        step(model, optimizer)
    aside = Snapshot(model, [optimizer])
    first = next(iter(optimizer.state.values()))["exp_avg"]
    dead, value = weakref.ref(first), first.clone()
    del first
    start.restore()
    gc.collect()
    assert not optimizer.state
    assert dead() is None
    step(model, optimizer)
    aside.restore()
    assert torch.equal(next(iter(optimizer.state.values()))["exp_avg"], value)
    assert len(optimizer.state) == 6


def test_copies_in_host_memory(tmp_path):
    assert difference(tmp_path, test=LRRangeTest(**RANGE, sandbox={"snapshot_device": "cpu"})) is None


def test_lazy_parameters_are_lazy_again():
    layer = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    start = Snapshot(layer, [optimizer])
    layer(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    assert layer[0].in_features == 2
    start.restore()
    assert type(layer[0]) is nn.LazyLinear
    assert type(layer[1]) is nn.LazyBatchNorm1d
    assert start.left() == []
    layer(torch.ones(4, 5)).sum().backward()
    assert layer[0].weight.shape == (3, 5)
    assert optimizer.param_groups[0]["params"][0] is layer[0].weight


SHAPE = 37, 1201


def copies(weight, state):
    """Tensors as large as a weight that are neither this nor its gradient nor its optimizer state."""
    known = {t.data_ptr() for t in (weight, weight.grad, *state.get(weight, {}).values()) if t is not None}
    tensors = [t for t in gc.get_objects() if issubclass(type(t), torch.Tensor)]
    return len({t.data_ptr() for t in tensors if t.shape == SHAPE} - known)


class Wide(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.copies = nn.Linear(1201, 37), Said()

    def training_step(self, batch, batch_idx):
        self.copies.append(copies(self.net.weight, self.optimizers().optimizer.state))
        return self.net(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Users(L.Callback):
    """Lightning gives it methods of the module."""


class HoldsNet(L.Callback):
    def on_fit_start(self, trainer, module):
        self.net, self.weights = module.net, list(module.parameters())


class Samples(Dataset):
    net = None

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((1201,), 0.01 * index)


OTHERS = {"nobody": lambda: [], "callback": lambda: [Users()], "net": lambda: [HoldsNet()], "data": lambda: []}


@pytest.mark.parametrize("holder", OTHERS)
def test_weights_are_copied_once_whoever_holds_them(tmp_path, holder):
    module, data = Wide(), Samples()
    test = LRRangeTest(num_steps=12, progress_bar=False, apply=False)
    data.net = module.net if holder == "data" else None
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(callbacks=[*OTHERS[holder](), test], max_steps=2, default_root_dir=tmp_path, **settings)
    trainer.fit(module, DataLoader(data, 4))
    *sweep, after = module.copies[:13]
    assert [count - after for count in sweep] == [1] * 12


def test_weights_are_copied_once_in_a_plain_test_on_data_with_the_net():
    net, data = nn.Linear(1201, 37), Samples()
    data.net = net
    before = copies(net.weight, {})

    def loss(model, batch):
        assert copies(model.weight, {}) == before + 1
        return model(batch).square().mean()

    test = range_test(net, torch.optim.SGD(net.parameters(), lr=0.1), loss, DataLoader(data, 4), num_steps=12)
    assert test.steps == 12
