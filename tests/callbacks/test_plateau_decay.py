"""PlateauDecay in a real Trainer: what it reads, when, what it writes, and what it says."""

import logging

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lr_lightning import PlateauDecay
from tests.helpers.scripted import Scripted, fit

FLAT = [1.0] * 100


def steps_of(callback):
    return [entry["step"] for entry in callback.history]


@pytest.mark.parametrize("groups", [1, 2])
def test_patience_in_a_fit_is_torch_outside_of_it(groups):
    """One observation a validation: the LR of each epoch is the one of ReduceLROnPlateau stepped by hand."""
    values = [5, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2]
    module, callback = Scripted(values, groups=groups), PlateauDecay(patience=1, cooldown=1, factor=0.3)
    fit(module, callback, max_epochs=len(values))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1, cooldown=1)
    expected = []
    for value in values:
        expected += [optimizer.param_groups[0]["lr"]] * 4
        scheduler.step(value)
    assert module.lrs == pytest.approx(expected, rel=1e-12)


def test_sanity_check_and_validate_do_not_count():
    module, callback = Scripted(FLAT), PlateauDecay(patience=1)
    trainer = fit(module, callback, max_epochs=3, num_sanity_val_steps=2)
    assert callback._state.seen == 3
    trainer.validate(module, verbose=False)
    assert callback._state.seen == 3


@pytest.mark.parametrize(
    ("settings", "observations"),
    [
        ({"val_check_interval": 0.5, "max_epochs": 3}, 6),
        ({"check_val_every_n_epoch": 3, "max_epochs": 9}, 3),
        ({"val_check_interval": 6, "check_val_every_n_epoch": None, "max_epochs": 6}, 4),
        ({"limit_val_batches": 1, "max_steps": 10, "max_epochs": -1}, 2),
    ],
)
def test_a_value_counts_once_when_it_is_fresh(settings, observations):
    """Whatever the cadence of validations, stale values in ``callback_metrics`` aren't read again."""
    callback = PlateauDecay(patience=100)
    fit(Scripted(FLAT), callback, **settings)
    assert callback._state.seen == observations


def test_metric_of_the_training_epoch():
    callback = PlateauDecay("epoch_metric", patience=0)
    fit(Scripted(FLAT), callback, max_epochs=5, val_check_interval=0.25)
    assert callback._state.seen == 5
    assert len(callback.history) == 4
    assert steps_of(callback) == [8, 12, 16, 20]


@pytest.mark.parametrize("monitor", ["train_loss", "step_metric"])
def test_every_step(monitor):
    """Values reach the rule in order, one a step, however they are read; mode is respected."""
    losses = [1 / (1 + i) for i in range(20)]
    for read_every in (1, 5, 20):
        callback = PlateauDecay(monitor, interval="step", patience=50, rule={"read_every": read_every})
        fit(Scripted(FLAT, losses), callback, max_epochs=5)
        assert callback._state.seen == 20
        assert callback._state.best == pytest.approx(losses[-1])


def test_accumulation_gives_one_observation_a_step_undivided():
    losses = [1.0, 3.0, 5.0, 7.0, 2.0, 2.0]
    callback = PlateauDecay("train_loss", mode="max", interval="step", patience=9, rule={"read_every": 1})
    seen = []
    rule = callback.rule
    callback._rule = Recorder(rule, seen)
    fit(Scripted(FLAT, losses, batches=3), callback, max_epochs=2, accumulate_grad_batches=2)
    assert seen == pytest.approx([2.0, 5.0, 4.5, 2.0])


class Recorder:
    """A rule that notes what it is given."""

    def __init__(self, rule, seen):
        self.rule, self.seen = rule, seen

    def __getattr__(self, name):
        return getattr(self.rule, name)

    def observe(self, state, value, at=None, horizon=None):
        self.seen.append(value)
        return self.rule.observe(state, value, at, horizon)


def test_train_loss_costs_one_read_a_window(monkeypatch):
    """Tensors are read by the host once a window of steps, not once a step."""
    reads = []
    plain = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(len(self)) or plain(self))
    callback = PlateauDecay("train_loss", interval="step", patience=500, rule={"read_every": 10})
    fit(Scripted(FLAT, [1.0]), callback, max_epochs=10, limit_val_batches=0)
    assert reads == [10, 10, 10, 10]


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_missing_metric_lists_the_others_and_when(interval):
    with pytest.raises(MisconfigurationException) as error:
        fit(Scripted(FLAT), PlateauDecay("accuracy", interval=interval), max_epochs=2)
    text = str(error.value)
    assert "monitor='accuracy'" in text
    assert "at validation end: val_loss" in text
    assert "at training epoch end: epoch_metric" in text


