"""Sweeps that hardly fall before they explode, on chains of scalars: small gradients at first, a sharp minimum."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.protocol import START, SweepSettings, Training, carry_out, range_test
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.range_test.shallow import (
    ABOVE,
    BELOW_RISE,
    BEYOND,
    RISE,
    above_bias,
    below_rise,
    ceiling,
    is_shallow,
)
from lr_lightning.rules.range_test.trials import HEADROOM, for_decay

SGD = Training(batches=100, adaptive=False, train_steps=600)


class Chain:
    """Gradient descent on ``floor + (1 - w^depth)^2 / 2``: small gradients near 0, a curvature of depth^2 at 1."""

    def __init__(self, depth, start, floor):
        self.depth, self.start, self.floor, self.w, self.series = depth, start, floor, start, []

    def take(self, steps):
        self.series += [steps.series] if steps.origin == START else []
        self.w = self.start if steps.origin == START else self.w
        return [self.step(lr) for lr in steps.lrs]

    def step(self, lr):
        if not abs(self.w) < 1e6:
            return 1e6
        loss = self.floor + (1 - self.w**self.depth) ** 2 / 2
        self.w += lr * self.depth * (1 - self.w**self.depth) * self.w ** (self.depth - 1)
        return min(loss, 1e6)

    def trained(self, lr, steps=600):
        self.w = self.start
        for i in range(steps):
            loss = self.step(lr * (1 + math.cos(math.pi * i / steps)) / 2)
        return loss - self.floor


def sweep(chain, training=SGD, **options):
    return carry_out(range_test(SweepSettings(**{"budget": 0, **options}), training), chain.take)


@pytest.mark.parametrize(("depth", "start"), [(4, 0.2), (6, 0.3), (6, 0.4)])
@pytest.mark.parametrize("floor", [0.0, 3.0])
def test_a_training_survives_what_is_suggested_and_would_not_have_survived_the_reading(depth, start, floor):
    chain = Chain(depth, start, floor)
    result = sweep(chain, max_lr=1e3)
    read = for_decay(analyze(result.lrs, result.losses, planned=result.num_steps, cycle=8), adaptive=False)
    assert chain.trained(read.suggestion) > 0.4
    assert chain.trained(result.suggestion) < 1e-3
    assert f"lowered to {result.suggestion:.2g}, 1/8 of the LR at which the loss rises" in result.reason
    assert result.interval[0] <= result.suggestion < result.interval[1] <= BEYOND * result.suggestion * (1 + 1e-9)
    assert result.schedules["decay"] == result.suggestion
    assert RangeTestResult.from_dict(result.to_dict()) == result


def test_a_constant_lr_keeps_the_same_distance():
    constant, decayed = (
        sweep(Chain(4, 0.3, 3.0), Training(batches=100, adaptive=False, decays=decays, train_steps=300), max_lr=1e3)
        for decays in (False, True)
    )
    assert constant.suggestion == pytest.approx(decayed.suggestion)
    assert constant.schedules["constant"] == constant.schedules["decay"] == constant.suggestion


class Lured(Chain):
    """Whose trials get better with the LR: they are as short as the sweep."""

    def take(self, steps):
        losses = super().take(steps)
        return [4.0 - 0.1 * math.log(steps.lrs[0])] * len(losses) if steps.series.startswith("trial") else losses


def test_trials_do_not_raise_it_again():
    chain = Lured(4, 0.3, 3.0)
    result, alone = sweep(chain, max_lr=1e3, budget=400), sweep(chain, max_lr=1e3)
    assert len([series for series in chain.series if series.startswith("trial")]) == 2
    assert "trials" in result.reason
    assert result.suggestion == pytest.approx(alone.suggestion)


def test_an_adaptive_optimizer_and_a_deep_descent_keep_their_reading():
    chain = Chain(4, 0.3, 3.0)
    adaptive = sweep(chain, Training(batches=100, adaptive=True), max_lr=1e3)
    assert is_shallow(adaptive)
    assert "lowered" not in adaptive.reason
    deep = sweep(Chain(2, 0.3, 0.0))
    assert not is_shallow(deep)
    assert below_rise(deep, adaptive=True) is deep


class Edged:
    """Falls by half until LR .1, and from .2 on rises at once; trials get better up to 100 times that."""

    def take(self, steps):
        if steps.series.startswith("trial"):
            self.lr = steps.lrs[0] if steps.origin == START else self.lr
            return [2 + math.log(self.lr / 20) ** 2] * len(steps.lrs)
        return [2 - 1 / (1 + (0.07 / lr) ** 3) if lr < 0.2 else 2 + lr * 10 for lr in steps.lrs]


def test_after_a_deep_descent_the_suggestion_is_at_most_a_quarter_of_where_the_loss_rises():
    result, adaptive = (sweep(Edged(), Training(batches=100, adaptive=one)) for one in (False, True))
    rise = next(lr for lr in result.lrs if lr >= 0.2)
    assert not is_shallow(result)
    assert result.suggestion == result.schedules["decay"] == pytest.approx(rise / BELOW_RISE[False])
    assert result.interval[0] <= result.suggestion < result.interval[1] <= BEYOND * result.suggestion * (1 + 1e-9)
    assert result.reason.endswith("1/4 of the LR at which the loss rises")
    assert adaptive.suggestion > result.suggestion
    assert "lowered" not in adaptive.reason


def edged():
    lrs = SweepSettings().lrs
    losses = carry_out(range_test(SweepSettings(budget=0), Training(batches=100, adaptive=True)), Edged().take).losses
    return for_decay(analyze(lrs[: len(losses)], losses, planned=100, cycle=8), adaptive=False)


def test_where_the_loss_falls_twice_the_answer_stays():
    assert below_rise(edged(), adaptive=False).suggestion < edged().suggestion
    twice = replace(edged(), second_fall=(0.05, 0.1))
    assert below_rise(twice, adaptive=False) is twice


def test_after_a_deep_descent_a_low_batch_that_comes_back_is_no_rise():
    result = edged()
    place = result.smoothed.index(min(result.smoothed))
    assert result.lrs[place] < 0.2
    losses = list(result.losses)
    losses[place % 8], losses[place] = 1.5, 1.95
    bound = below_rise(replace(result, losses=tuple(losses)), adaptive=False).suggestion
    assert bound == below_rise(result, adaptive=False).suggestion


def test_trials_do_not_go_beyond_that_and_end_at_twice_that():
    swept, tried = sweep(Edged()), sweep(Edged(), budget=900)
    rise = next(lr for lr in swept.lrs if lr >= 0.2)
    assert tried.suggestion == tried.schedules["decay"] == pytest.approx(rise / BELOW_RISE[False])
    assert len(tried.trials) >= 2
    assert rise / 4 < tried.trials[-1]["lr"] <= BEYOND * rise / BELOW_RISE[False]
    assert tried.reason.endswith("1/4 of the LR at which the loss rises")


def biased(fall=0.05, at=1e-4, rise=0.1):
    """Losses of a net that learns its output's bias at LR ``at``, and explodes at ``rise``."""
    lrs = SweepSettings().lrs
    return lrs, [2 * (1 - fall / (1 + (at / lr) ** 2)) + 0.2 * (lr / rise) ** 3 for lr in lrs]


