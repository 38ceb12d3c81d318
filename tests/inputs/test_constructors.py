"""Every argument of every public constructor with every kind of wrong value: one clear error, at once."""

import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lr_lightning
from lr_lightning import (
    Formula,
    FormulaLR,
    LRCurves,
    LRFormula,
    LRRangeTest,
    LRSearch,
    PlateauDecay,
    PlateauLR,
    TailAverage,
    TrialPruner,
    range_test,
)
from lr_lightning.callbacks._plateau.settings import Feed
from lr_lightning.callbacks._sandbox.settings import SandboxSettings
from lr_lightning.callbacks.search_bracket import SearchBracket
from lr_lightning.cli.demo import DigitsCNN, DigitsData
from lr_lightning.cli.preview import figure, preview
from lr_lightning.optuna import PruneWithOptuna, search_space, suggest_lr
from lr_lightning.rules.plateau.configure import configure, make_rule
from lr_lightning.rules.plateau.patience import PatienceRule
from lr_lightning.rules.plateau.trend import TrendRule
from lr_lightning.rules.range_test.readings import ReadingRule
from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings
from tests.helpers import wrong


class Kind(NamedTuple):
    """What an argument takes, as a predicate on any value."""

    takes: object

    def __call__(self, value):
        try:
            return bool(self.takes(value))
        except Exception:
            return False


def whole(least, most=2**63 - 1):
    return Kind(lambda v: type(v) is int and least <= v <= most)


def real(low, high=math.inf, open_low=False, open_high=False):
    def takes(value):
        fits = type(value) in (int, float) and math.isfinite(value)
        return fits and (value > low if open_low else value >= low) and (value < high if open_high else value <= high)

    return Kind(takes)


def choice(*values):
    return Kind(lambda v: any(type(v) is type(c) and v == c for c in values))


def either(*kinds):
    return Kind(lambda v: any(kind(v) for kind in kinds))


def each(kind, least=0):
    return Kind(lambda v: type(v) in (list, tuple, range) and len(v) >= least and all(map(kind, v)))


NONE = Kind(lambda v: v is None)
FLAG = Kind(lambda v: type(v) is bool)
NAME = Kind(lambda v: type(v) is str and v.strip("/ ") and v.isprintable() and len(v) <= 200)
FOLDER = Kind(lambda v: NAME(v) and v not in (".", "..") and not set(v) & set("/\\:"))
LR = real(0, 1e30, open_low=True)
DEVICE = either(NONE, Kind(lambda v: isinstance(v, (str, torch.device)) and torch.device(v)))
INDEX = either(NONE, whole(0))
SHARE = real(0, 1, open_low=True, open_high=True)
FLOORS = either(real(0), each(real(0), 1))
WINDOW = either(Kind(lambda v: type(v) is float and 0 < v <= 1), whole(3))
TEXT = Kind(lambda v: type(v) is str)
MAPPING = Kind(lambda v: type(v) is dict and all(real(-math.inf)(x) for x in v.values()))
NO_LOADER = (str, bytes, Iterator, torch.Tensor)
OBJECT = Kind(lambda v: False)  # nothing that a fuzzer makes up is one
ANY = Kind(lambda v: True)  # checked by tests of its own


class Study:
    """As much of Optuna's as the checks look at."""

    user_attrs: dict = {}  # noqa: RUF012


class Trial:
    """As much of Optuna's as the checks look at."""

    suggest_float = None