def test_missing_waits_for_a_rare_validation():
    callback = PlateauDecay(patience=1)
    fit(Scripted(FLAT), callback, max_epochs=4, check_val_every_n_epoch=4)
    assert callback._state.seen == 1


def test_line_and_history_explain(caplog):
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        callback = PlateauDecay(rule={"window": 5, "endgame": 0.0})
        fit(Scripted(FLAT), callback, max_epochs=20)
    entry = callback.history[0]
    assert {"epoch", "step", "action", "cause", "reason", "old_lr", "new_lr", "factor", "evidence"} == set(entry)
    assert (entry["old_lr"], entry["new_lr"], entry["factor"]) == (0.1, 0.05, 0.5)
    assert entry["evidence"]["p"] == 0.5
    line = next(message for message in caplog.messages if "decay ×0.5" in message)
    assert f"decay ×0.5 at epoch {entry['epoch']} (step {entry['step']:,}): no downward trend" in line
    assert line.endswith("LR 0.1 → 0.05")


@pytest.mark.parametrize("falling", [True, False])
def test_diagnosis_of_overfitting(falling):
    """The metric turns and rises; only with a falling training loss it is called overfitting."""
    values = [abs(10 - i) for i in range(40)]
    losses = [1 / (1 + i) if falling else 1.0 for i in range(160)]
    callback = PlateauDecay(rule={"window": 12, "endgame": 0.0})
    fit(Scripted(values, losses), callback, max_epochs=30)
    assert ("overfitting" in callback.history[0]["reason"]) == falling


def test_max_mode_counts_up():
    rising = PlateauDecay(mode="max", rule={"window": 5, "endgame": 0.0})
    fit(Scripted(range(30)), rising, max_epochs=30)
    assert rising.history == []
    falling = PlateauDecay(mode="max", rule={"window": 5, "endgame": 0.0})
    fit(Scripted(range(30, 0, -1)), falling, max_epochs=30)
    assert falling.history


def test_min_lr_of_each_group():
    module = Scripted(FLAT, groups=2)
    callback = PlateauDecay(patience=0, min_lr=[0.03, 0.004])
    trainer = fit(module, callback, max_epochs=12)
    assert [g["lr"] for g in trainer.optimizers[0].param_groups] == pytest.approx([0.03, 0.004])
    assert len(callback.history) == 2


def test_eps_leaves_what_would_hardly_change(caplog):
    """A group at 1.5e-8 stays, as with torch's default; with eps=0 it falls; eps goes through the state."""
    for eps, expected in ((None, 1.5e-8), (0.0, 1.5e-8 / 2**3), (1e-3, 1.5e-8)):
        module = Scripted(FLAT, groups=2, lr=1.5e-7)
        callback = PlateauDecay(patience=0, eps=eps)
        with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
            trainer = fit(module, callback, max_epochs=4)
        assert trainer.optimizers[0].param_groups[1]["lr"] == expected
        assert callback.state_dict()["eps"] == eps
        assert ("would change by no more than eps=0.001" in caplog.text) == (eps == 1e-3)
    kept = PlateauDecay(patience=0, eps=0.0)
    with pytest.warns(UserWarning, match="eps differ from the checkpoint's; the checkpoint's are kept"):
        kept.load_state_dict(callback.state_dict())
    assert kept.eps == 1e-3


def test_non_finite_values_warn_after_five_in_a_row():
    nan = float("nan")
    callback = PlateauDecay(patience=1)
    with pytest.warns(UserWarning, match="val_loss was not finite 5 times in a row"):
        fit(Scripted([1.0, *[nan] * 7]), callback, max_epochs=8)
    assert callback.history == []


def test_warm_up_is_no_plateau():
    """A constant metric while the schedule raises the LR: no decay before its end."""
    module = Scripted(FLAT, scheduler=lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=10))
    callback = PlateauDecay(rule={"window": 4, "endgame": 0.0})
    fit(module, callback, max_epochs=20)
    assert steps_of(callback)[0] >= 4 * 13
    explicit = PlateauDecay(warmup=4 * 12, rule={"window": 4, "endgame": 0.0})
    fit(Scripted(FLAT), explicit, max_epochs=20)
    assert steps_of(explicit)[0] >= 4 * 15
    share = PlateauDecay(warmup=0.5, rule={"window": 4, "endgame": 0.0})
    fit(Scripted(FLAT), share, max_epochs=20)
    assert steps_of(share)[0] >= 4 * 13