def gentle():
    """The same, but for a rise by 3 % at the end."""
    lrs, losses = biased(rise=1e9)
    return lrs, [loss + 0.06 / (1 + (0.1 / lr) ** 3) for lr, loss in zip(lrs, losses, strict=True)]


def swept(losses, training, **options):
    settings = SweepSettings(**{"budget": 0, **options})
    return carry_out(range_test(settings, training), lambda steps: losses[steps.index : steps.index + len(steps.lrs)])


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_after_a_bias_the_reading_is_no_further_than_a_fiftieth_from_where_the_loss_rises(adaptive, scale):
    lrs, losses = biased()
    rise = next(lr for lr, loss in zip(lrs, losses, strict=True) if loss > 2 * (1 + RISE))
    read = analyze(lrs, losses, planned=100, cycle=8)
    result = swept([scale * loss for loss in losses], Training(batches=100, adaptive=adaptive, train_steps=600))
    assert read.suggestion < rise / 200
    assert result.suggestion == pytest.approx(HEADROOM[adaptive] * rise / ABOVE)
    assert result.suggestion == result.schedules["decay"]
    assert result.interval[0] < read.suggestion < result.suggestion <= result.interval[1]
    fall = 1 - min(read.smoothed) / read.smoothed[0]
    words = f"raised to {rise / ABOVE:.2g}, 1/50 of the LR at which the loss rises: a fall of {100 * fall:.1f} % may be"
    assert words in result.reason
    assert RangeTestResult.from_dict(result.to_dict()) == result


