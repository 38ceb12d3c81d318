"""Rescaled schedulers against schedulers built with the new LR."""

import math
import warnings

import pytest
import torch
from torch.optim import lr_scheduler as sched

from lr_lightning.optim import param_groups as pg
from tests.helpers.schedulers import SCHEDULERS, optimizer_with


def trajectory(optimizer, scheduler, steps: int = 50, metric=None) -> list[list[float]]:
    out = []
    for t in range(steps):
        out.append([pg.get_lr(g) for g in optimizer.param_groups])
        for g in optimizer.param_groups:
            g["params"][0].grad = torch.zeros(2)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*epoch parameter in `scheduler.step.*")
            scheduler.step(*() if metric is None else (metric(t),))
    return out


def ulps(a: float, b: float) -> float:
    return abs(a - b) / math.ulp(max(abs(a), abs(b), 1e-300))


def worst(a, b) -> float:
    return max(ulps(x, y) for row_a, row_b in zip(a, b, strict=True) for x, y in zip(row_a, row_b, strict=True))


def pair(name, old, new, ratios, **kwargs):
    """A rescaled set-up and one built with the new LR."""
    optimizer, fresh = (optimizer_with(lr, ratios, **kwargs) for lr in (old, new))
    scheduler = SCHEDULERS[name](optimizer, old)
    changes = pg.rescale([optimizer], [scheduler], new)
    return optimizer, scheduler, fresh, SCHEDULERS[name](fresh, new), changes


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("ratios", [(1.0,), (1.0, 10.0)])
@pytest.mark.parametrize(("old", "new"), [(0.003, 0.0471), (1e-3, 7.329415e-6), (0.1, 2.7182818)])
def test_rescaled_scheduler_goes_on_as_if_built_with_the_new_lr(name, ratios, old, new):
    optimizer, scheduler, fresh, expected, changes = pair(name, old, new, ratios, momentum=0.9)
    assert [c.new for c in changes] == [pg.get_lr(g) for g in optimizer.param_groups]
    assert pg.reference_lr([optimizer], [scheduler]) == new
    assert scheduler.get_last_lr() == [pg.get_lr(g) for g in optimizer.param_groups]
    got, want = trajectory(optimizer, scheduler), trajectory(fresh, expected)
    assert worst(got, want) == 0


@pytest.mark.parametrize("ratios", [(1.0,), (1.0, 10.0)])
def test_rescaled_reduce_lr_on_plateau(ratios):
    def build(lr):
        optimizer = optimizer_with(lr, ratios)
        return optimizer, sched.ReduceLROnPlateau(optimizer, patience=2, factor=0.3, min_lr=lr * 0.125)

    optimizer, scheduler = build(0.003)
    pg.rescale([optimizer], [scheduler], 0.0471)
    flat = lambda t: 1.0  # noqa: E731
    assert worst(trajectory(optimizer, scheduler, metric=flat), trajectory(*build(0.0471), metric=flat)) == 0


@pytest.mark.parametrize("name", ["OneCycleLR", "CosineAnnealingLR floor", "LinearLR"])
def test_tensor_lrs_are_filled_in_place(name):
    optimizer = optimizer_with(0.003, (1.0,), tensor=True, momentum=0.9)
    scheduler = SCHEDULERS[name](optimizer, 0.003)
    tensor = optimizer.param_groups[0]["lr"]
    pg.rescale([optimizer], [scheduler], 0.0471)
    assert optimizer.param_groups[0]["lr"] is tensor
    fresh = optimizer_with(0.0471, (1.0,), tensor=True, momentum=0.9)
    got = trajectory(optimizer, scheduler)
    for (x,), (y,) in zip(got, trajectory(fresh, SCHEDULERS[name](fresh, 0.0471)), strict=True):
        assert x == pytest.approx(y, rel=1e-5)  # a float32 LR
    assert optimizer.param_groups[0]["lr"] is tensor


@pytest.mark.parametrize("name", SCHEDULERS)
def test_decay_in_the_middle_multiplies_what_follows(name):
    optimizer, plain = (optimizer_with(0.1, (1.0, 10.0), momentum=0.9) for _ in range(2))
    scheduler, reference = SCHEDULERS[name](optimizer, 0.1), SCHEDULERS[name](plain, 0.1)
    head = trajectory(optimizer, scheduler, 13)
    changes = pg.decay([optimizer], [scheduler], 0.5)
    expected = trajectory(plain, reference)
    assert head == expected[:13]
    assert [(c.optimizer, c.group) for c in changes] == [(0, 0), (0, 1)]
    halves = [[lr * 0.5 for lr in row] for row in expected[13:]]
    assert trajectory(optimizer, scheduler, 37) == halves  # a power of two: exact
    assert [pg.lr_factor(g) for g in optimizer.param_groups] == [0.5, 0.5]
    if name not in ("OneCycleLR", "OneCycleLR linear", "CyclicLR"):
        assert [pg.base_lr(g) for g in optimizer.param_groups] == [0.1, 1.0]


def test_rescale_keeps_the_plateau_factor_and_decay_keeps_the_base():
    optimizer = optimizer_with(0.1)
    pg.decay([optimizer], [], 0.5)
    pg.rescale([optimizer], [], 0.02)
    groups = optimizer.param_groups
    assert [pg.get_lr(g) for g in groups] == [0.01, 0.1]
    assert [pg.base_lr(g) for g in groups] == [0.02, 0.2]
    assert [pg.lr_factor(g) for g in groups] == [0.5, 0.5]
    assert torch.load(saved(optimizer), weights_only=True)["param_groups"][0]["lr_factor"] == 0.5


def saved(optimizer):
    import io

    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    return buffer


def test_decay_stops_at_the_floor_of_each_group():
    optimizer = optimizer_with(0.1)
    changes = pg.decay([optimizer], [], 0.1, min_lr=[0.05, 2.0])
    assert [(c.group, c.old, c.new) for c in changes] == [(0, 0.1, 0.05)]
    assert [pg.get_lr(g) for g in optimizer.param_groups] == [0.05, 1.0]
    assert pg.decay([optimizer], [], 0.1, min_lr=[0.05, 2.0]) == []


def test_group_added_later_gets_the_factor_once():
    optimizer = optimizer_with(0.1)
    pg.decay([optimizer], [], 0.25)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.8})
    assert [pg.apply_factor(g, 0.25) for g in optimizer.param_groups] == [False, False, True]
    assert [pg.apply_factor(g, 0.25) for g in optimizer.param_groups] == [False, False, False]
    assert [pg.get_lr(g) for g in optimizer.param_groups] == [0.025, 0.25, 0.2]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_factors_rescale_each_groups_schedule_as_if_built_with_its_lr(name):
    optimizer, fresh = optimizer_with(0.003, (1.0, 10.0)), optimizer_with(0.0471, (1.0, 2.5))
    scheduler, expected = SCHEDULERS[name](optimizer, 0.003), SCHEDULERS[name](fresh, 0.0471)
    changes = pg.rescale([optimizer], [scheduler], 0.0471, (1.0, 0.25))
    assert [c.new for c in changes] == [pg.get_lr(g) for g in optimizer.param_groups]
    assert worst(trajectory(optimizer, scheduler), trajectory(fresh, expected)) <= 4


def test_factors_over_several_optimizers():
    first, second = optimizer_with(0.1), optimizer_with(0.03, (1.0,))
    scheduler = sched.ExponentialLR(second, 0.9)
    pg.rescale([first, second], [scheduler], 0.2, (1.0, 0.5, 4.0))
    assert [pg.get_lr(g) for o in (first, second) for g in o.param_groups] == [0.2, 1.0, 0.24]
    assert scheduler.base_lrs == [0.24]


def test_several_optimizers_share_one_multiplier():
    first, second = optimizer_with(0.1), optimizer_with(0.03, (1.0,))
    scheduler = sched.ExponentialLR(second, 0.9)
    pg.rescale([first, second], [scheduler], 0.2)
    assert [pg.get_lr(g) for o in (first, second) for g in o.param_groups] == [0.2, 2.0, 0.06]
    assert scheduler.base_lrs == [0.06]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: pg.rescale([o], [], None), "new_lr must be finite and greater than 0, got None"),
        (lambda o: pg.rescale([o], [], 0.0), r"new_lr must be finite and greater than 0, got 0\.0"),
        (lambda o: pg.rescale([o], [], float("nan")), "new_lr must be finite and greater than 0, got nan"),
        (lambda o: pg.decay([o], [], -1.0), r"factor must be finite and greater than 0, got -1\.0"),
        (lambda o: pg.rescale([o], [], 0.5, [1.0]), r"factors has 1 values for 2 param groups: \[1\.0\]"),
        (lambda o: pg.decay([o], [], 0.5, [1.0]), r"min_lr has 1 values for 2 param groups: \[1\.0\]"),
    ],
)
def test_bad_input_changes_nothing(call, message):
    optimizer = optimizer_with(0.1)
    with pytest.raises(ValueError, match=message):
        call(optimizer)
    assert [pg.get_lr(g) for g in optimizer.param_groups] == [0.1, 1.0]


def test_all_zero_lrs_are_refused():
    with pytest.raises(ValueError, match="every param group has a learning rate of 0"):
        pg.rescale([optimizer_with(0.0)], [], 0.1)
