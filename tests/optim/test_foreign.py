"""Schedulers that nobody knows: a change of the LR lasts, exactly, whatever they go by and however they are stepped."""

import copy
import math
import pickle

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, SequentialLR, StepLR

from lr_lightning.optim import foreign, param_groups


class Peak(LRScheduler):
    """Goes by an LR of its own."""

    def __init__(self, optimizer, peak):
        self.peak = peak
        super().__init__(optimizer)

    def get_lr(self):
        return [self.peak / (1 + self.last_epoch) for _ in self.base_lrs]


class Chained(LRScheduler):
    """Goes by the last LR."""

    def __init__(self, optimizer, peak):
        super().__init__(optimizer)

    def get_lr(self):
        return [group["lr"] * (0.9 if self.last_epoch else 1.0) for group in self.optimizer.param_groups]


class Values:
    """No subclass of torch's, with two kinds of step, as timm's are."""

    def __init__(self, optimizer, peak):
        self.optimizer, self.base_values, self.count = optimizer, [g["lr"] for g in optimizer.param_groups], 0

    def step(self):
        self.step_update(self.count + 1)

    def step_update(self, count):
        self.count = count
        for group, base in zip(self.optimizer.param_groups, self.base_values, strict=True):
            group["lr"] = 0.5 * base * (1 + math.cos(math.pi * count / 10))

    def state_dict(self):
        return {"count": self.count, "base_values": self.base_values}

    def load_state_dict(self, state):
        vars(self).update(state)


class Slow(Peak):
    """Holds another scheduler and steps it."""

    def __init__(self, optimizer, peak):
        super().__init__(optimizer, peak)
        self.then = CosineAnnealingLR(optimizer, 10)

    def step(self):
        super().step() if not hasattr(self, "then") or self.last_epoch < 2 else self.then.step()


def nested(optimizer, peak):
    return SequentialLR(optimizer, [Peak(optimizer, peak), StepLR(optimizer, 2)], [3])


KINDS = [Peak, Chained, Values, Slow, nested]


def built(make, lr=0.1):
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr": lr * 2}], lr=lr)
    return optimizer, make(optimizer, lr)


def run(optimizer, scheduler, steps=8):
    seen = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        seen.append([group["lr"] for group in optimizer.param_groups])
    return seen


@pytest.mark.parametrize("make", KINDS)
def test_an_lr_found_lasts(make):
    expected = run(*built(make))
    optimizer, scheduler = built(make)
    param_groups.rescale([optimizer], [scheduler], 0.3)
    assert param_groups.reference_lr([optimizer], [scheduler]) == 0.3
    for got, lrs in zip(run(optimizer, scheduler), expected, strict=True):
        assert got == pytest.approx([lr * 3 for lr in lrs], rel=1e-12)
    assert not foreign.has_strayed(optimizer)


@pytest.mark.parametrize("make", KINDS)
def test_cuts_and_a_second_change_multiply(make):
    expected = run(*built(make))
    optimizer, scheduler = built(make)
    param_groups.rescale([optimizer], [scheduler], 0.3)
    run(optimizer, scheduler, 2)
    param_groups.decay([optimizer], [scheduler], 0.5)
    run(optimizer, scheduler, 1)
    param_groups.rescale([optimizer], [scheduler], 0.2)
    for got, lrs in zip(run(optimizer, scheduler, 5), expected[3:], strict=True):
        assert got == pytest.approx([lr * 2 * 0.5 for lr in lrs], rel=1e-12)
    assert [param_groups.base_lr(g) for g in optimizer.param_groups] == pytest.approx([0.2, 0.4])


@pytest.mark.parametrize("make", [Peak, Values])
def test_a_resumed_run_goes_on(make):
    optimizer, scheduler = built(make)
    param_groups.rescale([optimizer], [scheduler], 0.3)
    run(optimizer, scheduler, 3)
    saved = copy.deepcopy([optimizer.state_dict(), scheduler.state_dict()])
    assert not any(callable(value) for value in scheduler.state_dict().values())
    expected = run(optimizer, scheduler, 3)
    optimizer, scheduler = built(make)
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    foreign.follow_again([optimizer], [scheduler])
    assert run(optimizer, scheduler, 3) == expected


def test_a_followed_scheduler_is_still_its_class_and_can_be_pickled():
    optimizer, scheduler = built(Values)
    param_groups.rescale([optimizer], [scheduler], 0.3)
    assert isinstance(scheduler, Values)
    again = pickle.loads(pickle.dumps(scheduler))  # noqa: S301
    assert type(again) is Values
    assert again.base_values == scheduler.base_values


def test_torchs_schedulers_and_plain_subclasses_are_known():
    class Mine(CosineAnnealingLR):
        pass

    optimizer, scheduler = built(lambda o, _: Mine(o, 10))
    assert foreign.foreign([scheduler]) == []
    param_groups.rescale([optimizer], [scheduler], 0.3)
    assert scheduler.base_lrs == [0.3, 0.6]
    assert type(scheduler) is Mine


def test_one_that_can_not_be_followed_is_named():
    class Fixed:
        __slots__ = ("optimizer",)

        def __init__(self, optimizer, peak):
            self.optimizer = optimizer

        def step(self):
            self.optimizer.param_groups[0]["lr"] = 1.0

    optimizer, scheduler = built(Fixed)
    with pytest.warns(UserWarning, match="Fixed sets learning rates of its own"):
        param_groups.rescale([optimizer], [scheduler], 0.3)


def test_an_lr_written_past_the_scheduler_is_noticed():
    optimizer, scheduler = built(Values)
    param_groups.rescale([optimizer], [scheduler], 0.3)
    optimizer.param_groups[0]["lr"] = 0.1
    assert foreign.has_strayed(optimizer)


def test_what_sets_lrs_is_told_from_what_does_not():
    optimizer, scheduler = built(Values)

    class Holder:
        def __init__(self):
            self.optimizer = optimizer

    assert foreign.is_scheduler(scheduler, [optimizer])
    assert not foreign.is_scheduler(scheduler, [built(Values)[0]])
    assert not foreign.is_scheduler(Holder())
    assert not foreign.is_scheduler(optimizer)
