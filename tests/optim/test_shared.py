"""Class attributes, global variables, and what two objects come to alike: all come back, or are named."""

import functools
import hashlib
import itertools
import os
import sys
import threading
import types
from collections import deque
from contextvars import ContextVar
from types import SimpleNamespace

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
frozen, part = nn.Linear(100, 100, bias=False), nn.Linear(2, 2)
part.register_buffer("mean", torch.zeros(2000))


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


class Uses(nn.Module):
    """Mentions a network that is no part of it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Sequential(part))

    def forward(self, x):
        return frozen(part(x))


def test_a_network_in_a_global_variable_is_not_copied_whatever_its_size(monkeypatch):
    monkeypatch.setattr("lr_lightning.optim.snapshot.kept.STATE_BYTES", 1000)
    start = Snapshot(Uses(), [])
    assert start.nbytes() == sum(p.nbytes for p in part.parameters()) + part.mean.nbytes
    part.mean.add_(1)
    start.restore()
    assert start.left() == []
    assert part.mean.tolist() == [0.0] * 2000


def test_what_is_too_big_is_named():
    start = Kept({"loss": lambda: big.add_(1)})
    big.add_(1)
    start.restore()
    (trace,) = start.left()
    assert trace.startswith(f"{__name__}.big (")


class Elsewhere:
    """Keeps its state in odd places."""

    def __init__(self):
        self.variable, self.unset = ContextVar("variable", default=0), ContextVar("unset")
        self.own = threading.local()
        self.own.n = 0
        self.cached = functools.lru_cache(None)(lambda key: history.append(key) or len(history))

    @functools.lru_cache  # noqa: B019
    def known(self, key):
        return key

    def step(self, seen=[]):  # noqa: B006
        seen.append(1)
        self.step.__func__.calls = 1
        self.variable.set(self.variable.get() + 1)
        self.own.n += 1
        os.environ["LR_LIGHTNING_TESTS"] = "1"
        return len(seen), self.variable.get(), self.own.n, self.cached("key"), len(history)


def test_caches_context_variables_threads_own_data_defaults_and_the_environment_come_back():
    held = Elsewhere()
    start = Kept({"object": held})
    for _ in range(2):
        assert held.step() == (1, 1, 1, 1, 1)
        held.step()
        start.restore()
        assert start.left() == []
        assert "LR_LIGHTNING_TESTS" not in os.environ
        assert not hasattr(Elsewhere.step, "calls")
        assert held.cached.cache_info().currsize == 0


def test_what_a_cache_has_taken_in_beside_others_is_named():
    held = Elsewhere()
    held.known(1)
    start = Kept({"object": held})
    held.known(1)
    start.restore()
    assert start.left() == []
    held.known(2)
    held.unset.set(1)
    start.restore()
    assert len(start.left()) == 2
    assert "Elsewhere.known (a cache has taken in other values)" in start.left()[1]
    assert start.left()[0] == "object.unset (a context variable has a value now)"


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


COMMON = {  # make, go on, look
    "an iterator": (itertools.count, next, repr),
    "a tuple with one": (lambda: (itertools.count(), "x"), lambda one: next(one[0]), repr),
    "a hash": (hashlib.sha256, lambda one: one.update(b"some"), lambda one: one.hexdigest()),
}


@pytest.mark.parametrize("name", COMMON)
def test_what_two_come_to_is_one_for_both(name):
    """A collate function and a module that count with the same iterator go on doing so."""
    make, go_on, look = COMMON[name]
    shared = make()
    module, loader = SimpleNamespace(one=shared), SimpleNamespace(two=shared)
    first = Kept({"module": module})
    second = Kept({"loader": loader}, data=True, beside=first)
    for _ in range(2):
        go_on(module.one)
        assert look(loader.two) != look(make())
        first.restore()
        second.restore()
        assert module.one is loader.two
        assert look(module.one) == look(make())
        assert first.left() == second.left() == []


def test_what_a_snapshot_has_come_to_is_neither_copied_nor_named_again():
    """Lightning hangs the module's methods on each callback, so a module is come to from there as well."""
    module = torch.nn.Linear(3, 2)
    module.drawn, module.other = (number for number in range(9)), torch.zeros(5)
    holder = SimpleNamespace(log=module.forward, weights=[module.weight], own=torch.zeros(7))
    start = Snapshot(module, [])
    beside = Kept({"callback": holder}, data=True, beside=start)
    assert beside.nbytes() == holder.own.nbytes
    next(module.drawn)
    with torch.no_grad():
        module.weight.add_(1)
        holder.own.add_(1)
    before = start.nbytes()
    start.restore()
    beside.restore()
    assert before == sum(t.nbytes for t in (module.weight, module.bias, module.other))
    assert not holder.own.any()
    assert [trace.partition(" ")[0] for trace in start.left()] == ["module.drawn"]
    assert beside.left() == []
