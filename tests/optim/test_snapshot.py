"""All that is reachable comes back in place, structure included; what can't come back is named."""

import collections
import csv
import ctypes
import functools
import hashlib
import io
import itertools
import multiprocessing
import queue
import socket
import threading
from array import array
from dataclasses import dataclass, make_dataclass
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from lr_lightning.optim.snapshot import Kept, Snapshot

Slotted = make_dataclass("Slotted", [("n", int)], slots=True)


@dataclass(frozen=True)
class Frozen:
    n: int


def up(owner):
    owner.n += 1


def closure():
    total = 0

    def count():
        nonlocal total
        total += 1
        return total

    return count


def default(items=[]):  # noqa: B006
    items.append(1)
    return len(items)


def chained():
    inner = SimpleNamespace(n=0)
    return functools.reduce(lambda held, _: SimpleNamespace(env=held), range(30), inner), inner


def resized():
    return torch.zeros(0)


class Pair(ctypes.Structure):
    _fields_ = (("first", ctypes.c_int), ("second", ctypes.c_double))


# name: (holder's value, what a step does to it, what is to be seen of it)
KINDS = {
    "slots": (lambda: Slotted(0), up, lambda x: x.n),
    "frozen": (lambda: Frozen(0), lambda x: object.__setattr__(x, "n", x.n + 1), lambda x: x.n),
    "array": (lambda: array("q", [0]), lambda x: x.append(1), list),
    "bytearray": (lambda: bytearray(b"ab"), lambda x: x.extend(b"c"), bytes),
    "numpy": (lambda: np.zeros(3), lambda x: x.__setitem__(0, 5.0), lambda x: x.tolist()),
    "numpy of objects": (lambda: np.array([[0, [1]]], dtype=object), lambda x: x[0, 1].append(2), repr),
    "numpy resized": (lambda: np.zeros(3), lambda x: x.resize(5, refcheck=False), lambda x: x.tolist()),
    "deque": (lambda: collections.deque([1, 2], 3), lambda x: x.extend([3, 4]), list),
    "ordered": (lambda: collections.OrderedDict(a=1, b=2), lambda x: x.move_to_end("a"), list),
    "default": (lambda: collections.defaultdict(list), lambda x: x["new"].append(1), dict),
    "set": (lambda: {1, 2}, lambda x: x.add(3), sorted),
    "thirty deep": (lambda: chained()[0], lambda x: up(deepest(x)), lambda x: deepest(x).n),
    "closure": (closure, lambda x: x(), lambda x: x.__closure__[0].cell_contents),
    "default argument": (lambda: default, lambda x: x(), lambda x: list(x.__defaults__[0])),
    "partial": (lambda: functools.partial(up, Slotted(0)), lambda x: x(), lambda x: x.args[0].n),
    "bound method": (lambda: SimpleNamespace(n=[0]).n.append, lambda x: x(1), lambda x: list(x.__self__)),
    "lock": (lambda: SimpleNamespace(n=0, lock=threading.Lock()), up, lambda x: x.n),
    "resized": (resized, lambda x: x.resize_(4).fill_(1.0), lambda x: x.tolist()),
    "given other data": (lambda: torch.ones(2), lambda x: setattr(x, "data", torch.zeros(3)), lambda x: x.tolist()),
    "expanded": (lambda: torch.ones(1).expand(3), lambda x: x[:1].fill_(2.0), lambda x: x.tolist()),
    "tensor's attribute": (lambda: tagged(torch.ones(1)), up, lambda x: x.n),
    "bit generator": (lambda: np.random.PCG64(3), lambda x: x.random_raw(), lambda x: x.state["state"]),
    "torch generator": (torch.Generator, lambda x: torch.rand(1, generator=x), lambda x: x.get_state().tolist()),
    "C data": (lambda: ctypes.c_int(0), lambda x: setattr(x, "value", 3), lambda x: x.value),
    "C structure": (Pair, lambda x: setattr(x, "first", 3), lambda x: x.first),
    "shared value": (lambda: multiprocessing.Value("i", 0), lambda x: setattr(x, "value", 3), lambda x: x.value),
    "shared array": (lambda: multiprocessing.Array("d", 2), lambda x: x.__setitem__(1, 3.0), list),
    "read-only view": (lambda: MappingProxyType({"n": [0]}), lambda x: x["n"].append(1), repr),
    "in memory": (lambda: io.StringIO("ab"), lambda x: x.write("xyz"), lambda x: (x.getvalue(), x.tell())),
}


def deepest(value):
    while hasattr(value, "env"):
        value = value.env
    return value


def tagged(tensor):
    tensor.n = 0
    return tensor


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("where", ["attribute", "list", "hidden", "submodule"])
def test_each_kind_comes_back_wherever_it_is(name, where):
    make, change, look = KINDS[name]
    model, value = nn.Sequential(nn.Dropout(0.5)), make()
    holders = {"attribute": model, "hidden": SimpleNamespace(), "submodule": model[0]}
    if where == "list":
        model.held = [value]
    else:
        if where == "hidden":
            model.__dict__["helper"] = {"deep": holders["hidden"]}
        object.__setattr__(holders[where], "held", value)
    start = Snapshot(model, [])
    before = look(value)
    for _ in range(2):
        change(value)
        assert look(value) != before
        start.restore()
        assert look(value) == before
        assert start.left() == []


