"""Every argument of every public constructor with every kind of wrong value: one clear error, at once."""

import inspect
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

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
    TrialPruner,
    range_test,
)
from lr_lightning.callbacks.bracket import SearchBracket
from lr_lightning.demo import DigitsCNN, DigitsData
from lr_lightning.optuna import PruneWithOptuna, search_space, suggest_lr
from lr_lightning.preview import figure, preview
from lr_lightning.rules.axes import Axis
from lr_lightning.rules.plateau import configure, make_rule
from lr_lightning.rules.plateau_dlib import DlibRule
from lr_lightning.rules.plateau_patience import PatienceRule
from lr_lightning.rules.plateau_trend import TrendRule
from lr_lightning.rules.search import SearchSettings
from tests.helpers import wrong


class Kind(NamedTuple):
    """What an argument takes, as a predicate on any value."""

    takes: object

    def __call__(self, value):
        try:
            return bool(self.takes(value))
        except Exception:
            return False


def whole(least, most=math.inf):
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
LR = real(0, open_low=True)
DEVICE = either(NONE, Kind(lambda v: isinstance(v, (str, torch.device)) and torch.device(v)))
INDEX = either(NONE, whole(0))
SHARE = real(0, 1, open_low=True, open_high=True)
FLOORS = either(real(0), each(real(0), 1))
WINDOW = either(Kind(lambda v: type(v) is float and 0 < v <= 1), whole(3))
TEXT = Kind(lambda v: type(v) is str)
MAPPING = Kind(lambda v: type(v) is dict and all(real(-math.inf)(x) for x in v.values()))
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
    "rule": choice("share", "midpoint", "steepest", "valley", "minimum"), "repeats": whole(1, 1000),
    "confirm": choice(None, "probes"), "budget": whole(1),
}  # fmt: skip
CALLBACK = {"apply": FLAG, "isolate_data": FLAG, "snapshot_device": DEVICE, "progress_bar": FLAG}
PLATEAU = {
    "mode": choice("min", "max"), "factor": SHARE, "interval": choice("epoch", "step"),
    "rule": choice(None, "trend", "patience", "dlib"), "window": either(NONE, WINDOW), "patience": INDEX,
    "threshold": either(NONE, real(0)), "threshold_mode": choice(None, "rel", "abs", "margin"), "cooldown": whole(0),
    "endgame": either(NONE, real(0, 1)), "on_flat_region": choice("keep", "kick", "decay"),
}  # fmt: skip
WARMUPS = {"warmup_steps": whole(0), "warmup_epochs": whole(0)}
TARGETS = {
    LRRangeTest: ({}, RANGE | CALLBACK | {
        "num_batches": either(NONE, whole(1, 10**6)), "horizon": choice("auto", "decay", "constant"),
        "evaluate": choice("train", "val"), "val_batches": whole(1, 10**6), "at_epochs": each(whole(0)),
        "optimizer": INDEX, "force": FLAG, "keep_callbacks": each(Kind(lambda v: isinstance(v, type))),
        "rerun_on_resume": FLAG, "name": NAME,
    }),
    LRSearch: ({}, CALLBACK | {
        "min_lr": LR, "max_lr": LR, "num_steps": whole(4, 10**6), "budget": whole(5, 10**4), "first": whole(3, 15),
        "later": whole(1, 10**4), "tolerance": LR, "widen": FLAG, "range_test": FLAG,
        "eta": either(NONE, real(1.1)), "num_batches": either(NONE, whole(1, 10**6)), "name": FOLDER,
    }),
    LRCurves: ({}, {
        **dict.fromkeys(("loss", "momentum", "weight_decay", "grad_norm", "effective_lr", "hparams"), FLAG),
        "every_n_steps": either(NONE, whole(1)),
    }),
    PlateauDecay: ({}, PLATEAU | {
        "monitor": NAME, "warmup": either(Kind(lambda v: type(v) is float and 0 <= v <= 1), whole(0)),
        "min_lr": FLOORS, "horizon": choice("auto", "unknown"), "optimizer": either(INDEX, each(whole(0), 1)),
        "restore_best": choice(False, True, "memory", "checkpoint"), "on_resume": choice("keep", "override"),
        "read_every": either(NONE, whole(1, 10**6)), "diagnose": FLAG, "verbose": FLAG,
    }),
    PlateauLR: ({"optimizer": SGD}, {
        "optimizer": OBJECT, **{k: PLATEAU[k] for k in ("mode", "factor", "interval")},
        "total": either(NONE, whole(1)), "min_lr": either(real(0), Kind(lambda v: len(v) == 1 and FLOORS(v))),
        "schedulers": Kind(lambda v: type(v) in (list, tuple, range) and len(v) == 0),
    }),
    configure: ({}, PLATEAU | {"horizon_known": ANY}),
    make_rule: ({}, {"name": choice("trend", "patience", "dlib")}),
    TrendRule: ({}, {
        "mode": PLATEAU["mode"], "window": WINDOW, "open_window": real(0, 1, open_low=True), "least": whole(3),
        "open_least": whole(3), "resolution": real(0), "cooldown": whole(0), "endgame": real(0, 1), "factor": SHARE,
        "on_flat": choice("keep", "kick", "decay"),
    }),
    DlibRule: ({}, {
        "mode": PLATEAU["mode"], "window": either(Kind(lambda v: type(v) is float and 0 < v <= 1), whole(4)),
        "probability": real(0, 1), "cooldown": whole(0),
    }),
    PatienceRule: ({}, {
        "mode": PLATEAU["mode"], "patience": whole(0), "threshold": real(0),
        "threshold_mode": choice("rel", "abs", "margin"), "cooldown": whole(0),
    }),
    TrialPruner: ({}, {
        "monitor": NAME, "mode": PLATEAU["mode"], "first": whole(1), "eta": real(1.1), "least": whole(1),
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
    }),
    SearchBracket: ({"min_lr": 1e-6, "max_lr": 1.0}, {"min_lr": LR, "max_lr": LR}),
    SearchSettings: ({"axes": (Axis("lr", 1e-6, 1.0),)}, {
        "axes": OBJECT, "mode": PLATEAU["mode"], "budget": whole(5, 10**4), "first": whole(3, 15),
        "later": whole(1, 10**4), "tolerance": LR, "widen_by": real(0, 10, open_low=True), "confidence": SHARE,
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


SAID = {(make_rule, "name"): "rule", (Axis, "name"): "param"}  # what messages call it, where that is another name


def refuses(target, name, value, given):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one it must be is what assert_clear checks)
        target(**{**given, name: value})
    wrong.assert_clear(caught.value, SAID.get((target, name), name), value)


def test_the_table_has_every_public_constructor_and_each_of_its_arguments():
    public = {getattr(lr_lightning, name) for name in lr_lightning.__all__ if name not in ("__version__", *NOT_BUILT)}
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