MODEL = torch.nn.Linear(2, 1)
SGD = torch.optim.SGD(MODEL.parameters(), lr=0.1)
RANGE = {
    "min_lr": LR, "max_lr": LR, "num_steps": whole(2, 10**6), "spacing": choice("exponential", "linear"),
    "rule": either(choice("share", "midpoint", "steepest", "valley", "minimum"), Kind(lambda v: v == {})),
    "repeats": whole(1, 1000), "budget": either(Kind(lambda v: type(v) is float and 0 <= v <= 1), whole(0, 10**6)),
}  # fmt: skip
CALLBACK = {"apply": FLAG, "progress_bar": FLAG, "sandbox": Kind(lambda v: v is None or v == {})}
PLATEAU = {
    "mode": choice("min", "max"), "factor": SHARE, "interval": choice("epoch", "step"),
    "rule": either(choice(None, "trend", "patience"), Kind(lambda v: v == {})), "patience": INDEX,
    "threshold": either(NONE, real(0)), "threshold_mode": choice(None, "rel", "abs", "margin"), "cooldown": whole(0),
}  # fmt: skip
WARMUPS = {"warmup_steps": whole(0), "warmup_epochs": whole(0)}
TARGETS = {
    LRRangeTest: ({}, RANGE | {
        "apply": FLAG, "progress_bar": FLAG, "sandbox": Kind(lambda v: v is None or v == {}), "name": NAME,
        "evaluate": choice("train", "val"), "val_batches": whole(1, 10**6), "at_epochs": each(whole(0)),
        "optimizer": INDEX,
    }),
    ReadingRule: ({}, {
        "name": choice("share", "midpoint", "steepest", "valley", "minimum"), "pace": real(0),
        "schedule": choice("auto", "decay", "constant"), "groups": choice("keep", "search"),
    }),
    SandboxSettings: ({}, {
        "num_batches": either(NONE, whole(1, 10**6)),
        "keep_callbacks": each(either(NAME, Kind(lambda v: isinstance(v, type)))),
        "isolate_data": FLAG, "snapshot_device": DEVICE, "force": FLAG, "rerun_on_resume": FLAG,
    }),
    LRSearch: ({}, CALLBACK | {
        "min_lr": LR, "max_lr": LR, "num_steps": whole(4, 10**6), "budget": whole(5, 10**4), "first": whole(3, 15),
        "later": whole(1, 10**4), "tolerance": real(0, open_low=True), "widen": FLAG, "range_test": FLAG,
        "eta": either(NONE, real(1.1)), "name": FOLDER,
    }),
    LRCurves: ({}, {
        **dict.fromkeys(("loss", "momentum", "weight_decay", "grad_norm", "effective_lr", "hparams"), FLAG),
        "every_n_steps": either(NONE, whole(1)), "log_key_prefix": either(choice(""), NAME),
    }),
    PlateauDecay: ({}, PLATEAU | {
        "monitor": NAME, "warmup": either(Kind(lambda v: type(v) is float and 0 <= v <= 1), whole(0)),
        "min_lr": FLOORS, "optimizer": either(INDEX, each(whole(0), 1)), "eps": either(NONE, real(0)),
        "restore_best": choice(False, True, "memory", "checkpoint"), "verbose": FLAG,
    }),
    PlateauLR: ({"optimizer": SGD}, PLATEAU | {
        "optimizer": OBJECT, "eps": either(NONE, real(0)), "total": either(NONE, whole(1)),
        "min_lr": either(real(0), Kind(lambda v: len(v) == 1 and FLOORS(v))),
        "schedulers": Kind(lambda v: type(v) in (list, tuple, range) and len(v) == 0),
    }),
    TailAverage: ({}, {"share": real(0, 1, open_low=True)}),
    configure: ({}, PLATEAU),
    make_rule: ({}, {"name": choice("trend", "patience")}),
    TrendRule: ({}, {
        "mode": PLATEAU["mode"], "window": WINDOW, "open_window": real(0, 1, open_low=True), "least": whole(3),
        "open_least": whole(3), "resolution": real(0), "cooldown": whole(0), "endgame": real(0, 1), "factor": SHARE,
        "on_flat_region": choice("keep", "kick", "decay"), "gate": either(NONE, FLAG),
    }),
    Feed: ({}, {
        "horizon": choice("auto", "unknown"), "on_resume": choice("keep", "override"),
        "read_every": either(NONE, whole(1, 10**6)),
    }),
    PatienceRule: ({}, {
        "mode": PLATEAU["mode"], "patience": whole(0), "threshold": real(0),
        "threshold_mode": choice("rel", "abs", "margin"), "cooldown": whole(0),
    }),
    TrialPruner: ({}, {
        "monitor": NAME, "mode": PLATEAU["mode"], "first": whole(1), "eta": real(1.1), "least": whole(1),
        "strict": FLAG,
    }),
    LRFormula: ({"expression": "base_lr * 0.9 ** epoch"}, {
        "expression": OBJECT, "preset": OBJECT, "interval": choice(None, "epoch", "step"),
        "groups": either(NONE, Kind(lambda v: v == {})), "optimizer": INDEX, **WARMUPS,
    }),
    Formula: ({"expression": "base_lr * 0.9 ** epoch"}, {
        "expression": OBJECT, "preset": OBJECT, "interval": choice(None, "epoch", "step"), "allow_unused": FLAG,
        **WARMUPS,
    }),
    FormulaLR: ({"optimizer": SGD, "expression": "base_lr * 0.9 ** epoch", "batches": 3}, {
        "optimizer": OBJECT, "expression": OBJECT, "preset": OBJECT, "interval": choice(None, "epoch", "step"),
        **dict.fromkeys(("epochs", "steps", "batches"), either(NONE, whole(1))), **WARMUPS,
        "last_epoch": Kind(lambda v: v == -1),  # torch wants initial_lr in the groups for any other
    }),
    range_test: ({"model": MODEL, "optimizer": SGD, "loss_fn": len, "loader": []}, RANGE | {
        "model": OBJECT, "optimizer": OBJECT, "loss_fn": Kind(callable),
        "loader": Kind(lambda v: not isinstance(v, (str, bytes)) and hasattr(v, "__iter__")),
        "batch_size": either(NONE, whole(1)), "train_steps": either(NONE, whole(1)), "decays": FLAG,
        "val_loader": either(NONE, Kind(lambda v: not isinstance(v, NO_LOADER) and hasattr(v, "__iter__"))),
        "accumulate_grad_batches": whole(1), "scaler": NONE,
        "autocast": either(NONE, Kind(lambda v: isinstance(v, torch.dtype) and v.is_floating_point)),
    }),
    SearchBracket: ({"min_lr": 1e-6, "max_lr": 1.0}, {"min_lr": LR, "max_lr": LR}),
    SearchSettings: ({"axes": (Axis("lr", 1e-6, 1.0),)}, {
        "axes": OBJECT, "mode": PLATEAU["mode"], "budget": whole(5, 10**4), "first": whole(3, 15),
        "later": whole(1, 10**4), "tolerance": real(0, open_low=True),
        "widen_by": real(0, 10, open_low=True), "confidence": SHARE,
        "seed": whole(0),
    }),
    Axis: ({"name": "lr", "low": 1e-6, "high": 1.0}, {
        "name": NAME, "low": LR, "high": LR, "scale": choice("log", "linear"), "integer": FLAG,
        "choices": Kind(lambda v: type(v) is tuple and len(v) == 0), "widen": FLAG,
    }),
    PruneWithOptuna: ({"trial": None}, {"trial": NONE, "monitor": NAME}),
    search_space: ({"study": Study(), "result": None}, {
        "study": OBJECT, "result": NONE, "low": LR, "high": LR, "name": NAME,
    }),
    suggest_lr: ({"trial": Trial(), "space": {}}, {
        "trial": OBJECT, "space": Kind(lambda v: type(v) is dict), "name": ANY,
    }),
    preview: ({"formulas": "base_lr * 0.9 ** epoch"}, {
        "formulas": OBJECT, "epochs": whole(1, 10**6), "steps_per_epoch": whole(1, 10**6), "base_lr": real(0),
        "metrics": either(NONE, MAPPING), "html": either(NONE, Kind(lambda v: isinstance(v, (str, Path)))),
        "width": either(NONE, whole(1, 1000)),
        "height": whole(1, 200),
    }),
    figure: ({"formulas": "base_lr * 0.9 ** epoch"}, {
        "formulas": OBJECT, "epochs": whole(1, 10**6), "steps_per_epoch": whole(1, 10**6), "base_lr": real(0),
        "metrics": either(NONE, MAPPING),
    }),
    DigitsCNN: ({}, {"lr": LR, "width": whole(1, 4096), "optimizer": either(NONE, Kind(callable))}),
    DigitsData: ({}, {"batch_size": whole(1), "num_workers": whole(0, 64)}),
}  # fmt: skip
ARGUMENTS = [
    pytest.param(target, name, id=f"{target.__name__}-{name}")
    for target, (_, kinds) in TARGETS.items()
    for name in kinds
]
NOT_BUILT = {"FormulaError", "RangeTestResult"}  # an error; a record, see test_states.py


