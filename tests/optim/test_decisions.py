"""DecisionWriter: kicks raise LR and momentum, and take them back to the bit."""

import doctest

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, ExponentialLR, OneCycleLR, SequentialLR

from lr_lightning.optim import decisions as decision_writer
from lr_lightning.optim import param_groups
from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.saved import Saved

KICK, UNKICK, CUT = Decision("kick", "flat"), Decision("unkick", "no progress"), Decision("decay", "floor")


def parameters(count=1):
    return [torch.nn.Parameter(torch.zeros(2)) for _ in range(count)]


def momenta(*optimizers):
    return [param_groups.momentum(group) for optimizer in optimizers for group in optimizer.param_groups]


def test_doctests():
    assert doctest.testmod(decision_writer).failed == 0


OPTIMIZERS = {
    "SGD": lambda: torch.optim.SGD(parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda: torch.optim.Adam(parameters(), lr=0.1, betas=(0.9, 0.99)),
    "AdamW with tensors": lambda: torch.optim.AdamW(
        parameters(), lr=torch.tensor(0.1), betas=(torch.tensor(0.9), torch.tensor(0.99)), foreach=False
    ),
    "RMSprop": lambda: torch.optim.RMSprop(parameters(), lr=0.1, momentum=0.9),
    "groups": lambda: torch.optim.SGD(
        [{"params": parameters(), "momentum": m} for m in (0.0, 0.5, 0.9, 1 / 3, 0.99)], lr=0.1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("end", [UNKICK, CUT])
def test_the_momentum_is_what_it_was_to_the_bit(name, end):
    optimizer = OPTIMIZERS[name]()
    before, group = momenta(optimizer), optimizer.param_groups[-1]
    second = group["betas"][1] if "betas" in group else None
    writer = DecisionWriter(0.3)
    written = writer.apply(KICK, [optimizer])
    raised = [1 - (1 - m) * 0.3 if m else 0.0 for m in before]
    assert momenta(optimizer) == pytest.approx(raised, rel=1e-6)
    assert written.momentum.startswith("momentum 0.")
    assert written.multiplier == pytest.approx(1 / 0.3)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones(2)
    optimizer.step()  # torch takes it
    writer.apply(end, [optimizer])
    assert momenta(optimizer) == before
    assert second is None or group["betas"][1] is second
    assert writer.raised == []


def test_the_lr_goes_up_by_one_cut_and_floors_dont_hold_it():
    optimizer = OPTIMIZERS["SGD"]()
    writer = DecisionWriter(0.5)
    assert writer.apply(KICK, [optimizer], min_lr=0.15).multiplier == 2.0
    assert optimizer.param_groups[0]["lr"] == 0.2
    writer.apply(UNKICK, [optimizer], min_lr=0.15)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not writer.apply(Decision("keep", ""), [optimizer])
    assert not writer.apply(CUT, [optimizer], min_lr=0.15)


def test_what_something_else_has_set_meanwhile_stays():
    optimizer = OPTIMIZERS["groups"]()
    writer = DecisionWriter(0.5)
    writer.apply(KICK, [optimizer])
    optimizer.param_groups[1]["momentum"] = 0.123
    writer.apply(UNKICK, [optimizer])
    assert momenta(optimizer) == [0.0, 0.123, 0.9, 1 / 3, 0.99]


def test_resumed_in_a_kick(tmp_path):
    first, second = OPTIMIZERS["groups"](), OPTIMIZERS["Adam"]()
    before = momenta(first, second)
    writer = DecisionWriter(0.5)
    writer.apply(KICK, [first, second])
    torch.save([first.state_dict(), second.state_dict(), writer.state_dict()], tmp_path / "x.pt")
    *states, state = torch.load(tmp_path / "x.pt", weights_only=True)
    fresh = [OPTIMIZERS["groups"](), OPTIMIZERS["Adam"]()]
    for optimizer, saved in zip(fresh, states, strict=True):
        optimizer.load_state_dict(saved)
    again = DecisionWriter(0.5).loaded(Saved("writer", state))
    assert again.raised == writer.raised
    assert momenta(*fresh) == momenta(first, second) != before
    again.apply(UNKICK, fresh)
    assert momenta(*fresh) == before
    assert [g["lr"] for o in fresh for g in o.param_groups] == [0.1] * 6


@pytest.mark.parametrize("item", [None, [0, 0, 0.9], [0, -1, 0.9, 0.95], [0.5, 0, 0.9, 0.95], [0, 0, "x", 0.95]])
def test_a_state_that_is_something_else_is_refused(item):
    with pytest.raises(ValueError, match="the saved"):
        DecisionWriter(0.5).loaded(Saved("writer", {"raised": [item]}))


def test_what_has_no_momentum_is_kicked_by_its_lr_alone():
    for bare in (torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop):
        optimizer = bare(parameters(), lr=0.1)
        writer = DecisionWriter(0.5)
        assert writer.apply(KICK, [optimizer]).momentum == ""
        assert optimizer.param_groups[0]["lr"] == 0.2
        assert writer.raised == []
        writer.apply(UNKICK, [optimizer])
        assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_momentum_that_a_scheduler_cycles_is_left_to_it():
    def kicked(optimizer, *schedulers):
        before = momenta(optimizer)
        writer = DecisionWriter(0.5)
        writer.apply(KICK, [optimizer], schedulers)
        return momenta(optimizer) != before

    def sgd():
        return OPTIMIZERS["SGD"]()

    optimizer, other = sgd(), sgd()
    cycle = OneCycleLR(other, 0.1, total_steps=10)
    assert kicked(optimizer, cycle, ExponentialLR(optimizer, 0.9))
    assert not kicked(other, cycle)
    nested, still = sgd(), sgd()
    parts = [ExponentialLR(nested, 0.9), CyclicLR(nested, 0.01, 0.1)]
    assert not kicked(nested, SequentialLR(nested, parts, [5]))
    assert kicked(still, CyclicLR(still, 0.01, 0.1, cycle_momentum=False))
