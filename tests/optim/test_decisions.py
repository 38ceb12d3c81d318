"""DecisionWriter: kicks raise LR and momentum, and take them back to the bit."""

import doctest

import pytest
import torch
from torch.optim.lr_scheduler import CyclicLR, ExponentialLR, OneCycleLR, SequentialLR

from lr_lightning.optim import decisions as decision_writer
from lr_lightning.optim import gradient_agreement, param_groups
from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.saved import Saved

KICK, UNKICK, CUT = Decision("kick", "flat"), Decision("unkick", "no progress"), Decision("decay", "floor")


def parameters(count=1):
    return [torch.nn.Parameter(torch.zeros(2)) for _ in range(count)]


def momenta(*optimizers):
    return [param_groups.momentum(group) for optimizer in optimizers for group in optimizer.param_groups]


def test_doctests():
    for module in (decision_writer, gradient_agreement):
        assert doctest.testmod(module).failed == 0


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
@pytest.mark.parametrize("chosen", [None, 0.95])
@pytest.mark.parametrize("end", [UNKICK, CUT])
def test_the_momentum_is_what_it_was_to_the_bit(name, chosen, end):
    optimizer = OPTIMIZERS[name]()
    before, group = momenta(optimizer), optimizer.param_groups[-1]
    second = group["betas"][1] if "betas" in group else None
    writer = DecisionWriter(0.3, "momentum", chosen)
    writer.check([optimizer])
    written = writer.apply(KICK, [optimizer])
    raised = [max(m, 0.95 if chosen else 1 - (1 - m) * 0.3) if m else 0.0 for m in before]
    assert momenta(optimizer) == pytest.approx(raised, rel=1e-6)
    assert written.momentum.startswith("momentum 0.")
    assert not written.lrs
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones(2)
    optimizer.step()  # torch takes it
    writer.apply(end, [optimizer])
    assert momenta(optimizer) == before
    assert second is None or group["betas"][1] is second
    assert writer.raised == []


@pytest.mark.parametrize(("kick", "lr"), [("lr", 0.2), ("momentum", 0.1), ("both", 0.2)])
def test_the_lr_goes_up_by_one_cut_and_floors_dont_hold_it(kick, lr):
    optimizer = OPTIMIZERS["SGD"]()
    writer = DecisionWriter(0.5, kick)
    assert writer.apply(KICK, [optimizer], min_lr=0.15).multiplier == (1.0 if kick == "momentum" else 2.0)
    assert optimizer.param_groups[0]["lr"] == lr
    writer.apply(UNKICK, [optimizer], min_lr=0.15)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not writer.apply(Decision("keep", ""), [optimizer])
    assert not writer.apply(CUT, [optimizer], min_lr=0.15)


def test_what_something_else_has_set_meanwhile_stays():
    optimizer = OPTIMIZERS["groups"]()
    writer = DecisionWriter(0.5, "momentum")
    writer.apply(KICK, [optimizer])
    optimizer.param_groups[1]["momentum"] = 0.123
    writer.apply(UNKICK, [optimizer])
    assert momenta(optimizer) == [0.0, 0.123, 0.9, 1 / 3, 0.99]


def test_resumed_in_a_kick(tmp_path):
    first, second = OPTIMIZERS["groups"](), OPTIMIZERS["Adam"]()
    before = momenta(first, second)
    writer = DecisionWriter(0.5, "both")
    writer.apply(KICK, [first, second])
    torch.save([first.state_dict(), second.state_dict(), writer.state_dict()], tmp_path / "x.pt")
    *states, state = torch.load(tmp_path / "x.pt", weights_only=True)
    fresh = [OPTIMIZERS["groups"](), OPTIMIZERS["Adam"]()]
    for optimizer, saved in zip(fresh, states, strict=True):
        optimizer.load_state_dict(saved)
    again = DecisionWriter(0.5, "both").loaded(Saved("writer", state))
    assert again.raised == writer.raised
    assert momenta(*fresh) == momenta(first, second) != before
    again.apply(UNKICK, fresh)
    assert momenta(*fresh) == before
    assert [g["lr"] for o in fresh for g in o.param_groups] == [0.1] * 6


@pytest.mark.parametrize("item", [None, [0, 0, 0.9], [0, -1, 0.9, 0.95], [0.5, 0, 0.9, 0.95], [0, 0, "x", 0.95]])
def test_a_state_that_is_something_else_is_refused(item):
    with pytest.raises(ValueError, match="the saved"):
        DecisionWriter(0.5, "both").loaded(Saved("writer", {"raised": [item]}))


def test_what_has_no_momentum_is_refused():
    bare = {
        "SGD": torch.optim.SGD(parameters(), lr=0.1),
        "Adagrad": torch.optim.Adagrad(parameters(), lr=0.1),
        "RMSprop": torch.optim.RMSprop(parameters(), lr=0.1),
    }
    for name, optimizer in bare.items():
        said = rf"kick='momentum' raises the momentum, and {name} has none: give it momentum \(or betas\)"
        with pytest.raises(ValueError, match=said):
            DecisionWriter(0.5, "momentum").check([OPTIMIZERS["SGD"](), optimizer])
        DecisionWriter(0.5, "lr").check([optimizer])
    with pytest.raises(ValueError, match=r"kick_momentum=0\.8 doesn't raise the momentum of SGD, which is 0\.9"):
        DecisionWriter(0.5, "both", 0.8).check([OPTIMIZERS["SGD"]()])


def test_a_scheduler_that_sets_the_momentum_is_refused():
    optimizer, other = OPTIMIZERS["SGD"](), OPTIMIZERS["SGD"]()
    writer = DecisionWriter(0.5, "both")
    cycle = OneCycleLR(other, 0.1, total_steps=10)
    writer.check([optimizer], [cycle, ExponentialLR(optimizer, 0.9)])
    with pytest.raises(ValueError, match="which OneCycleLR sets: give that cycle_momentum=False, or take kick='lr'"):
        writer.check([optimizer, other], [cycle])
    nested = SequentialLR(optimizer, [ExponentialLR(optimizer, 0.9), CyclicLR(optimizer, 0.01, 0.1)], [5])
    with pytest.raises(ValueError, match="which CyclicLR sets"):
        writer.check([optimizer], [nested])
    writer.check([other], [CyclicLR(other, 0.01, 0.1, cycle_momentum=False)])
