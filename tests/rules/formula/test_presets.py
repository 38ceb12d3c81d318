"""Presets against torch's own schedulers, and against values worked out by hand."""

import math
import warnings

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from lr_lightning import Formula, FormulaLR
from lr_lightning.rules.formula.presets import PRESETS
from lr_lightning.rules.formula.schedule import Counters, Horizon, Schedule

STEPS, LR = 1000, 0.1


def curve(preset, interval="step", steps=STEPS, batches=1, **params):
    """LRs of a preset, by hand from its rule."""
    schedule = Schedule(
        Formula(preset=preset, interval=interval, **params), Horizon(steps // batches, steps, batches, batches)
    )
    count = steps if interval == "step" else steps // batches
    return [
        schedule.value(
            Counters(i // batches, i, i % batches) if interval == "step" else Counters(i, i * batches), LR, LR
        )
        for i in range(count)
    ]


def torch_curve(build, steps=STEPS, lr=LR):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    lrs = []
    scheduler = build(optimizer)
    for _ in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return lrs


CASES = {
    "step": ({"step_size": 150, "gamma": 0.3}, lambda o: schedulers.StepLR(o, 150, 0.3)),
    "multistep": (
        {"milestones": [100, 400, 401, 900], "gamma": 0.2},
        lambda o: schedulers.MultiStepLR(o, [100, 400, 401, 900], 0.2),
    ),
    "exponential": ({"gamma": 0.997}, lambda o: schedulers.ExponentialLR(o, 0.997)),
    "linear": (
        {"start_factor": 0.2, "end_factor": 0.9, "total": 700},
        lambda o: schedulers.LinearLR(o, 0.2, 0.9, total_iters=700),
    ),
    "polynomial": ({"power": 2.5}, lambda o: schedulers.PolynomialLR(o, STEPS, power=2.5)),
    "cosine": ({"final_factor": 0.05}, lambda o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.05 * LR)),
    "cosine to 0": ({}, lambda o: schedulers.CosineAnnealingLR(o, STEPS)),
    "cosine_restarts": ({"t_0": 130}, lambda o: schedulers.CosineAnnealingWarmRestarts(o, 130)),
    "cosine_restarts, longer": (
        {"t_0": 10, "t_mult": 2, "final_factor": 0.01},
        lambda o: schedulers.CosineAnnealingWarmRestarts(o, 10, 2, eta_min=0.01 * LR),
    ),
    "cosine_restarts, times 3": ({"t_0": 7, "t_mult": 3}, lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7, 3)),
    "one_cycle": ({}, lambda o: schedulers.OneCycleLR(o, LR, total_steps=STEPS + 1)),
    "one_cycle, own factors": (
        {"pct_start": 0.17, "div_factor": 10, "final_div_factor": 50, "total": STEPS + 1},
        lambda o: schedulers.OneCycleLR(
            o, LR, total_steps=STEPS + 1, pct_start=0.17, div_factor=10, final_div_factor=50
        ),
    ),
    "triangular": ({"up": 60, "low": 0.25}, lambda o: schedulers.CyclicLR(o, 0.25 * LR, LR, 60)),
    "triangular, skew": ({"up": 60, "down": 85}, lambda o: schedulers.CyclicLR(o, 0.1 * LR, LR, 60, 85)),
    "triangular2": (
        {"up": 60, "cycle_gamma": 0.5},
        lambda o: schedulers.CyclicLR(o, 0.1 * LR, LR, 60, mode="triangular2"),
    ),
    "exp_range": (
        {"up": 60, "gamma": 0.999},
        lambda o: schedulers.CyclicLR(o, 0.1 * LR, LR, 60, mode="exp_range", gamma=0.999),
    ),
}


def relative(ours, theirs):
    assert len(ours) == len(theirs) == STEPS
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_presets_equal_torch(case):
    params, build = CASES[case]
    name = {"triangular2": "triangular", "exp_range": "triangular"}.get(case, case.split(",")[0].split()[0])
    if name == "one_cycle":
        params = {"total": STEPS + 1, **params}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = torch_curve(build)
    assert relative(curve(name, **params), theirs) < 1e-12, case


