"""Interrupted anywhere and resumed from a real checkpoint, PlateauDecay decides as if it had not been."""

import logging

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lr_lightning import PlateauDecay
from tests.helpers.scripted import Scripted, fit

pytestmark = [
    # The resumed fit's ModelCheckpoint saves nothing, so it needs no folder.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # What is logged is written in advance and doesn't depend on the loader.
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]

VALUES = [5, 4, 3, 3, 3, 3, float("nan"), 3, 2, 2, 2, 2, 2, 2, 2]
LOSSES = [2.0, 1.5, 1.0, 0.8, *([0.7, 0.72] * 28)]


def module():
    def schedule(optimizer):
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)

    return Scripted(VALUES, LOSSES, scheduler=schedule, interval="step", batches=7)


def saver(folder, **settings):
    return ModelCheckpoint(folder, filename="{step}", save_top_k=-1, **settings)


def callbacks():
    """A trend on steps with a half-filled window, and a patience on validations, side by side."""
    return [
        PlateauDecay("train_loss", interval="step", rule={"window": 12, "endgame": 0.2, "read_every": 3}),
        PlateauDecay(patience=2, restore_best=True),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run that leaves a checkpoint at every tenth step.

    None falls on the last batch of an epoch: resumed there, Lightning itself leaves that epoch's validation out.
    """
    folder = tmp_path_factory.mktemp("whole")
    run, pair = module(), callbacks()
    fit(run, *pair, saver(folder, every_n_train_steps=10), max_epochs=9, enable_checkpointing=True)
    assert all(callback.history for callback in pair)
    return run, pair, sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))


def test_resumed_at_every_tenth_step(whole):
    expected, pair, checkpoints = whole
    assert len(checkpoints) == 6
    for path in checkpoints:
        step = int(path.stem.split("=")[1])
        resumed, again = module(), callbacks()
        own = ModelCheckpoint(save_top_k=0, every_n_train_steps=10)
        fit(resumed, *again, own, max_epochs=9, enable_checkpointing=True, ckpt_path=path)
        assert resumed.lrs == expected.lrs[step:], f"resumed at step {step}"
        assert [c.history for c in again] == [c.history for c in pair]
        for old, new in zip(pair, again, strict=True):
            assert new._state == old._state


def test_the_reading_interval_survives(whole):
    """A resumed fit must not fall back to a read every step."""
    callback = PlateauDecay("train_loss", interval="step")
    run = fit(module(), callback, max_steps=400, max_epochs=-1, limit_train_batches=7, limit_val_batches=0)
    assert run.global_step == 400
    assert callback._window.size == 2
    again = PlateauDecay("train_loss", interval="step")
    again.load_state_dict(callback.state_dict())
    assert again._window.size == 2


def test_checkpoint_loads_without_pickle_and_holds_plain_types(whole):
    _, pair, checkpoints = whole
    saved = torch.load(checkpoints[3], weights_only=True)["callbacks"]
    assert {callback.state_key for callback in pair} <= set(saved)


def resume(run, callback, path):
    own = ModelCheckpoint(save_top_k=0, every_n_train_steps=28)
    return fit(run, callback, own, max_epochs=15, enable_checkpointing=True, ckpt_path=path)


def settings_after(on_resume, path, **changed):
    chosen = {"patience": changed.pop("patience", 2), **changed.pop("rule", {}), "on_resume": on_resume}
    callback = PlateauDecay(**changed, rule={k: v for k, v in chosen.items() if v is not None})
    with pytest.warns(UserWarning, match=r"differ from the checkpoint's"):
        resume(Scripted(VALUES, LOSSES), callback, path)
    return callback


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simple")
    own = saver(folder, every_n_train_steps=28)
    fit(Scripted(VALUES, LOSSES), PlateauDecay(patience=2), own, max_epochs=8, enable_checkpointing=True)
    return folder / "step=28.ckpt"


def test_on_resume_keep_and_override(simple):
    kept = settings_after("keep", simple, patience=50, factor=0.1)
    assert (kept.rule.patience, kept.factor) == (2, 0.5)
    new = settings_after("override", simple, patience=50, factor=0.1)
    assert (new.rule.patience, new.factor) == (50, 0.1)
    assert new.factor_so_far == 0.5, "what was decayed stays decayed"


def test_another_rule_starts_afresh_and_keeps_the_factor(simple):
    other = settings_after("override", simple, patience=None, rule={"name": "trend", "window": 5})
    assert other.rule.name == "trend"
    assert other.history[0]["factor"] == 0.5


def test_the_factor_is_not_applied_twice(simple):
    run = Scripted(VALUES, LOSSES)
    callback = PlateauDecay(patience=2)
    trainer = resume(run, callback, simple)
    group = trainer.optimizers[0].param_groups[0]
    assert run.lrs[0] == 0.05
    assert group["lr"] == pytest.approx(0.1 * callback.factor_so_far)
    assert group["lr_factor"] == pytest.approx(callback.factor_so_far)


@pytest.mark.parametrize(("step", "left_out"), [(5, False), (7, True), (8, False), (14, True), (28, False)])
def test_a_validation_that_a_resumed_fit_leaves_out_is_told(tmp_path, caplog, step, left_out):
    """Lightning writes the checkpoint of a step before that step's validation, and doesn't repeat it."""
    often = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    ends = ModelCheckpoint(tmp_path / "ends", filename="{step}", save_top_k=-1)
    options = {"max_epochs": 4, "val_check_interval": 7, "enable_checkpointing": True}
    fit(Scripted(VALUES, batches=14), PlateauDecay(patience=2, verbose=False), often, ends, **options)
    folder = tmp_path / "ends" if step == 28 else tmp_path
    resumed, again = Scripted(VALUES, batches=14), PlateauDecay(patience=2, verbose=False)
    keep = (ModelCheckpoint(save_top_k=0, every_n_train_steps=1), ModelCheckpoint(save_top_k=0))
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        fit(resumed, again, *keep, ckpt_path=folder / f"step={step}.ckpt", **options)
    assert any("a resumed fit leaves out: an observation less" in text for text in caplog.messages) is left_out
    assert again._state.seen == 8 - left_out
