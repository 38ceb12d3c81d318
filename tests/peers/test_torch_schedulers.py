"""What torch's tests of its schedulers promise, asked of FormulaLR."""

import copy
import gc
import math
import warnings
import weakref

import pytest
import torch
from torch.optim import lr_scheduler as torchs

from lr_lightning import FormulaLR

EPOCHS = 12


def sgd(lr=0.1, **options):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr * ratio} for ratio in (1, 10)]
    return torch.optim.SGD(groups, lr=lr, **options)


def walk(optimizer, *schedulers, epochs=EPOCHS):
    seen = []
    for _ in range(epochs):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return seen


# torch's scheduler, and the closed and the recursive formula of it.
LINE = "lr + 0.125 * base_lr if 0 < epoch <= 6 else lr if epoch else base_lr / 4"
PAIRS = {
    "StepLR": (
        lambda o: torchs.StepLR(o, 3, 0.1),
        "base_lr * 0.1 ** floor(epoch / 3)",
        "lr * 0.1 if epoch and epoch % 3 == 0 else lr",
    ),
    "ExponentialLR": (lambda o: torchs.ExponentialLR(o, 0.8), "base_lr * 0.8 ** epoch", "lr * 0.8 if epoch else lr"),
    "LambdaLR": (
        lambda o: torchs.LambdaLR(o, lambda t: 1 / (1 + t)),
        "base_lr / (1 + epoch)",
        "lr * epoch / (epoch + 1) if epoch else lr",
    ),
    "MultiplicativeLR": (
        lambda o: torchs.MultiplicativeLR(o, lambda t: 0.95),
        "base_lr * 0.95 ** epoch",
        "lr * 0.95 if epoch else lr",
    ),
    "ConstantLR": (
        lambda o: torchs.ConstantLR(o, 0.5, 4),
        "base_lr * (0.5 if epoch < 4 else 1)",
        "base_lr / 2 if epoch < 4 else base_lr",
    ),
    "LinearLR": (lambda o: torchs.LinearLR(o, 0.25, 1.0, 6), "base_lr * (0.25 + 0.125 * min(epoch, 6))", LINE),
    "PolynomialLR": (lambda o: torchs.PolynomialLR(o, 8, 2), "base_lr * (1 - min(epoch, 8) / 8) ** 2", None),
    "CosineAnnealingLR": (
        lambda o: torchs.CosineAnnealingLR(o, EPOCHS),
        "base_lr * (1 + cos(pi * epoch / 12)) / 2",
        None,
    ),
}


