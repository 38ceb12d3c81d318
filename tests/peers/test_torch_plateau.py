"""What torch's tests of ReduceLROnPlateau promise, asked of PlateauLR and of PlateauDecay's patience rule."""

import itertools
import math
import random

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau, StepLR

from lr_lightning import PlateauDecay, PlateauLR
from tests.helpers.scripted import Scripted, fit


def sgd(*lrs, **options):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs or (0.5,)]
    return torch.optim.SGD(groups, **options)


def walked(make, values, *lrs, before=lambda optimizer: None):
    """The LRs of all groups after each value."""
    optimizer = sgd(*lrs)
    other = before(optimizer)
    scheduler, seen = make(optimizer, other), []
    for value in values:
        optimizer.step()
        if other is not None:
            other.step()
        scheduler.step(value)
        seen.append([group["lr"] for group in optimizer.param_groups])
    return seen


SERIES = {
    "never better": [1.0] * 20,
    "always better": [10 - i * 0.0167 for i in range(20)],
    "better, then not": [5 * 0.9**i for i in range(5)] + [3.0] * 15,
    "worse": [1.0 + i for i in range(20)],
    "hardly better": [1.0 - 1e-5 * i for i in range(20)],
    "negative": [-1.0 - 0.1 * (i % 4) for i in range(20)],
    "spikes": [1.0, 0.9, 5.0, 0.8, 5.0, 0.7, 5.0, 5.0, 5.0, 0.69, *[0.7] * 10],
    "infinite": [math.inf, math.inf, 1.0, -math.inf, math.inf, *[1.0] * 15],
}
SETTINGS = [
    {"patience": patience, "mode": mode, "threshold_mode": kind, "threshold": threshold, "cooldown": cooldown}
    for patience, mode, kind, threshold, cooldown in itertools.product(
        (0, 1, 5), ("min", "max"), ("rel", "abs"), (0.0, 1e-4, 0.1), (0, 3)
    )
]


@pytest.mark.parametrize("name", SERIES)
def test_the_same_lrs_as_torch_to_the_bit(name):
    for settings in SETTINGS:
        torchs = walked(lambda o, _: ReduceLROnPlateau(o, factor=0.1, **settings), SERIES[name])  # noqa: B023
        ours = walked(lambda o, _: PlateauLR(o, factor=0.1, **settings), SERIES[name])  # noqa: B023
        assert ours == torchs, settings


def test_floors_and_eps_of_two_groups():
    rng = random.Random(1)
    for _ in range(60):
        values = [rng.choice([1.0, 0.9, 1.1]) for _ in range(30)]
        floors = rng.choice([0.0, 0.01, [0.1, 0.02], [0.5, 0.0]])
        settings = {"factor": rng.choice([0.1, 0.5, 0.9]), "patience": rng.randint(0, 3), "min_lr": floors}
        settings["eps"] = rng.choice([0.0, 1e-8, 0.03])
        torchs = walked(lambda o, _: ReduceLROnPlateau(o, **settings), values, 0.5, 0.05)  # noqa: B023
        assert walked(lambda o, _: PlateauLR(o, **settings), values, 0.5, 0.05) == torchs, settings  # noqa: B023


@pytest.mark.parametrize("other", [lambda o: ExponentialLR(o, 0.9), lambda o: StepLR(o, 3, 0.5)])
def test_it_chains_with_another_scheduler(other):
    values = SERIES["spikes"]
    torchs = walked(lambda o, _: ReduceLROnPlateau(o, factor=0.5, patience=1), values, before=other)
    ours = walked(lambda o, s: PlateauLR(o, factor=0.5, patience=1, schedulers=[s]), values, before=other)
    assert [lr for (lr,) in ours] == pytest.approx([lr for (lr,) in torchs], rel=1e-12)


def test_get_last_lr_is_what_the_groups_have():
    optimizer = sgd(0.5, 0.05)
    scheduler = PlateauLR(optimizer, factor=0.1, patience=0)
    assert scheduler.get_last_lr() == [0.5, 0.05]
    for _ in range(3):
        scheduler.step(1.0)
    assert scheduler.get_last_lr() == pytest.approx([0.005, 0.0005])
    assert scheduler.last_epoch == 3


@pytest.mark.parametrize("stop", [0, 1, 7, 15])
def test_a_state_goes_on_as_torchs(stop):
    values, found = SERIES["better, then not"], []
    for kind in (ReduceLROnPlateau, PlateauLR):
        first = sgd()
        scheduler = kind(first, factor=0.5, patience=2, cooldown=1)
        for value in values[:stop]:
            scheduler.step(value)
        second = sgd()
        again = kind(second, factor=0.5, patience=2, cooldown=1)
        second.load_state_dict(first.state_dict())
        again.load_state_dict(scheduler.state_dict())
        assert again.state_dict() == scheduler.state_dict()
        for value in values[stop:]:
            again.step(value)
        found.append((second.param_groups[0]["lr"], again.best, again.num_bad_epochs, again.cooldown_counter))
    assert found[0] == found[1]
    assert found[0][0] < 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_lr_that_is_a_tensor_stays_that_tensor(dtype):
    optimizer = sgd()
    held = optimizer.param_groups[0]["lr"] = torch.tensor(0.5, dtype=dtype)
    scheduler = PlateauLR(optimizer, factor=0.5, patience=0)
    for _ in range(3):
        scheduler.step(torch.tensor(1.0))
    assert optimizer.param_groups[0]["lr"] is held
    assert float(held) == 0.125


def test_bad_settings_are_refused_at_construction():
    for settings in (
        {"factor": 1.0}, {"mode": "auto"}, {"threshold_mode": "relative", "patience": 1}, {"min_lr": [0.1, 0.1]},
        {"patience": 1.5},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(settings))):
            PlateauLR(sgd(), **settings)
    with pytest.raises(ValueError, match="metrics must be a number"):
        PlateauLR(sgd()).step(torch.zeros(2))
    with pytest.raises(TypeError):
        PlateauLR(sgd()).step()


def test_what_differs_on_purpose():
    values, huge = [1.0] * 6, {"patience": 1, "threshold": 10.0}
    assert walked(lambda o, _: ReduceLROnPlateau(o, factor=0.5, **huge), values)[1] == [0.25]
    assert walked(lambda o, _: PlateauLR(o, **huge), values)[:3] == [[0.5], [0.5], [0.25]]
    nans = [1.0, *[math.nan] * 5]
    assert walked(lambda o, _: ReduceLROnPlateau(o, factor=0.5, patience=1), nans)[-1] == [0.125]
    assert walked(lambda o, _: PlateauLR(o, patience=1), nans)[-1] == [0.5]
    first = PlateauLR(sgd(), patience=9)
    second = PlateauLR(sgd(), patience=2)
    second.load_state_dict(first.state_dict())
    assert second.patience == 2


@pytest.mark.parametrize("name", ["better, then not", "spikes", "infinite"])
@pytest.mark.parametrize("settings", SETTINGS[3::17])
def test_the_callback_decides_as_torch_too(name, settings):
    module = Scripted(SERIES[name], lr=0.5, batches=1)
    fit(module, PlateauDecay(factor=0.1, verbose=False, **settings), max_epochs=20)
    torchs = walked(lambda o, _: ReduceLROnPlateau(o, factor=0.1, **settings), SERIES[name])
    assert module.lrs[1:] == pytest.approx([lr for (lr,) in torchs[:-1]], rel=1e-12)
