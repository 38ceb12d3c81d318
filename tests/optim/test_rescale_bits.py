"""A set-up rescaled in place is, to the last bit, one built with the new LR: for random LRs, to each schedule's end."""

import random
import warnings
from itertools import cycle

import pytest
import torch
from torch.optim import lr_scheduler as sched
from torch.optim.swa_utils import SWALR

from lr_lightning.optim import param_groups as pg
from lr_lightning.optim.schedulers import flat
from lr_lightning.rules.proportion import proportional
from tests.helpers.schedulers import SCHEDULERS, optimizer_with

LENGTH = 60
GROUPS = ((1.0,), (1.0, 10.0), (1.0, 0.1, 3.0))
OLD = (1e-3, 3e-3, 0.01, 0.1, 0.0471)


def peaks(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


FURTHER = {
    "ConstantLR by default": lambda o, lr: sched.ConstantLR(o),
    "LinearLR by default": lambda o, lr: sched.LinearLR(o),
    "LambdaLR from 1/70": lambda o, lr: sched.LambdaLR(o, lambda t: min(1.0, (t + 1) / 70)),
    "CosineAnnealingLR 1 %": lambda o, lr: sched.CosineAnnealingLR(o, 20, eta_min=lr * 0.01),
    "CosineAnnealingWarmRestarts 1 %": lambda o, lr: sched.CosineAnnealingWarmRestarts(o, 7, eta_min=lr * 0.01),
    "CyclicLR from a tenth": lambda o, lr: sched.CyclicLR(
        o, [lr * 0.1 for lr in peaks(o)], peaks(o), step_size_up=6, mode="exp_range", gamma=0.99
    ),
    "OneCycleLR other divisors": lambda o, lr: sched.OneCycleLR(
        o, peaks(o), total_steps=LENGTH, div_factor=7, final_div_factor=333
    ),
    "SequentialLR from OneCycleLR": lambda o, lr: sched.SequentialLR(
        o, [sched.OneCycleLR(o, peaks(o), total_steps=30), sched.ConstantLR(o)], milestones=[30]
    ),
    "SWALR": lambda o, lr: SWALR(o, swa_lr=0.05),
}
ALL = {**SCHEDULERS, **FURTHER}
# Those that keep further absolute LRs, and so have more to lose a bit of.
ABSOLUTE = [name for name in ALL if any(word in name for word in ("OneCycle", "Cyclic", "floor", "1 %", "SWALR"))]


def lrs(count, seed):
    """Old and new LRs, with each set of groups in turn."""
    draw = random.Random(seed)
    for old, ratios, _ in zip(cycle(OLD), cycle(GROUPS), range(count), strict=False):
        yield old, 10 ** draw.uniform(-6, 1), ratios


def rescaled(make, old, new, ratios):
    optimizer = optimizer_with(old, ratios, momentum=0.9)
    scheduler = make(optimizer, old)
    pg.rescale([optimizer], [scheduler], new)
    return optimizer, scheduler


def built(make, new, ratios):
    optimizer = optimizer_with(new, ratios, momentum=0.9)
    return optimizer, make(optimizer, new)


def numbers(optimizer, scheduler):
    """All numbers that the coming LRs are computed from."""
    found = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    for one in flat([scheduler]):
        # A nested scheduler's last LR is computed anew before it is read.
        skip = "" if one is scheduler else "_last_lr"
        plain = (int, float, list, tuple, str)
        found.append({k: v for k, v in vars(one).items() if type(v) in plain and k != skip and k[-7:] != "lambdas"})
        found[-1].pop("_schedulers", None)
    return found


def walk(optimizer, scheduler, steps):
    """LR and momentum of all groups at each step, and the error that ends the schedule, if one does."""
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no optimizer steps: nothing is trained
        for _ in range(steps):
            seen.append([(group["lr"], group["momentum"]) for group in optimizer.param_groups])
            try:
                scheduler.step()
            except ValueError as error:
                return [*seen, str(error)]
    return seen


@pytest.mark.parametrize("name", ALL)
def test_every_number_that_the_schedule_is_computed_from(name):
    make = ALL[name]
    for old, new, ratios in lrs(1000 if name in ABSOLUTE else 100, seed=len(name)):
        assert numbers(*rescaled(make, old, new, ratios)) == numbers(*built(make, new, ratios)), (old, new, ratios)


@pytest.mark.parametrize("name", ALL)
def test_every_step_to_the_last_and_beyond(name):
    make, ends = ALL[name], "OneCycle" in name
    for old, new, ratios in lrs(9, seed=0):
        found = walk(*rescaled(make, old, new, ratios), LENGTH + 20)
        assert found == walk(*built(make, new, ratios), LENGTH + 20), (old, new, ratios)
        assert isinstance(found[-1], str) == (ends and "SequentialLR" not in name)


def test_reduce_lr_on_plateau_down_to_its_floor():
    def plateau(lr, ratios):
        optimizer = optimizer_with(lr, ratios)
        return optimizer, sched.ReduceLROnPlateau(optimizer, patience=1, factor=0.3, min_lr=lr * 1e-4, eps=0)

    def fall(optimizer, scheduler):
        for _ in range(30):
            scheduler.step(1.0)
            yield [group["lr"] for group in optimizer.param_groups]

    for old, new, ratios in lrs(30, seed=1):
        optimizer, scheduler = plateau(old, ratios)
        pg.rescale([optimizer], [scheduler], new)
        steps = list(fall(optimizer, scheduler))
        assert steps == list(fall(*plateau(new, ratios)))
        assert steps[-1] == [new * 1e-4] * len(ratios)


def test_the_share_as_it_was_written():
    draw = random.Random(2)
    for _ in range(300):
        old, new = 10 ** draw.uniform(-5, 1), 10 ** draw.uniform(-5, 1)
        assert proportional(old * 0.03, new, old) == new * 0.03
        assert proportional(old, new, old) == new
        third = proportional(old * (1 / 3), new, old)
        assert third == pytest.approx(new / 3, rel=3e-16)
        assert proportional(old * 0.123456789012345, new, old) == pytest.approx(new * 0.123456789012345, rel=3e-16)
    assert proportional(0.0, 0.5, 0.1) == 0.0


TENSORS = {"AdamW": {"fused": True}, "SGD": {"momentum": 0.9}}


def with_tensors(lr, ratios, name="SGD", dtype=torch.float32):
    """Each group's LR as its owner would write it: a float times a float, then a tensor."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": torch.tensor(lr * r, dtype=dtype)} for r in ratios]
    return getattr(torch.optim, name)(groups, lr=groups[0]["lr"].clone(), **TENSORS[name])


def tensors(optimizer, *schedulers):
    """All LRs in groups and scheduler, in their own precision."""
    found = [{k: v for k, v in group.items() if "lr" in k} for group in optimizer.param_groups]
    kept = [{k: v for k, v in vars(one).items() if "lr" in k or "eta" in k} for one in flat(schedulers)]
    return [{k: v for k, v in one.items() if "lambda" not in k} for one in (*found, *kept)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", TENSORS)
def test_tensor_lrs_as_built_by_hand(name, dtype):
    for old, new, ratios in lrs(300, seed=3):
        optimizer = with_tensors(old, ratios, name, dtype)
        pg.rescale([optimizer], [], new)
        assert tensors(optimizer) == tensors(with_tensors(new, ratios, name, dtype)), (old, new, ratios)
        assert all(group["lr"].dtype == dtype for group in optimizer.param_groups)


@pytest.mark.parametrize("ratios", [(1.0, 1 / 11, 0.65), (1.0, 1 / 3, 2.5e-4)], ids=str)
def test_other_ratios_of_tensor_lrs(ratios):
    for old, new, _ in lrs(100, seed=4):
        optimizer = with_tensors(old, ratios)
        pg.rescale([optimizer], [], new)
        assert tensors(optimizer) == tensors(with_tensors(new, ratios)), (old, new)


def test_a_float_in_proportion_to_a_tensor_of_another_optimizer():
    for old, new, _ in lrs(100, seed=5):
        first, second = with_tensors(old, (1.0,)), optimizer_with(old * 0.3, (1.0,))
        pg.rescale([first, second], [], new)
        assert (first.param_groups[0]["lr"], second.param_groups[0]["lr"]) == (torch.tensor(new), new * 0.3)


@pytest.mark.parametrize("name", [name for name in ALL if "OneCycle" not in name and "Cyclic" not in name])
def test_schedules_of_tensor_lrs(name):
    for old, new, ratios in lrs(30, seed=6):
        optimizer = with_tensors(old, ratios)
        scheduler = ALL[name](optimizer, old)
        pg.rescale([optimizer], [scheduler], new)
        by_hand = with_tensors(new, ratios)
        assert tensors(optimizer, scheduler) == tensors(by_hand, ALL[name](by_hand, new)), (old, new, ratios)
