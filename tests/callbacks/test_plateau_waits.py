"""A cut that is put off says so, once: in the history, in the log, in TensorBoard."""

import doctest
import logging

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from lr_lightning import PlateauDecay, PlateauLR
from lr_lightning.callbacks._plateau.log import line_of
from lr_lightning.cli import review
from lr_lightning.reporting.tensorboard import views
from lr_lightning.rules.plateau import diagnosis as plateau_waits
from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.plateau.motion import Drift
from tests.callbacks.test_plateau_gate import Chain
from tests.helpers.scripted import Scripted, fit

pytestmark = [
    # The resumed fit's ModelCheckpoint saves nothing, so it needs no folder.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # The data are drawn by the module and don't depend on the loader.
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


def flat(**settings):
    """The chain from a flat start; nothing is cut before its endgame."""
    return Chain(start=0.1), PlateauDecay(rule={"gate": True, **settings})


def held(module, callback, *others, **settings):
    trainer = fit(module, callback, *others, num_sanity_val_steps=0, **{"max_epochs": 40, **settings})
    return trainer, [entry for entry in callback.history if entry["action"] == "wait"]


def test_doctests():
    assert doctest.testmod(plateau_waits).failed == 0


def test_a_held_plateau_is_told_once(caplog):
    module, callback = flat(endgame=0.0)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        _, waits = held(module, callback)
    assert waits == callback.history
    first = waits[0]
    assert (first["cause"], first["old_lr"], first["new_lr"], first["factor"]) == ("flat", 0.01, 0.01, 1.0)
    assert first["evidence"]["drift"] > 1.5
    assert f"the weights are moving on (drift {first['evidence']['drift']:.2f}); a flat region: " in first["reason"]
    lines = [message for message in caplog.messages if "PlateauDecay" in message]
    assert lines == [f"PlateauDecay(val_loss): {line_of(entry)}" for entry in waits]
    assert "PlateauDecay(val_loss): wait at epoch 9 (step 99): no downward trend" in lines[0]
    assert lines[0].endswith(", LR stays at 0.01")
    # It was told at its first observation, and held for many.
    assert len(waits) < 4 < sum(torch.tensor(module.values) > 4)


def test_the_tab_marks_it(tmp_path):
    module, callback = flat(endgame=0.0)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    _, waits = held(module, callback, logger=logger, log_every_n_steps=1)
    found = review._store(tmp_path)
    shown = views.payload(found, "training", list(found.views()), {})
    cells = [row["cells"][1:] for row in shown["table"]["rows"]]
    rows = [["wait", str(entry["step"]), str(entry["epoch"])] for entry in waits]
    assert [row[:3] for row in cells] == rows
    assert [row[5] for row in cells] == [entry["reason"] for entry in waits]
    marks = [trace for trace in shown["figure"]["data"] if trace.get("hovertext")]
    assert "LR 0.01 stays" in marks[0]["hovertext"][0]
    assert set(marks[0]["marker"]["symbol"]) == {"circle-open"}
    assert not shown["figure"]["layout"]["shapes"]  # no line through both panels: nothing changed


def test_resumed_it_is_not_told_again(tmp_path):
    module, whole = flat(endgame=0.3)
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=45)
    _, waits = held(module, whole, saver, enable_checkpointing=True)
    assert waits
    for step in (45, 135, 315):
        _, again = flat(endgame=0.3)
        own = ModelCheckpoint(save_top_k=0, every_n_train_steps=45)
        held(Chain(start=0.1), again, own, enable_checkpointing=True, ckpt_path=tmp_path / f"step={step}.ckpt")
        assert again.history == whole.history


def test_what_each_wait_is_for():
    """The rule's own words: samples, weights that move on, the endgame."""

    def waits(drift=None, horizon=None, **settings):
        rule, random = make_rule("trend", window=4, **settings), torch.Generator().manual_seed(0)
        state, found = rule.start(), {}
        for i in range(int(horizon or 80)):
            value = max(0.0, 1.0 - i / 20) + 0.02 * float(torch.randn(1, generator=random))
            state, decision = rule.observe(state, value, None, horizon, drift)
            if decision.waits:
                assert decision.action == "keep"
                found.setdefault(decision.waits, decision.reason.rpartition("; ")[2])
        return found

    assert waits() == {}
    assert waits(Drift(None)) == {"samples": "too early to tell whether the weights move on"}
    assert waits(Drift(1.5)) == {"weights": "the weights are moving on (drift 1.50)"}
    assert waits(horizon=200.0, endgame=0.3) == {"endgame": "can wait for the endgame"}
    assert waits(horizon=200.0, endgame=0.0) == {}


def test_once_a_plateau():
    def keep(cause, p=0.5, waits=""):
        return Decision("keep", "", cause, {"p": p}, waits=waits)

    stream = [
        (keep("flat", waits="samples"), ("samples",)),
        (keep("flat", waits="weights"), ("samples", "weights")),
        (keep("progress", p=0.3), ("samples", "weights")),  # wavering
        (keep("flat", waits="weights"), ("samples", "weights")),
        (Decision("decay", "", "endgame"), ("samples", "weights")),
        (keep("progress", p=0.01), ()),
        (keep("flat", waits="weights"), ("weights",)),
        (keep("kick"), ()),
        (keep("plateau", waits="weights"), ("weights",)),
        (Decision("kick", "", "flat"), ()),
    ]
    told = ()
    for decision, expected in stream:
        told = plateau_waits.told(told, decision)
        assert told == expected


def test_a_warm_up_ends_a_plateau():
    module = Scripted([1.0], scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 12, gamma=2.0))
    callback = PlateauDecay(min_lr=0.0, rule={"window": 4, "gate": True, "endgame": 0.0})
    callback._gate._sample = lambda parameters: torch.tensor([float(callback._batches)])  # moves on for ever
    fit(module, callback, max_epochs=24)
    # The reason ends with the diagnosis, of two parts.
    told = [(entry["epoch"] > 12, entry["reason"].split("; ")[-3].partition(" (")[0]) for entry in callback.history]
    early, moving = "too early to tell whether the weights move on", "the weights are moving on"
    assert told == [(False, early), (False, moving), (True, early), (True, moving)]


def test_in_a_plain_loop_every_decision_says_so():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    plateau = PlateauLR(optimizer, rule={"window": 4, "gate": True})
    assert [plateau.step(1.0).waits for _ in range(4)] == ["", "", "", "samples"]
