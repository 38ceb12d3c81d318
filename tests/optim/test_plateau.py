"""PlateauLR in plain torch loops."""

import copy
import doctest
import itertools
import math

import pytest
import torch

from lr_lightning import FormulaLR, PlateauLR
from lr_lightning.optim import param_groups
from lr_lightning.optim import plateau as plateau_lr
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau import cuts as plateau_endgame
from lr_lightning.rules.plateau import stats as plateau_stats
from tests.helpers.formula_fit import Save, Validated, fit


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


@pytest.mark.parametrize("late", [False, True])
def test_another_scheduler_that_was_not_given_is_told_once(late):
    chosen = optimizer()
    schedule = None if late else torch.optim.lr_scheduler.ExponentialLR(chosen, 0.9)
    ours = PlateauLR(chosen, patience=2)
    schedule = schedule or torch.optim.lr_scheduler.ExponentialLR(chosen, 0.9)
    with pytest.warns(UserWarning, match=r"PlateauLR: the optimizer has another scheduler.*schedulers=\[…\]"):
        ours.step(1.0)
    ours.step(1.0)
    known = PlateauLR(chosen, patience=2, schedulers=[schedule])
    known.step(1.0)


def test_torchs_names_tell_settings_and_counters():
    settings = {"mode": "max", "patience": 2, "cooldown": 3, "threshold": 0.01, "threshold_mode": "abs"}
    mine, other = optimizer(), optimizer()
    ours, torchs = PlateauLR(mine, **settings), torch.optim.lr_scheduler.ReduceLROnPlateau(other, **settings)
    for value in (None, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 3.0):
        if value is not None:
            ours.step(value)
            torchs.step(value)
        for name in (*settings, "best", "num_bad_epochs", "cooldown_counter", "last_epoch", "min_lrs"):
            assert getattr(ours, name) == getattr(torchs, name), name
    with pytest.raises(AttributeError, match="PlateauLR has no attribute 'num_bad_epochs'"):
        PlateauLR(optimizer(), rule="trend").num_bad_epochs  # noqa: B018
    assert copy.deepcopy(ours).best == 3.0  # pickle goes the same way


def test_a_step_is_called_as_torchs():
    lrs = []
    for kind in (torch.optim.lr_scheduler.ReduceLROnPlateau, PlateauLR):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = kind(optimizer, factor=0.5, patience=0)
        scheduler.step(1.0)
        scheduler.step(metrics=1.0)
        with pytest.warns(UserWarning, match="epoch"):
            scheduler.step(1.0, 2)
        lrs.append(optimizer.param_groups[0]["lr"])
    assert lrs == [0.025, 0.025]


@pytest.mark.parametrize("relative", [False, True])
def test_an_lr_set_by_hand_that_takes_decays_back_is_told_once(relative, recwarn):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = PlateauLR(optimizer, patience=0)
    for epoch in range(6):
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] * 0.9 if relative else 0.1 * 0.9**epoch
        scheduler.step(1.0)
    told = [str(one.message) for one in recwarn]
    assert [text.startswith("PlateauLR left the learning rate at 0.0") for text in told] == [True] * (not relative)


def test_an_lr_that_a_scheduler_raises_is_not_told_of(recwarn):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    cycle = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3)
    scheduler, lrs = PlateauLR(optimizer, patience=1, threshold=10.0, schedulers=[cycle]), []
    for _ in range(9):
        optimizer.step()
        cycle.step()
        scheduler.step(1.0)
        lrs.append(optimizer.param_groups[0]["lr"])
    assert any(after > before for before, after in itertools.pairwise(lrs))
    assert not recwarn.list


def test_floors_are_rescaled_with_the_lr_as_torchs_and_kept():
    pairs = []
    for kind in (PlateauLR, torch.optim.lr_scheduler.ReduceLROnPlateau):
        chosen = optimizer()
        scheduler = kind(chosen, factor=0.5, patience=0, min_lr=0.04)
        param_groups.rescale([chosen], [scheduler], 0.5)
        again = kind(chosen, factor=0.5, patience=0, min_lr=0.04)
        again.load_state_dict(scheduler.state_dict())
        for _ in range(5):
            again.step(1.0)
        pairs.append((chosen.param_groups[0]["lr"], again.min_lrs))
    assert pairs[0] == pairs[1] == (pytest.approx(0.2), [pytest.approx(0.2)])


def test_groups_added_later_get_the_last_floor():
    chosen = optimizer()
    ours = PlateauLR(chosen, patience=0, min_lr=[0.05])
    chosen.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.08})
    for _ in range(4):
        ours.step(1.0)
    assert ours.get_last_lr() == [0.05, 0.05]


@pytest.mark.parametrize("make", [PlateauLR, lambda chosen: FormulaLR(chosen, "base_lr / (1 + epoch)")])
def test_an_optimizer_without_an_lr_is_refused(make):
    chosen = optimizer()
    chosen.param_groups[0]["lr"] = None
    with pytest.raises(ValueError, match=r"SGD has no LR \(lr=None\)"):
        make(chosen)


def test_a_formula_beside_it_needs_no_telling():
    chosen = optimizer()
    formula, ours = FormulaLR(chosen, "base_lr / (1 + epoch)"), PlateauLR(chosen, patience=0)
    seen = []
    for _ in range(4):
        chosen.step()
        formula.step()
        ours.step(1.0)
        seen.append(ours.get_last_lr()[0])
    # The first observation is the best so far; each further one halves the LR.
    assert seen == pytest.approx([0.1 / (2 + i) * 0.5**i for i in range(4)])


class Planned(Validated):
    """A plateau scheduler as Lightning's configuration has it."""

    def __init__(self, make, losses, frequency=1):
        super().__init__(losses)
        self.make, self.frequency = make, frequency

    def configure_optimizers(self):
        chosen = super().configure_optimizers()
        given = {"scheduler": self.make(chosen), "monitor": "val_loss", "frequency": self.frequency}
        return {"optimizer": chosen, "lr_scheduler": given}


def of_torch(chosen):
    return torch.optim.lr_scheduler.ReduceLROnPlateau(chosen, factor=0.3, patience=1)


def of_ours(chosen):
    return PlateauLR(chosen, factor=0.3, patience=1)


@pytest.mark.parametrize("frequency", [1, 2])
def test_in_lightning_it_steps_where_torchs_does(frequency):
    losses = [3.0, 2.0, *[2.5] * 6, 1.0, *[1.5] * 6]
    torchs, _, _ = fit([], Planned(of_torch, losses, frequency), max_epochs=len(losses))
    ours, _, trainer = fit([], Planned(of_ours, losses, frequency), max_epochs=len(losses))
    assert ours.seen == torchs.seen
    assert ours.seen[-1][0] < 0.1
    (config,) = trainer.lr_scheduler_configs
    assert config.scheduler.last_epoch == len(losses) // frequency
    assert config.scheduler.get_last_lr() == [group["lr"] for group in trainer.optimizers[0].param_groups]


@pytest.mark.parametrize("step", [8, 16, 20])
def test_in_lightning_it_goes_on_from_a_checkpoint_as_torchs_does(tmp_path, step):
    losses, found = [1.0] * 10, []
    for make in (of_torch, of_ours):
        folder = tmp_path / make.__name__
        fit([Save(folder)], Planned(make, losses), max_epochs=10)
        resumed, _, _ = fit([], Planned(make, losses), ckpt_path=folder / f"step={step}.ckpt", max_epochs=10)
        found.append(resumed.seen)
    assert found[0] == found[1]
    assert found[1][-1][0] < 0.1
