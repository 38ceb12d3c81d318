"""PlateauLR in plain torch loops."""

import doctest
import math

import pytest
import torch

from lr_lightning import PlateauLR
from lr_lightning.optim import plateau as plateau_lr
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau import cuts as plateau_endgame
from lr_lightning.rules.plateau import stats as plateau_stats


def optimizer(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_doctests():
    for module in (plateau_lr, plateau, plateau_stats, plateau_endgame):
        assert doctest.testmod(module).failed == 0


def test_decides_as_the_rule_alone():
    values = [max(0.0, 1 - i / 40) + 0.01 * math.sin(i * i) for i in range(100)]
    chosen = optimizer()
    ours = PlateauLR(chosen, total=100, rule={"gate": False})
    rule, lr = plateau.make_rule("trend"), 0.1
    state = rule.start()
    for value in values:
        state, decision = rule.observe(state, value, None, 100)
        lr *= 0.5**decision.cuts if decision.decays else 1.0
        assert ours.step(value) == decision
        assert chosen.param_groups[0]["lr"] == pytest.approx(lr, rel=1e-12)
    assert lr < 1e-3


def test_goes_along_with_a_schedule():
    chosen = optimizer()
    schedule = torch.optim.lr_scheduler.ExponentialLR(chosen, 0.9)
    ours = PlateauLR(chosen, patience=2, schedulers=[schedule])
    factor = 1.0
    for i in range(12):
        chosen.step()
        schedule.step()
        factor *= 0.5 if ours.step(1.0).decays else 1.0
        assert chosen.param_groups[0]["lr"] == pytest.approx(0.1 * 0.9 ** (i + 1) * factor)
    assert factor < 0.2


def test_state_goes_through_a_checkpoint(tmp_path):
    values = [1.0] * 60
    whole, broken = optimizer(), optimizer()
    plain, first = PlateauLR(whole, rule={"window": 5}), PlateauLR(broken, rule={"window": 5})
    for value in values[:33]:
        plain.step(value)
        first.step(value)
    torch.save({"optimizer": broken.state_dict(), "plateau": first.state_dict()}, tmp_path / "c.pt")
    saved = torch.load(tmp_path / "c.pt", weights_only=True)
    fresh = optimizer()
    fresh.load_state_dict(saved["optimizer"])
    second = PlateauLR(fresh, rule={"window": 5})
    second.load_state_dict(saved["plateau"])
    for value in values[33:]:
        assert plain.step(value) == second.step(value)
    assert fresh.param_groups[0]["lr"] == whole.param_groups[0]["lr"] < 0.1
    with pytest.raises(ValueError, match="the state is of rule 'trend', this is 'patience'"):
        PlateauLR(fresh, patience=3).load_state_dict(saved["plateau"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"total": 0}, "total must be an integer of at least 1, got 0"),
        ({"factor": 0.0}, "factor must be a number above 0 and below 1, got 0.0"),
        ({"rule": {"name": "patience", "window": 4}}, "rule 'patience' has no setting 'window'"),
    ],
)
def test_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        PlateauLR(optimizer(), **settings)