SAID = {
    (make_rule, "name"): "rule",
    (ReadingRule, "name"): "rule",
    (Axis, "name"): "param",
}  # what messages call it, where that is another name


def refuses(target, name, value, given):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one it must be is what assert_clear checks)
        target(**{**given, name: value})
    wrong.assert_clear(caught.value, SAID.get((target, name), name), value)


def test_the_table_has_every_public_constructor_and_each_of_its_arguments():
    public = {
        getattr(lr_lightning, name)
        for name in lr_lightning.__all__
        if name not in ("__version__", "isolated_trials", *NOT_BUILT)
    }
    assert public <= set(TARGETS)
    for target, (_, kinds) in TARGETS.items():
        parameters = inspect.signature(target).parameters.values()
        named = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        assert set(kinds) == named, target.__name__


@pytest.mark.parametrize(("target", "name"), ARGUMENTS)
def test_every_wrong_value_is_refused_by_name(target, name):
    given, kinds = TARGETS[target]
    bad = [value for value in wrong.ANYTHING if not kinds[name](value)]
    if name in ("preset", "expression"):
        bad = [value for value in bad if not (callable(value) or value is None)]
        given = {key: value for key, value in given.items() if key != "expression"}
    assert bad or kinds[name] is ANY
    for value in bad:
        if isinstance(value, str) and name in ("expression", "formulas"):
            continue  # texts are the language's own tests
        refuses(target, name, value, given)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ARGUMENTS), st.data())