ITERATORS = {
    "count": lambda: itertools.count(3, 2),
    "cycle": lambda: itertools.cycle("abc"),
    "chain": lambda: itertools.chain([1, 2], (3, 4), range(5)),
    "list": lambda: iter([1, 2, 3, 4]),
    "enumerate": lambda: enumerate("abcd"),
    "zip": lambda: zip([1, 2, 3], itertools.count(), strict=False),
    "dict": lambda: iter({"a": 1, "b": 2, "c": 3}),
    "callable": lambda: iter(functools.partial(next, itertools.count()), -1),
}


def test_what_is_in_a_tuple_comes_back_for_all_holders():
    def drawn(numbers=(itertools.count(),)):  # noqa: B008
        return next(numbers[0])

    first = (itertools.count(), (itertools.count(5), "x"))
    held = SimpleNamespace(pair=first, other=[first], call=functools.partial(next, itertools.count()), drawn=drawn)
    held.hash = hashlib.sha256(b"a")
    kept = Kept({"held": held})
    for _ in range(2):
        seen = [next(held.pair[0]), next(held.pair[1][0]), held.call(), held.drawn(), held.hash.hexdigest()]
        assert seen == [0, 5, 0, 0, hashlib.sha256(b"a").hexdigest()]
        held.hash.update(b"b")
        kept.restore()
        assert held.other[0] is held.pair
        assert kept.left() == []


def test_an_iterator_over_a_list_sees_what_is_added_to_it_later():
    items = [1]
    held = SimpleNamespace(items=items, it=iter(items))
    kept = Kept({"held": held})
    next(held.it)
    kept.restore()
    items.append(2)
    assert list(held.it) == [1, 2]


@pytest.mark.parametrize(
    ("make", "change", "words"),
    [
        (queue.SimpleQueue, lambda x: x.put(1), "held.it (a SimpleQueue went on)"),
        (threading.Event, lambda x: x.set(), "held.it (a Event went on)"),
        (lambda: threading.Semaphore(3), lambda x: x.acquire(), "held.it (a Semaphore went on)"),
        (lambda: csv.reader(["1,2", "3,4"]), next, "held.it (a reader went on)"),
    ],
)
def test_what_another_thread_may_wait_for_is_named(make, change, words):
    held = SimpleNamespace(it=make())
    kept = Kept({"held": held})
    kept.restore()
    assert kept.left() == []
    change(held.it)
    kept.restore()
    assert kept.left() == [words]


@pytest.mark.parametrize("name", ITERATORS)
def test_iterators_go_on_where_they_were_for_all_their_holders(name):
    held = SimpleNamespace(it=ITERATORS[name](), other=[None])
    next(held.it)
    held.other[0] = held.it
    kept = Kept({"held": held})
    expected = [next(held.it), next(held.it)]
    for _ in range(2):
        kept.restore()
        assert held.other[0] is held.it
        assert [next(held.it), next(held.other[0])] == expected