def test_factor_multiplies_a_schedule():
    """ExponentialLR goes on below the factor as if it had been built with the lower LR."""
    module = Scripted(FLAT, scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9))
    callback = PlateauDecay(patience=3)
    fit(module, callback, max_epochs=10)
    first = callback.history[0]["epoch"] + 1
    expected = [0.1 * 0.9**e * (0.5 if e >= first else 1.0) for e in range(first + 3)]
    assert module.lrs[:: module.batches][: first + 3] == pytest.approx(expected)


def test_two_instances_coexist():
    module = Scripted(FLAT)
    one, two = PlateauDecay(patience=2), PlateauDecay("epoch_metric", patience=4)
    assert one.state_key != two.state_key
    trainer = fit(module, one, two, max_epochs=12)
    product = one.factor_so_far * two.factor_so_far
    assert product < 0.2
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * product)


class Unfreeze(L.Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 8:
            parameter = torch.nn.Parameter(torch.zeros(1))
            trainer.optimizers[0].add_param_group({"params": [parameter], "lr": 1.0})


def test_groups_added_later_get_the_factor_of_all_instances():
    one, two = PlateauDecay(patience=2), PlateauDecay("epoch_metric", patience=3, cooldown=50)
    trainer = fit(Scripted(FLAT), one, two, Unfreeze(), max_epochs=9)
    old, new = trainer.optimizers[0].param_groups
    assert new["lr"] == pytest.approx(old["lr"] * 10)
    assert new["lr_factor"] == pytest.approx(one.factor_so_far * two.factor_so_far)


class Manual(Scripted):
    """Two optimizers, stepped by hand."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, groups=2, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer, layer in zip(self.optimizers(), self.layers, strict=True):
            optimizer.zero_grad()
            loss = layer(batch[0]).mean()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in self.layers]


def test_manual_optimization_and_chosen_optimizers():
    second = PlateauDecay(patience=1, optimizer=1)
    trainer = fit(Manual(FLAT), second, max_epochs=4)
    assert [o.param_groups[0]["lr"] for o in trainer.optimizers] == [0.1, 0.05]
    both = PlateauDecay(patience=1)
    trainer = fit(Manual(FLAT), both, max_epochs=4)
    assert [o.param_groups[0]["lr"] for o in trainer.optimizers] == [0.05, 0.05]
    with pytest.raises(MisconfigurationException, match="optimizer=2 is not there: the module has 2 optimizers"):
        fit(Manual(FLAT), PlateauDecay(optimizer=2), max_epochs=1)


def test_the_planned_run_fixes_the_window_and_early_stopping_unplans_it():
    planned = PlateauDecay()
    trainer = fit(Scripted(FLAT), planned, max_epochs=20)
    assert planned._plan.look(trainer, planned._batches) == 80
    assert planned.history[-1]["cause"] == "endgame"
    steps = PlateauDecay()
    trainer = fit(Scripted(FLAT), steps, max_epochs=-1, max_steps=30, accumulate_grad_batches=2)
    assert steps._plan.look(trainer, steps._batches) == pytest.approx(60)
    stopped = PlateauDecay()
    trainer = fit(Scripted(FLAT), stopped, EarlyStopping("val_loss", patience=100), max_epochs=20)
    assert stopped._plan.look(trainer, stopped._batches) is None
    unknown = PlateauDecay(rule={"horizon": "unknown"})
    trainer = fit(Scripted(FLAT), unknown, max_epochs=20)
    assert unknown._plan.look(trainer, unknown._batches) is None
    assert all(entry["cause"] != "endgame" for entry in stopped.history + unknown.history)


class Drifting(Scripted):
    """Weights move by one a step; the metric is best at the third validation."""

    def on_train_batch_end(self, *args):
        with torch.no_grad():
            self.layers[0].weight.add_(1.0)


@pytest.mark.parametrize("where", ["memory", "checkpoint"])
def test_restore_best(where, tmp_path):
    values = [5.0, 4.0, 1.0, 2.0, 3.0, 3.0, 3.0]
    module = Drifting(values)
    start = module.layers[0].weight.detach().clone()
    callback = PlateauDecay(patience=1, restore_best=where, cooldown=10)
    checkpoint = ModelCheckpoint(tmp_path, monitor="val_loss")
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=5, callbacks=[callback, checkpoint], logger=False, enable_progress_bar=False
    )
    trainer.fit(module)
    assert "back to the weights of" in callback.history[0]["reason"]
    # Three epochs of 4 steps to the best; decay after the fifth: that epoch's end brings the weights back.
    after = 4 * (5 - 1 - callback.history[0]["epoch"])
    torch.testing.assert_close(module.layers[0].weight.detach(), start + 12.0 + after)


def test_restore_best_refuses_what_it_cannot_do():
    with pytest.raises(MisconfigurationException, match="needs a ModelCheckpoint"):
        fit(Scripted(FLAT), PlateauDecay(restore_best="checkpoint"), max_epochs=1)
    with pytest.raises(ValueError, match="restore_best needs interval='epoch'"):
        PlateauDecay("train_loss", interval="step", restore_best=True)


def test_kick_raises_the_lr_and_takes_it_back():
    module = Scripted(FLAT)
    callback = PlateauDecay(rule={"window": 5, "endgame": 0.0, "on_flat_region": "kick", "gate": False})
    fit(module, callback, max_epochs=20)
    assert [entry["action"] for entry in callback.history][:3] == ["kick", "unkick", "decay"]
    assert [entry["new_lr"] for entry in callback.history][:3] == pytest.approx([0.2, 0.1, 0.05])


def test_from_torch_goes_on_where_the_scheduler_stood():
    values = [5, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2]
    settings = {"factor": 0.3, "patience": 2, "cooldown": 1, "min_lr": 0.001}
    for switch in (0, 3, 6, 11):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
        for value in values[:switch]:
            scheduler.step(value)
        callback = PlateauDecay.from_torch(scheduler)
        module = Scripted(values[switch:], lr=optimizer.param_groups[0]["lr"])
        fit(module, callback, max_epochs=len(values) - switch)
        lrs = []
        for value in values[switch:]:
            lrs.append(optimizer.param_groups[0]["lr"])
            scheduler.step(value)
        assert module.lrs[:: module.batches] == pytest.approx(lrs)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"monitor": ""}, "monitor must be the name of a metric, got ''"),
        ({"mode": "auto"}, "mode must be one of min, max, got 'auto'"),
        ({"factor": 1.5}, "factor must be a number above 0 and below 1, got 1.5"),
        ({"interval": "batch"}, "interval must be one of epoch, step, got 'batch'"),
        ({"rule": "slope"}, "rule must be one of trend, patience, got 'slope'"),
        ({"rule": "trend", "patience": 3}, "rule 'trend' has no setting 'patience'"),
        ({"patience": 3, "rule": {"window": 5}}, "rule 'patience' has no setting 'window'"),
        ({"warmup": -1}, "warmup must be an integer of at least 0, got -1"),
        ({"warmup": 1.5}, "warmup must be a number of at least 0 and at most 1, got 1.5"),
        ({"min_lr": "1e-6"}, "min_lr must be a number of at least 0, got '1e-6'"),
        ({"rule": {"horizon": 10}}, "horizon must be one of auto, unknown, got 10"),
        ({"optimizer": []}, "optimizer must name at least one optimizer"),
        ({"rule": {"on_flat_region": "wait"}}, "on_flat_region must be one of keep, kick, decay, got 'wait'"),
        ({"restore_best": "disk"}, "restore_best must be one of False, True, memory, checkpoint, got 'disk'"),
        ({"rule": {"on_resume": "ask"}}, "on_resume must be one of keep, override, got 'ask'"),
        ({"rule": {"read_every": 0}}, "read_every must be an integer of at least 1, got 0"),
    ],
)
def test_refuses(settings, words):
    with pytest.raises(ValueError, match=words):
        PlateauDecay(**settings)


def test_correlated_noise_is_warned_of_once():
    random, x, values = torch.Generator().manual_seed(0), 0.0, []
    for _ in range(120):
        x = 0.9 * x + float(torch.randn(1, generator=random))
        values.append(x)
    module, callback = Scripted(values), PlateauDecay()
    with pytest.warns(UserWarning, match="the noise of val_loss is strongly correlated") as caught:
        fit(module, callback, max_epochs=100)
    assert sum("correlated" in str(one.message) for one in caught) == 1
    assert callback.state_dict()["warned"] == ["correlation"]