def test_any_two_values_give_an_object_or_one_clear_error(argument, data):
    """The second one reaches checks of pairs."""
    target, name = argument.values
    if target in (range_test, preview, figure, suggest_lr):
        return  # the first three run at once: see the tests below; an unknown name is suggest_lr's KeyError
    given_, kinds = TARGETS[target]
    chosen = {name: data.draw(wrong.anything()), data.draw(st.sampled_from(sorted(kinds))): data.draw(wrong.anything())}
    wrong.clear_or_built(target, **{**given_, **chosen})


def mse(model, batch):
    return torch.nn.functional.mse_loss(model(batch[0]), batch[1])


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({
        "min_lr": st.floats(1e-300, 1e300), "max_lr": st.floats(1e-300, 1e300), "num_steps": st.integers(2, 24),
        "spacing": st.sampled_from(["exponential", "linear"]),
        "rule": st.sampled_from(["share", "midpoint", "steepest", "valley", "minimum"]), "repeats": st.integers(1, 3),
        "decays": st.booleans(), "budget": st.sampled_from([0, 0.03, 200]),
        "train_steps": st.none() | st.integers(1, 2**62),
    })
)  # fmt: skip
def test_a_range_test_ends_with_an_answer_or_one_clear_error(chosen):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    before = model.weight.clone()
    batches = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(3)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    result = wrong.clear_or_built(range_test, model, optimizer, mse, batches, **chosen)
    assert result is None or result.suggestion is None or 0 < result.suggestion < math.inf
    assert torch.equal(model.weight, before)


