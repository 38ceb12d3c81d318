"""Saved state that is cut short, foreign or hostile: one clear error, and nothing of it is applied."""

import copy
import json

import lightning as L
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from lr_lightning import (
    FormulaLR,
    LRCurves,
    LRFormula,
    LRRangeTest,
    LRSearch,
    PlateauDecay,
    PlateauLR,
    RangeTestResult,
    TrialPruner,
)  # fmt: skip
from lr_lightning.rules.plateau.configure import make_rule
from lr_lightning.sweeper.journal import Journal
from tests.helpers import wrong
from tests.helpers.logs import result
from tests.helpers.modules import Classifier

RECORD = result().to_dict()
JUNK = [None, True, "x", -1, 0.5, 10**400, float("nan"), [], ["x"], [None], {}, {"x": 1}, torch.ones(2), object()]


class Plain(Classifier):
    """A formula refuses schedulers and needs none here."""

    def train_dataloader(self):
        return DataLoader(super().train_dataloader().dataset, batch_size=16)


def all_callbacks():
    return [
        LRRangeTest(num_steps=20), LRFormula("base_lr * 0.99 ** epoch + 0 * metric('val_loss', 1)"),
        PlateauDecay(patience=1, restore_best=True),
        PlateauDecay("train_loss", interval="step", rule={"read_every": 3, "gate": True}),
        PlateauDecay("train_accuracy_epoch", "max", rule={"window": 4}), LRCurves(),
        LRSearch(num_steps=8, first=3, budget=3, apply=False, range_test=False, progress_bar=False), TrialPruner(),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One real checkpoint with every callback of the package, read without pickle."""
    folder = tmp_path_factory.mktemp("all")
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=3, limit_train_batches=5, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
        callbacks=[*all_callbacks(), ModelCheckpoint(folder, filename="x")],
    )  # fmt: skip
    trainer.fit(Plain(lr=0.01))
    return torch.load(folder / "x.ckpt", weights_only=True)["callbacks"]


def pairs(saved):
    """Each callback with its state from the checkpoint."""
    return [(callback, saved[callback.state_key]) for callback in all_callbacks() if callback.state_key in saved]


def plain_loop_states():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    plateau, formula = PlateauLR(optimizer, patience=1), FormulaLR(optimizer, "lr * 0.9")
    for _ in range(4):
        plateau.step(1.0)
        optimizer.step()
        formula.step()
    momentum = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    kicked = PlateauLR(momentum, rule={"on_flat_region": "kick", "window": 3})
    assert [kicked.step(1.0).action for _ in range(3)][-1] == "kick"
    return [(one, one.state_dict()) for one in (plateau, formula, kicked)]


def test_everything_that_is_saved_loads_without_pickle(saved, tmp_path):
    assert len(pairs(saved)) == len(all_callbacks()) - 1  # LRCurves has no state
    for _, state in plain_loop_states():
        torch.save(state, tmp_path / "state.pt")
        assert torch.load(tmp_path / "state.pt", weights_only=True) == state
    for callback, state in pairs(saved):
        callback.load_state_dict(copy.deepcopy(state))
        # LRFormula reads the metrics anew after a resume, and says so.
        names = set(state) - {"metrics", "next_metrics", "next_due"}
        assert repr({n: callback.state_dict()[n] for n in names}) == repr({n: state[n] for n in names})


def places(state, path=()):
    """Every place in a nested state."""
    yield path
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    for key, value in list(items)[: 2 if isinstance(state, list) else None]:
        yield from places(value, (*path, key))


def replaced(state, path, value):
    if not path:
        return value
    new = copy.copy(state)
    new[path[0]] = replaced(state[path[0]], path[1:], value)
    return new


def without(state, path):
    new = copy.copy(state)
    if len(path) == 1:
        del new[path[0]]
    else:
        new[path[0]] = without(state[path[0]], path[1:])
    return new


LATER = {"PlateauDecay": "validated_at", "PlateauLR": "min_lrs"}
"""Keys that came later: states from before are read."""
LATE = (("trials",), ("second_fall",), ("group_factors",))
"""Of a range test's result: records from before there were any are read."""


def refused_or_taken(holder, state):
    """Load; a refusal is an error of ours and leaves everything as it was."""
    before = repr(holder.state_dict())
    try:
        holder.load_state_dict(state)
    except wrong.CLEAR as error:
        refusal = error
    else:
        return False
    inside = wrong.raised_in(refusal)
    assert inside.startswith(wrong.PACKAGE), f"{inside}: {refusal}"
    assert repr(holder.state_dict()) == before, "half applied"
    return True


@pytest.mark.filterwarnings("ignore:PlateauDecay. .* differ from the checkpoint's")
def test_each_value_replaced_by_junk_and_each_key_left_out(saved):
    for holder, state in [*pairs(saved), *plain_loop_states()]:
        assert refused_or_taken(holder, {})
        assert refused_or_taken(holder, None)
        for path in places(state):
            if "weights" in path[:-1] or "formulas" in path[:-1]:
                continue
            refused = [
                refused_or_taken(holder, replaced(state, path, junk)) for junk in ("x", [None], {"x": 1}, object())
            ]
            assert sum(refused) >= 2, f"{type(holder).__name__} takes nearly anything at {path}"
            if path and isinstance(path[-1], str) and path[:1] not in (("metrics",), ("next_metrics",)):
                optional = {"evidence", "schedules", "formulas"} & set(path[:-1])
                late = path[-1] in ("schedules", "steps", "cycle", "spacing", "batch_size", "momentum")
                late = late or (path[:1] == ("result",) and path[1:] in LATE)
                late = late or path == (LATER.get(type(holder).__name__),)
                assert refused_or_taken(holder, without(state, path)) or optional or late, path


def test_a_state_from_before_a_key_goes_on_as_one_with_it(saved):
    held = [*pairs(saved), *plain_loop_states()]
    assert {type(holder).__name__ for holder, _ in held} >= set(LATER)
    for holder, state in held:
        if key := LATER.get(type(holder).__name__):
            holder.load_state_dict(without(state, (key,)))
            assert repr(holder.state_dict()) == repr(state)


def test_states_of_other_callbacks_are_refused(saved):
    states = [*pairs(saved), *plain_loop_states()]
    for holder, own in states:
        for other, state in states:
            if type(other) is not type(holder) and not set(state) >= set(own):
                assert refused_or_taken(holder, state), f"{type(holder).__name__} took {type(other).__name__}'s"


def test_a_wrong_state_ends_the_resumed_fit_before_its_first_step(saved, tmp_path):
    folder = tmp_path / "one"
    quiet = {
        "default_root_dir": tmp_path,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    keep = ModelCheckpoint(folder, filename="x")
    first = L.Trainer(max_epochs=1, limit_train_batches=2, callbacks=[PlateauDecay(), keep], **quiet)
    first.fit(Plain())
    checkpoint = torch.load(folder / "x.ckpt", weights_only=True)
    key = PlateauDecay().state_key
    checkpoint["callbacks"][key]["factor_so_far"] = "half"
    torch.save(checkpoint, folder / "hostile.ckpt")
    again, module = L.Trainer(max_epochs=2, limit_train_batches=2, callbacks=[PlateauDecay()], **quiet), Plain()
    with pytest.raises(ValueError, match="PlateauDecay: the saved factor_so_far must be a finite number, got 'half'"):
        again.fit(module, ckpt_path=folder / "hostile.ckpt")
    assert module.seen == []
    checkpoint["callbacks"][key]["factor_so_far"] = 1.0
    for junk in ("x", [["x"]], [[{"lr": "x"}]], [[{1: 0.1}]]):
        checkpoint["lr_lightning"] = {"marks": junk}
        torch.save(checkpoint, folder / "hostile.ckpt")
        with pytest.raises(ValueError, match="lr_lightning: the saved marks must be"):
            L.Trainer(max_epochs=2, limit_train_batches=2, callbacks=[PlateauDecay()], **quiet).fit(
                module, ckpt_path=folder / "hostile.ckpt"
            )
        assert module.seen == []


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["trend", "patience"]), st.data())
def test_a_rule_that_took_a_state_goes_on_with_it(name, data):
    rule = make_rule(name)
    state = rule.start()
    for value in (3.0, 2.0, 1.0, 1.0, 1.0):
        state, _ = rule.observe(state, value)
    path = data.draw(st.sampled_from([path for path in places(state.to_dict()) if path]))
    changed = replaced(state.to_dict(), path, data.draw(st.sampled_from(JUNK) | st.integers() | st.floats()))
    taken = wrong.clear_or_built(rule.load, changed)
    if taken is not None:
        wrong.clear_or_built(rule.observe, taken, 1.0)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_range_tests_record_is_read_or_refused_by_name(data):
    record = RECORD
    path = data.draw(st.sampled_from([path for path in places(record) if path]))
    taken = wrong.clear_or_built(RangeTestResult.from_dict, replaced(record, path, data.draw(wrong.anything())))
    assert taken is None or json.dumps(taken.to_dict())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", "{}", '{"lrs": 5}', "\x00", "[" * 100_000, '{"lrs": [1e999]}', "\xff"]
)
def test_a_file_that_is_no_record_is_refused_by_name(text, tmp_path):
    path = tmp_path / "range_test.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"range_test\.json is no range test's record: ") as caught:
        RangeTestResult.load(path)
    assert wrong.raised_in(caught.value).startswith(wrong.PACKAGE)


@pytest.mark.parametrize("line", ["{", "5", "[]", "null", "{}", '{"kind": 5}', '{"kind": "trial"}', "[" * 100_000])
def test_a_journal_that_is_none_is_refused_by_file_and_line(line, tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_text('{"kind": "begin", "arguments": []}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"trials\.jsonl, line 2: "):
        Journal(path)
