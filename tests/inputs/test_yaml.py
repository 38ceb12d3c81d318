"""Every key of the shipped YAML files with wrong values: one error before the first step, and the key is named."""

import math
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, InstantiationException
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lr_lightning.cli import app
from lr_lightning.cli.preview import preview_command
from lr_lightning.cli.settings import check_optimizer, check_settings
from lr_lightning.sweeper.adapt import quoted
from lr_lightning.sweeper.arguments import settings_from
from tests.helpers import wrong

WRONG = [
    None, True, "", "x", "1e-3x", "ünïcode ✓", "a\nb", math.nan, math.inf, -math.inf, -1, 0, 0.5, 10**30, [], [None],
    {}, {"a": 1}, ["x"], "x" * 5000,
]  # fmt: skip


def composed(*overrides):
    with initialize_config_module("lr_lightning.conf", version_base="1.3"):
        return compose("config", overrides=list(overrides))


CONFIG = composed("callbacks=[default,lr_plateau_decay,lr_search,lr_trial_pruner]")
CONFIG.callbacks.lr_formula.expression = "base_lr * 0.9 ** epoch"
OURS = {
    **{f"callbacks.{key}": entry for key, entry in CONFIG.callbacks.items()}, "model": CONFIG.model, "data": CONFIG.data
}  # fmt: skip
KEYS = [(place, key) for place, entry in OURS.items() for key in entry if not key.startswith("_")]
# Free text or any number: what is wrong with them shows in the constructors' own tests, or nothing is.
FREE = {
    "expression", "monitor", "name", "snapshot_device", "preset", "groups", "num_batches", "optimizer", "patience",
    "threshold", "window", "min_lr", "max_lr", "at_epochs",
}  # fmt: skip


def test_the_table_has_every_key_of_ours():
    assert len(KEYS) > 60
    assert {place.split(".")[0] for place, _ in KEYS} == {"callbacks", "model", "data"}
    assert {place for place, _ in KEYS if place.startswith("callbacks")} == {
        f"callbacks.lr_{key}" for key in ("range_test", "formula", "curves", "plateau_decay", "search", "trial_pruner")
    }


@pytest.mark.parametrize(("place", "key"), KEYS, ids=lambda value: value)
def test_a_wrong_value_is_built_or_refused_by_one_error_that_names_the_key(place, key):
    refused = 0
    for value in WRONG:
        node = OmegaConf.create(OmegaConf.to_container(OURS[place]))
        try:
            node[key] = value
            instantiate(node)
            continue
        except (InstantiationException, OmegaConfBaseException) as error:
            refusal = error
        refused += 1
        assert key in str(refusal) or key in ("expression", "preset", "groups")
        if isinstance(refusal, InstantiationException):
            ours = refusal.__cause__
            assert isinstance(ours, wrong.CLEAR)
            assert wrong.raised_in(ours).startswith(wrong.PACKAGE), f"{key}={value!r:.50}: {wrong.raised_in(ours)}"
    assert refused > (0 if key in FREE else 8), key


def test_unknown_keys_and_groups_are_hydras_own_errors():
    for override in ("callbacks.lr_range_test.bogus=1", "bogus=1", "callbacks=bogus", "trainer.bogus=1"):
        with pytest.raises(ConfigCompositionException, match="bogus"):
            composed(override)
    unknown = {**OmegaConf.to_container(CONFIG.callbacks.lr_range_test), "bogus": 1}
    with pytest.raises(InstantiationException, match="bogus"):
        instantiate(OmegaConf.create(unknown))


TOP = [
    ("seed", ["x", -1, 2**32, 0.5, True, [], {}]),
    ("name", [None, "", 5, True, [], "a\nb"]),
    ("score", [None, "", 5, True, [], {}]),
    ("ckpt_path", ["nope.ckpt", 5, "", [], {}, True, "a\x00b"[:1] * 3000]),
    ("model", [None, 5, "x", [], {}]),
    ("data", [None, 5, "x", [], {}]),
    ("trainer", [None, 5, "x", [], {}]),
    ("optimizer", [5, "x", [], {}]),
    ("callbacks", [5, "x", []]),
    ("logger", [5, "x", []]),
    ("callbacks.lr_range_test", [5, "x", [], {"min_lr": 1}]),
    ("logger.tensorboard", [5, "x", [], {}]),
]