PAIRS = [
    (LRRangeTest, {"min_lr": 1.0, "max_lr": 0.1}, "min_lr must be below max_lr, got min_lr=1.0 and max_lr=0.1"),
    (LRRangeTest, {"min_lr": 0.1, "max_lr": math.nextafter(0.1, 1)}, "too near for 100 different LRs"),
    (LRRangeTest, {"min_lr": 1e-300, "max_lr": 1.0}, "at most 30 decades apart"),
    (LRRangeTest, {"max_lr": 1e300}, "max_lr must be at most 1e\\+30, got 1e\\+300"),
    (preview, {"formulas": "base_lr * 1e300"}, "the LR is above 1e\\+30"),
    (LRSearch, {"sandbox": {"force": True}}, "sandbox has no key 'force'"),
    (LRSearch, {"first": 6, "budget": 5}, "budget must be an integer of at least 6, got 5"),
    (PlateauDecay, {"rule": "trend", "patience": 3}, "rule 'trend' has no setting 'patience', got 3"),
    (PlateauDecay, {"patience": 3, "rule": {"name": "trend"}}, "rule 'trend' has no setting 'patience', got 3"),
    (PlateauDecay, {"patience": 3, "rule": {"window": 0.1}}, "rule 'patience' has no setting 'window', got 0.1; rule"),
    (PlateauDecay, {"rule": {"windw": 0.1}}, "rule has no setting 'windw'; did you mean 'window'"),
    (PlateauDecay, {"rule": {"read_evry": 1}}, "rule has no setting 'read_evry'; did you mean 'read_every'"),
    (PlateauLR, {"optimizer": SGD, "rule": {"endgam": 1}}, "no setting 'endgam', got 1; did you mean 'endgame'"),
    (PlateauDecay, {"patience": 3, "rule": PatienceRule(patience=4)}, "patience=3 and rule={'patience': 4} differ"),
    (PlateauDecay, {"rule": TrendRule(mode="max")}, "mode='min' and rule={'mode': 'max'} differ; give one"),
    (PlateauDecay, {"rule": {"name": "dlib"}}, "rule must be one of trend, patience, got 'dlib'"),
    (PlateauDecay, {"interval": "step", "restore_best": True}, "restore_best needs interval='epoch'"),
    (PlateauDecay, {"optimizer": [0, 0]}, "optimizer must name at least one optimizer, each once"),
    (PlateauDecay, {"rule": {"gate": True, "on_flat_region": "decay"}}, "doesn't go with on_flat_region='decay'"),
    (PlateauLR, {"optimizer": SGD, "rule": {"horizon": "unknown"}}, "rule 'trend' has no setting 'horizon'"),
    (PlateauLR, {"optimizer": SGD, "min_lr": [0.0, 0.0]}, "min_lr has 2 values for 1 param groups"),
    (LRFormula, {"expression": "base_lr", "preset": "cosine"}, "either an expression or a preset, not both"),
    (LRFormula, {"expression": "base_lr", "decay_rat": 1}, "parameter 'decay_rat' isn't used"),
    (LRFormula, {"preset": "cosine", "gamma": 1}, "preset 'cosine' has no parameter 'gamma'"),
    (LRFormula, {"groups": {"head": 5}}, r"groups\['head'\] must be a formula, a function or a mapping, got 5"),
    (LRFormula, {"preset": "step", "gamma": 10**400}, "parameter 'gamma' must be a finite number"),
    (Formula, {"expression": "base_lr", "warmup_steps": 1, "warmup_epochs": 1}, "warmup_steps or warmup_epochs"),
    (SearchSettings, {"axes": (Axis("lr", 0.1, 1.0),) * 2}, "axes must be different parameters, got 'lr' more than"),
    (preview, {"formulas": "lr", "epochs": 10**6, "steps_per_epoch": 10**6}, "are too long a run to draw"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "arguments", "said"), PAIRS)
def test_contradictions_are_named(target, arguments, said):
    with pytest.raises(wrong.CLEAR, match=said) as caught:
        target(**arguments)
    assert wrong.raised_in(caught.value).startswith(wrong.PACKAGE)


@pytest.mark.parametrize("target", [LRRangeTest, LRSearch, LRCurves, PlateauDecay, TrialPruner, configure, TrendRule])
def test_an_unknown_argument_is_named(target):
    with pytest.raises(TypeError, match="unexpected keyword argument 'bogus'"):
        target(bogus=1)
