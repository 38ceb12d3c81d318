"""Class attributes and global variables that a user's code changes come back, or are named."""

import itertools
import sys
import types
from collections import deque

import pytest
import torch
from torch import nn

from lr_lightning.optim.snapshot import Kept, Snapshot
from lr_lightning.optim.snapshot.kinds import is_users
from tests.helpers import shared_state

history: list[int] = []
total = 0
ids = itertools.count()
bank = torch.zeros(3)
big = torch.zeros(2 << 20)


class Registry:
    """Mentioned by name alone."""

    items: deque = deque(maxlen=4)  # noqa: RUF012


def helper():
    global total, born
    total += 1
    born = 1
    history.append(total)


class Base(nn.Module):
    counter = 0
    seen: list[int] = []  # noqa: RUF012

    @property
    def number(self):
        return next(ids)


class Net(Base):
    numbers = itertools.count()

    def forward(self, x):
        type(self).counter += 1  # of this class, from now on
        Base.counter += 1
        Base.seen.append(next(Net.numbers))
        Base.added = self.number
        helper()
        bank.add_(1)
        Registry.items.append(1)
        shared_state.total += 1
        shared_state.seen[self.counter] = 1
        return x


def test_all_of_it_comes_back():
    net = Net()
    start = Snapshot(net, [])
    for _ in range(2):
        for _ in range(3):
            net(torch.ones(1))
        start.restore()
        assert start.left() == []
        assert (Base.counter, Base.seen, next(Net.numbers)) == (0, [], 0)
        assert "counter" not in vars(Net)
        assert not hasattr(Base, "added")
        assert (total, history, next(ids), "born" in globals()) == (0, [], 0, False)
        assert bank.tolist() == [0, 0, 0]
        assert (list(Registry.items), shared_state.total, shared_state.seen) == ([], 0, {})
        start.restore()


def test_of_functions_alone_too():
    start = Kept({"loss": helper})
    helper()
    start.restore()
    assert (total, history) == (0, [])


def test_what_is_too_big_is_named():
    start = Kept({"loss": lambda: big.add_(1)})
    big.add_(1)
    start.restore()
    (trace,) = start.left()
    assert trace.startswith(f"{__name__}.big (")


def test_an_import_stays():
    def late():
        global json
        import json

    start = Kept({"loss": late})
    late()
    start.restore()
    assert isinstance(globals().pop("json"), types.ModuleType)


@pytest.mark.parametrize("name", ["torch.nn", "json", "lightning", "pytest", "lr_lightning.optim", "numpy", None])
def test_others_code_is_left_alone(name):
    assert not is_users(name)
    assert is_users(__name__)


def test_a_class_of_an_installed_package_is_left_alone(monkeypatch):
    kind = type("Installed", (), {"count": 0, "__module__": "pytest"})
    start = Kept({"object": kind()})
    kind.count = 1
    start.restore()
    assert kind.count == 1
    assert "pytest" in sys.modules
