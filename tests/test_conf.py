"""The shipped configs against the code that they configure."""

import inspect
import re
from importlib import resources
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import get_class, instantiate
from lightning.pytorch import callbacks as lightning_callbacks
from omegaconf import OmegaConf

from lr_lightning import TailAverage

CONF = Path(str(resources.files("lr_lightning.conf")))
SHARED = Path(str(resources.files("hydra_plugins.lr_lightning_plugins.conf")))
CALLBACKS = sorted((SHARED / "callbacks").glob("*.yaml"))


def composed(*overrides):
    with initialize_config_module("lr_lightning.conf", version_base="1.3"):
        return compose("config", overrides=list(overrides))


AVERAGES = hasattr(lightning_callbacks, "WeightAveraging")  # from Lightning 2.6 on
USABLE = [path for path in CALLBACKS if AVERAGES or path.stem != "lr_weight_averaging"]


@pytest.mark.parametrize("path", USABLE, ids=lambda p: p.stem)
def test_callback_configs_are_commented_and_match_the_signature(path):
    entry = OmegaConf.load(path)[path.stem]
    arguments = {k for k in entry if not str(k).startswith("_")}
    signature = inspect.signature(get_class(entry._target_))
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    assert takes_any or arguments <= set(signature.parameters)
    for name in arguments & set(signature.parameters):
        default = signature.parameters[name].default
        if OmegaConf.is_dict(entry[name]) and default is None:  # the keys of an expert's settings, spelt out
            built, plain = get_class(entry._target_)(**{name: entry[name]}), get_class(entry._target_)()
            assert getattr(built, name) == getattr(plain, name)
        elif default is not inspect.Parameter.empty and entry[name] not in (None, "???"):
            assert entry[name] == (list(default) if isinstance(default, tuple) else default), name
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    keys = [i for i, line in enumerate(lines) if re.match(r"  \w+:", line) and "_target_" not in line]
    assert len(keys) == len(arguments)
    assert [lines[i] for i in keys if "#" not in lines[i] and "#" not in lines[i - 1]] == []


def test_a_callbacks_file_name_is_its_key_under_a_name_no_project_has():
    assert len(CALLBACKS) == 7
    for path in CALLBACKS:
        assert path.stem.startswith("lr_")
        assert list(composed(f"callbacks={path.stem}").callbacks) == [path.stem]


def test_a_callback_is_added_and_taken_out_by_its_key():
    added = composed("callbacks=[default,lr_plateau_decay]", "~callbacks.lr_range_test").callbacks
    assert list(added) == ["lr_formula", "lr_curves", "lr_plateau_decay"]


def test_hands_off_is_the_three_that_together_choose_the_lr_and_what_keeps_the_best():
    together = composed("callbacks=hands_off").callbacks
    assert list(together) == ["lr_range_test", "lr_plateau_decay", "lr_curves", "model_checkpoint"]
    test, decay, _, kept = (instantiate(entry) for entry in together.values())
    assert (test.settings.budget, decay.monitor) == (0.1, "val_loss")
    assert (kept.monitor, kept.mode) == ("val_loss", "min")


@pytest.mark.parametrize(
    ("overrides", "watched"),
    [
        (["callbacks.lr_plateau_decay.monitor=acc", "callbacks.lr_plateau_decay.mode=max"], ("acc", "max")),
        (["~callbacks.lr_plateau_decay"], ("val_loss", "min")),
    ],
)
def test_the_kept_weights_are_the_best_by_what_plateau_decay_watches(overrides, watched):
    kept = composed("callbacks=hands_off", *overrides).callbacks.model_checkpoint
    assert (kept.monitor, kept.mode) == watched


def test_weights_are_averaged_by_lightning_s_callback():
    entry = composed("callbacks=[default,lr_plateau_decay,lr_weight_averaging]").callbacks.lr_weight_averaging
    assert instantiate(entry.multi_avg_fn) == TailAverage(0.1)
    if AVERAGES:
        built = instantiate(entry)
        assert type(built) is lightning_callbacks.WeightAveraging


def test_every_group_file_composes():
    for path in sorted(CONF.glob("*/*.yaml")):
        group, name = path.parent.name, path.stem
        if group in ("callbacks", "data", "model", "optimizer", "trainer", "logger", "experiment"):
            assert composed(f"{group}={name}").name


def test_callbacks_are_a_keyed_dict():
    cfg = composed("callbacks.lr_range_test.max_lr=1", "callbacks.lr_range_test.rule=midpoint")
    callback = instantiate(cfg.callbacks.lr_range_test)
    assert (callback.settings.max_lr, callback.settings.rule.name) == (1, "midpoint")


def test_an_experiment_overrides_groups_and_values():
    cfg = composed("experiment=sgd_midpoint")
    assert cfg.optimizer._target_ == "torch.optim.SGD"
    assert cfg.callbacks.lr_range_test.rule == "midpoint"