def test_a_constant_lr_is_raised_as_much():
    training = Training(batches=100, decays=False, train_steps=4800)
    read, raised = (swept(biased(fall=fall)[1], training) for fall in (0.2, 0.05))
    assert "raised" in raised.reason
    assert "raised" not in read.reason
    assert raised.schedules["constant"] == raised.suggestion < raised.schedules["decay"]
    constant, decay = (raised.schedules[name] / read.schedules[name] for name in ("constant", "decay"))
    assert constant == pytest.approx(decay)
    assert constant > 5


@pytest.mark.parametrize(
    "curve",
    [biased(fall=0.2), biased(at=3e-2), biased(rise=1e9), gentle()],
    ids=["more than a bias", "near the rise", "no rise", "a small rise"],
)
def test_other_readings_stay(curve):
    result = analyze(*curve, planned=100, cycle=8)
    assert result.suggestion is not None
    assert above_bias(result) is result


def test_a_rise_is_the_worst_batchs_after_a_bias_and_each_batchs_own_on_a_plateau():
    lrs, losses = biased(fall=0.04)
    offsets = [0.2 * math.cos(i) for i in range(8)]
    uneven = [loss + offsets[i % 8] for i, loss in enumerate(losses)]
    result = analyze(lrs, uneven, planned=100, cycle=8)
    assert is_shallow(result)
    worst = next(lr for lr, loss in zip(lrs, uneven, strict=True) if loss > max(uneven[:10]) + RISE * 2)
    own = next(lr for lr, loss in zip(lrs, losses, strict=True) if loss > 2 * (1 + RISE))
    assert worst > 1.1 * own
    assert above_bias(result).suggestion == pytest.approx(worst / ABOVE, rel=1e-3)
    assert ceiling(result, adaptive=False) == pytest.approx(own / BELOW_RISE[True], rel=1e-3)


def test_a_bias_before_units_die_and_no_answer_stay():
    result = analyze(*biased(), planned=100, cycle=8)
    assert above_bias(result).suggestion > result.suggestion
    for other in (replace(result, second_fall=(0.05, 0.1)), replace(result, suggestion=None)):
        assert above_bias(other) is other


def test_a_rise_that_is_far_away_changes_nothing():
    lrs = np.geomspace(1e-5, 1.0, 51).tolist()
    losses = [2 - 0.05 / (1 + (0.01 / lr) ** 3) + (2 * lr) ** 4 for lr in lrs]
    result = analyze(lrs, losses)
    rise = next(lr for lr, loss in zip(lrs, losses, strict=True) if loss > 1.05 * result.smoothed[0])
    assert is_shallow(result)
    assert result.suggestion < rise / BELOW_RISE[True]
    assert below_rise(result, adaptive=False) is result


@pytest.mark.parametrize("cycle", [8, 1])
def test_batches_that_differ_by_more_than_a_rise_are_none(cycle):
    lrs = np.geomspace(1e-5, 1.0, 100).tolist()
    batches = 0.2 * np.random.default_rng(0).normal(size=8)
    losses = [batches[i % 8] + 2 - 0.09 / (1 + (0.005 / lr) ** 3) + (2 * lr) ** 3 for i, lr in enumerate(lrs)]
    assert max(losses[:50]) > (1 + 2 * RISE) * 2
    result = analyze(lrs, losses, cycle=cycle)
    assert cycle == 1 or is_shallow(result)
    assert below_rise(result, adaptive=False) is result