@pytest.mark.parametrize(("key", "values"), TOP, ids=[key for key, _ in TOP])
def test_the_commands_own_settings_are_refused_by_name(key, values, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value in values:
        cfg = OmegaConf.create(OmegaConf.to_container(CONFIG, resolve=False))
        OmegaConf.update(cfg, key, value, merge=False)
        with pytest.raises(ValueError, match=rf"^{key} must be") as caught:
            app.train(cfg)
        assert wrong.raised_in(caught.value).startswith(wrong.PACKAGE)


def test_what_is_optional_may_be_left_out():
    check_settings(OmegaConf.create({**OmegaConf.to_container(CONFIG, resolve=False), "optimizer": None}))
    check_settings(CONFIG)


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [("adamw", "weight_decay", "abc"), ("adamw", "weight_decay", -1), ("sgd", "momentum", math.nan), ("sgd", "x", 1)],
)
def test_an_optimizer_that_torch_refuses_ends_before_the_fit(group, key, value):
    node = OmegaConf.create({**composed(f"optimizer={group}").optimizer, key: value})
    if value != value:
        check_optimizer(instantiate(node), node)  # torch takes NaN for a momentum
        return
    with pytest.raises(ValueError, match=f"optimizer can't be built from .*{key}"):
        check_optimizer(instantiate(node), node)


PREVIEW = [
    ("preview.epochs", ["x", 0, -1, 0.5, [], True]), ("preview.steps_per_epoch", ["x", 0, 1e9, [], True]),
    ("preview.base_lr", ["x", 0, -1, math.nan, [], True]), ("preview.html", [5, [], True]), ("preview", [5, "x"]),
    ("trainer.max_epochs", ["x", -2, 0.5]), ("trainer.max_steps", ["x", -2]), ("model.lr", ["x", -1]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "values"), PREVIEW, ids=[key for key, _ in PREVIEW])
def test_the_previews_settings_are_refused_by_name(key, values, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value in values:
        cfg = OmegaConf.create({**OmegaConf.to_container(CONFIG, resolve=False), "callbacks": {}})
        cfg.callbacks.lr_formula = {"_target_": "lr_lightning.LRFormula", "expression": "base_lr * 0.9 ** epoch"}
        OmegaConf.update(cfg, key, value, merge=False)
        with pytest.raises(ValueError, match=rf"^{key} must be"):
            preview_command(cfg)


def sweeper(**settings_):
    from hydra_plugins.lr_lightning_plugins.coarse_to_fine import CoarseToFineConf

    node = OmegaConf.merge(OmegaConf.structured(CoarseToFineConf(param="model.lr")), settings_)
    return settings_from({str(key): node[key] for key in node if key != "_target_"})


SWEEPER = {
    "param": ["", 0.5j, [], "a\nb"], "low": ["x", -1, 0, math.nan, [], 2.0], "high": ["x", -1, 0, math.inf, []],
    "params": [5, "x", ["x"], {"a": 5}, {"a": {"low": 1}}, {"a": {"choices": 5}}, {"a": {"choices": [1, 1]}},
               {"a": {"low": 0, "high": 1, "bogus": 1}}],
    "mode": ["up", "", 5], "budget": [0, -1, "x", 10**9, 0.5], "first": [0, 2, "x", 10**9], "later": [0, "x"],
    "tolerance": [0, -1, "x", math.nan], "widen": ["x", 5.5], "widen_by": [0, "x", math.nan, 100],
    "confidence": [0, 1, 2, "x", math.nan], "seed": [-1, "x", 0.5], "score": ["", [], {}],
    "max_batch_size": [0, -1, "x"], "range_test": ["x"], "range_test_overrides": ["x", 5],
    "prune": ["", [], "a\nb"], "resume": ["", []],
}  # fmt: skip


@pytest.mark.parametrize("key", SWEEPER)
def test_the_sweepers_settings_are_refused_by_name(key):
    for value in SWEEPER[key]:
        with pytest.raises((ValueError, OmegaConfBaseException), match=key) as caught:
            sweeper(**{key: value})
        inside = wrong.raised_in(caught.value)
        assert inside.startswith(wrong.PACKAGE) or "omegaconf" in inside, inside


def test_the_sweepers_table_has_every_key_and_its_defaults_are_fine():
    from hydra_plugins.lr_lightning_plugins.coarse_to_fine import CoarseToFineConf

    assert set(SWEEPER) == {name for name in CoarseToFineConf.__dataclass_fields__ if name != "_target_"}
    assert sweeper().budget == 15


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_a_quoted_text_is_one_value_of_an_override(text):
    """A metric's name, or a searched choice, can't smuggle in a second override."""
    (override,) = OverridesParser.create().parse_overrides([f"key={quoted(text)}"])
    assert override.value() == text
    (inside,) = OverridesParser.create().parse_overrides([f"+callbacks.x={{_target_:a.B,monitor:{quoted(text)}}}"])
    assert inside.value() == {"_target_": "a.B", "monitor": text}


def test_the_command_ends_in_one_message_without_a_traceback(tmp_path):
    line = [
        sys.executable,
        "-m",
        "lr_lightning.cli.app",
        "callbacks.lr_range_test.min_lr=-1",
        "trainer.enable_progress_bar=false",
    ]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "min_lr must be finite and greater than 0, got -1" in done.stderr
    assert "full_key: callbacks.lr_range_test" in done.stderr
    assert done.stderr.count("Traceback") == 0, done.stderr