HAND = {
    "inverse_time": ({"decay_rate": 0.5}, [0.1, 0.1 / 1.5, 0.05, 0.04]),
    "exponential": ({}, [0.1, 0.099, 0.09801, 0.0970299]),
    "inverse_sqrt_epoch": ({"k": 2.0}, [0.2, 0.2 / math.sqrt(2), 0.2 / math.sqrt(3), 0.1]),
    "inverse_sqrt": ({}, [0.1, 0.1 / math.sqrt(2), 0.1 / math.sqrt(3), 0.05]),
    "from_epoch": ({"n": 2, "factor": 0.5}, [0.1, 0.1, 0.05, 0.025]),
    "step": ({"step_size": 2}, [0.1, 0.1, 0.01, 0.01]),
    "multistep": ({"milestones": [1, 3]}, [0.1, 0.01, 0.01, 0.001]),
    "linear": ({}, [0.1, 0.075, 0.05, 0.025]),
    "polynomial": ({"power": 2}, [0.1, 0.1 * 9 / 16, 0.025, 0.1 / 16]),
    "cosine": ({}, [0.1, 0.05 * (1 + math.sqrt(0.5)), 0.05, 0.05 * (1 - math.sqrt(0.5))]),
    "cosine_restarts": ({"t_0": 2}, [0.1, 0.05, 0.1, 0.05]),
    "one_cycle": ({"pct_start": 0.5, "div_factor": 4, "final_div_factor": 2}, [0.025, 0.1, 0.05625, 0.0125]),
    "triangular": ({"up": 2, "low": 0.5}, [0.05, 0.075, 0.1, 0.075]),
    "wsd": ({"warmup": 0.25, "decay": 0.5}, [0.05, 0.1, 0.1, 0.05]),
    "noam": (
        {"d_model": 16, "warmup_steps": 2},
        [0.025 / 2**1.5, 0.025 * 2 / 2**1.5, 0.025 / math.sqrt(3), 0.0125],
    ),
    "inverse_sqrt_step": ({"k": 3.0}, [0.3, 0.3 / math.sqrt(2), 0.3 / math.sqrt(3), 0.15]),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_by_hand_from_zero_on(preset):
    """Four points of a run of four, epoch 0 included: what divides by a number counts from 1."""
    params, expected = HAND[preset]
    interval = "step" if preset in ("noam", "inverse_sqrt_step") else "epoch"
    assert curve(preset, interval=interval, steps=4, **params) == pytest.approx(expected, rel=1e-14)
    assert "``" in PRESETS[preset].__doc__


def test_inverse_sqrt_step_counts_batches_over_the_whole_run():
    lrs = curve("inverse_sqrt_step", steps=6, batches=3)
    assert lrs == pytest.approx([LR / math.sqrt(i) for i in range(1, 7)], rel=1e-15)


def test_inverse_sqrt_follows_the_interval():
    assert Formula(preset="inverse_sqrt").expression == "base_lr * k / sqrt(epoch + 1)"
    assert Formula(preset="inverse_sqrt", k=1.0, interval="step").expression == "base_lr * k / sqrt(step + 1)"


def test_from_epoch_equals_the_recursive_way_of_writing_it():
    schedule = Schedule(Formula("lr if epoch < 10 else lr * 0.9"), Horizon.of(30, 1))
    lr, chained = LR, []
    for epoch in range(30):
        lr = schedule.value(Counters(epoch), LR, lr)
        chained.append(lr)
    assert curve("from_epoch", interval="epoch", steps=30) == pytest.approx(chained, rel=1e-14)


def test_warmup_in_front_equals_torch_sequence():
    def build(optimizer):
        rise = schedulers.LinearLR(optimizer, 1 / 51, 1.0, total_iters=50)
        return schedulers.SequentialLR(optimizer, [rise, schedulers.CosineAnnealingLR(optimizer, 960, 0.001)], [50])

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    ours = FormulaLR(
        optimizer, preset="cosine", interval="step", total=960, final_factor=0.01, warmup_steps=50, steps=STEPS
    )
    lrs = []
    for _ in range(STEPS):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        ours.step()
    assert relative(lrs, torch_curve(build)) < 1e-12