@pytest.mark.parametrize(("name", "form"), [(n, form) for n in PAIRS for form in (1, 2) if PAIRS[n][form]])
def test_closed_and_chained_forms_are_torchs(name, form):
    make, text = PAIRS[name][0], str(PAIRS[name][form])
    one, two = sgd(), sgd()
    expected = walk(one, make(one))
    for got, right in zip(walk(two, FormulaLR(two, text)), expected, strict=True):
        assert got == pytest.approx(right, rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_state_goes_on_where_it_was_taken(name, at):
    text = PAIRS[name][2] or PAIRS[name][1]
    straight, first, second = sgd(), sgd(), sgd()
    expected = walk(straight, FormulaLR(straight, text))
    scheduler = FormulaLR(first, text)
    walk(first, scheduler, epochs=at)
    again = FormulaLR(second, text)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    again.load_state_dict(scheduler.state_dict())
    assert again.state_dict() == scheduler.state_dict()
    assert again.get_last_lr() == scheduler.get_last_lr() == expected[at]
    assert walk(second, again, epochs=EPOCHS - at) == expected[at:]


def test_get_last_lr_after_each_step():
    optimizer = sgd()
    scheduler = FormulaLR(optimizer, "base_lr * 0.5 ** epoch")
    for epoch in range(4):
        assert scheduler.last_epoch == epoch
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        assert scheduler.get_last_lr() == pytest.approx([0.1 * 0.5**epoch, 0.5**epoch])
        optimizer.step()
        scheduler.step()


def test_building_it_sets_the_first_lr_and_the_initial_one():
    optimizer = sgd()
    scheduler = FormulaLR(optimizer, "base_lr / 4")
    assert [(group["initial_lr"], group["lr"]) for group in optimizer.param_groups] == [(0.1, 0.025), (1.0, 0.25)]
    assert scheduler.base_lrs == [0.1, 1.0]
    with pytest.raises(ValueError, match="'initial_lr'"):
        FormulaLR(sgd(), "base_lr", last_epoch=3)


@pytest.mark.parametrize("last", [0, 3])
def test_last_epoch_goes_on_in_an_optimizer_that_has_been_stepped(last):
    found = []
    for make in (
        lambda o, at: torchs.LambdaLR(o, lambda t: 0.9**t, last_epoch=at),
        lambda o, at: FormulaLR(o, "base_lr * 0.9 ** epoch", last_epoch=at),
    ):
        optimizer = sgd()
        walk(optimizer, make(optimizer, -1), epochs=last + 1)
        found.append(walk(optimizer, make(optimizer, last + 1), epochs=4))
    for got, right in zip(found[1], found[0], strict=True):
        assert got == pytest.approx(right, rel=1e-12)


def test_the_order_of_steps_is_minded_as_torch_does():
    optimizer = sgd()
    optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
    scheduler = FormulaLR(optimizer, "base_lr * 0.5 ** epoch")
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before `optimizer.step\(\)"):
        scheduler.step()
    optimizer = sgd()
    scheduler = FormulaLR(optimizer, "base_lr * 0.5 ** epoch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        walk(optimizer, scheduler)


def test_it_is_freed_without_the_garbage_collector():
    optimizer = sgd()
    scheduler = FormulaLR(optimizer, "lr * 0.5")
    held = weakref.ref(scheduler)
    gc.disable()
    try:
        del scheduler
        assert held() is None
    finally:
        gc.enable()


def test_an_lr_that_is_a_tensor_stays_that_tensor():
    optimizer = sgd()
    kept = [torch.tensor(group["lr"], dtype=torch.float64) for group in optimizer.param_groups]
    for group, lr in zip(optimizer.param_groups, kept, strict=True):
        group["lr"] = lr
    walk(optimizer, FormulaLR(optimizer, "base_lr * 0.5 ** epoch"), epochs=3)
    assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, kept, strict=True))
    assert [float(lr) for lr in kept] == pytest.approx([0.1 / 8, 1 / 8])


def test_within_sequences_and_chains():
    one, two = sgd(), sgd()
    parts = [torchs.ConstantLR(one, 0.1, 3), torchs.ExponentialLR(one, 0.9)]
    ours = [FormulaLR(two, "base_lr / 10"), FormulaLR(two, "base_lr * 0.9 ** epoch")]
    expected = walk(one, torchs.SequentialLR(one, parts, [3]))
    for got, right in zip(walk(two, torchs.SequentialLR(two, ours, [3])), expected, strict=True):
        assert got == pytest.approx(right, rel=1e-12)
    alone = sgd()
    chained = torchs.ChainedScheduler([FormulaLR(alone, "base_lr / (1 + epoch)")])
    assert walk(alone, chained)[3][0] == pytest.approx(0.025)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_with_it_is_training_with_torchs(momentum):
    """To the last bit where torch's LR is the same number."""
    weights = []
    for make in (
        lambda o: torchs.LambdaLR(o, lambda t: 1 / (1 + t)),
        lambda o: FormulaLR(o, "base_lr * (1 / (1 + epoch))"),
    ):
        optimizer = sgd(momentum=momentum)
        scheduler = make(optimizer)
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            sum(p.square().sum() for group in optimizer.param_groups for p in group["params"]).backward()
            optimizer.step()
            scheduler.step()
        weights.append([p.item() for group in optimizer.param_groups for p in group["params"]])
    assert weights[0] == weights[1]
    assert all(math.isfinite(weight) for weight in weights[0])