def test_structure_comes_back():
    model = nn.ModuleList([nn.Linear(2, 2)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    start, state = Snapshot(model, [optimizer]), {k: v.clone() for k, v in model.state_dict().items()}
    weight = model[0].weight
    model.append(nn.Linear(2, 2))
    optimizer.add_param_group({"params": model[1].parameters()})
    prune.l1_unstructured(model[0], "weight", 0.5)
    torch.nn.utils.parametrizations.spectral_norm(model[1])
    model[0].register_forward_hook(lambda *_: None)
    model[0].bias.register_hook(lambda gradient: gradient * 0)
    model[0].bias.requires_grad_(False)
    model.extra = 1
    start.restore()
    assert start.left() == []
    assert len(model) == 1
    assert len(optimizer.param_groups) == 1
    assert not hasattr(model, "extra")
    assert model[0].weight is weight
    assert not model[0]._forward_hooks
    assert not model[0].bias._backward_hooks
    assert model[0].bias.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("owner", "stays"), [("torch.distributed.fsdp", True), ("my.project", False)])
def test_a_strategys_hooks_stay(owner, stays):
    """FSDP2 registers hooks on the user's layers in its first forward, and notes elsewhere that it has."""
    layer = nn.Linear(2, 2)
    start, called = Snapshot(layer, []), []

    def hook(*_, **__):
        called.append(1)

    hook.__module__ = owner
    layer.register_state_dict_pre_hook(hook)
    layer.register_forward_hook(functools.partial(hook), with_kwargs=True)
    layer.register_load_state_dict_pre_hook(hook)
    start.restore()
    assert start.left() == []
    layer(torch.ones(1, 2))
    layer.load_state_dict(layer.state_dict())
    assert len(called) == 3 * stays
    assert len(layer._forward_hooks_with_kwargs) == stays


def test_parametrized_modules_become_plain_again():
    layer = nn.Linear(2, 2)
    start = Snapshot(layer, [])
    torch.nn.utils.parametrizations.weight_norm(layer)
    start.restore()
    assert type(layer) is nn.Linear
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_optimizers_inside_of_objects_come_back():
    layer, helper = nn.Linear(2, 2), SimpleNamespace(inner=[])
    head = nn.Linear(2, 1)
    helper.inner.append(torch.optim.Adam(head.parameters()))
    layer.__dict__["helper"] = helper
    start, before = Snapshot(layer, []), head.weight.clone()
    head(torch.ones(1, 2)).sum().backward()
    helper.inner[0].step()
    start.restore()
    assert torch.equal(head.weight, before)
    assert not helper.inner[0].state
    assert head.weight.grad is None
    assert start.left() == []


def rolling():
    position = 0
    while True:
        position += 1
        yield position


def test_what_cannot_come_back_is_named_with_its_path(tmp_path):
    model = nn.Linear(1, 1)
    ours, theirs = socket.socketpair()
    with (tmp_path / "log.txt").open("w") as file, ours, theirs:
        model.log, model.feeds, model.client = file, {"unlabeled": [rolling()]}, ours
        next(model.feeds["unlabeled"][0])
        start = Snapshot(model, [])
        assert start.left() == ["module.client (a socket may have gone on)"]
        file.write("line")
        next(model.feeds["unlabeled"][0])
        start.restore()
        assert sorted(start.left()) == [
            "module.client (a socket may have gone on)",
            "module.feeds['unlabeled'][0] (a generator went on)",
            "module.log (a file went on)",
        ]


def test_a_part_that_fails_keeps_no_other_from_coming_back():
    class Stubborn(list):
        pass

    model, bits = nn.Linear(1, 1), np.zeros(2)
    model.a, model.view, model.b = [1], bits[:1], [2]
    start = Snapshot(model, [])
    model.a.append(3)
    model.b.append(3)
    model.view.shape = (1, 1)
    model.view.setflags(write=False)
    bits[0] = 7.0
    start.restore()
    assert model.a == [1]
    assert model.b == [2]
    assert [name.split(" ")[0] for name in start.left()] == ["module.view"]


def test_what_runs_with_the_world_outside_is_left_alone_and_named():
    class Client:
        def __init__(self):
            self.socket, self.sent = socket.socket(), 0

    model = nn.Linear(1, 1)
    model.client = Client()
    with model.client.socket:
        start = Snapshot(model, [])
        model.client.sent = 7
        start.restore()
        assert model.client.sent == 7
        assert start.left() == ["module.client (a Client, which runs with the world outside may have gone on)"]


@pytest.mark.parametrize("make", [lambda n: torch.zeros(n), lambda n: np.zeros(n, np.float32)], ids=["torch", "numpy"])
def test_big_data_are_not_copied_but_watched(make):
    holder = SimpleNamespace(data=make(1 << 22), position=3)
    kept = Kept({"loader": holder}, data=True)
    assert kept.nbytes() == 0
    holder.position = 4
    kept.restore()
    assert kept.left() == []
    assert holder.position == 3
    holder.data[0] = 1.0
    kept.restore()
    assert [name.split(" ")[0] for name in kept.left()] == ["loader.data"]
    assert "too big to be copied was changed in place" in kept.left()[0]


def test_a_walk_is_linear_in_what_is_reachable():
    held = SimpleNamespace(files=[f"{i}.png" for i in range(10**6)], boxes=[{"a": [i]} for i in range(2000)])
    kept = Kept({"held": held})
    held.boxes[3]["a"].append(1)
    held.files.append("new")
    kept.restore()
    assert held.boxes[3] == {"a": [3]}
    assert len(held.files) == 10**6


NOT_TO_BE_COPIED = {  # one number each, seen as 2**48 of them
    "a buffer": lambda m, o, wide: m.register_buffer("wide", wide),
    "a hidden buffer": lambda m, o, wide: m.register_buffer("wide", wide, persistent=False),
    "state of the optimizer": lambda m, o, wide: o.state[m.weight].update(wide=wide),
}


@pytest.mark.parametrize("name", NOT_TO_BE_COPIED)
def test_no_copy_without_memory_for_all_of_it(name):
    """A test that went on with half a copy could not put the training back."""
    module = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    NOT_TO_BE_COPIED[name](module, optimizer, torch.zeros(1).expand(2**48))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        Snapshot(module, [optimizer])


def test_a_tensor_whose_storage_a_strategy_has_taken_away_is_left_alone():
    """FSDP2 frees gathered parameters so; writing to one, or reading it, may end the process."""
    gathered = torch.ones(1000, 1000)
    kept = Kept({"holder": SimpleNamespace(gathered=gathered)})
    gathered.untyped_storage().resize_(0)
    kept.restore()
    assert kept.left() == []
    assert gathered.untyped_storage().nbytes() == 0
