"""What the command does differently for what the user gave: the range test steps aside, or a setting is refused."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from lr_lightning.cli.app import _callbacks
from lr_lightning.cli.given import Refused, check_sweeper, swept_lr

ONLY_TOLD = "callbacks.lr_range_test.apply=false"


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Compose a job of a sweep as Hydra leaves it to the task: the job's overrides here, the sweep's in its folder."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def composed(overrides: list[str], sweep: list[str] | None = None):
        mode = "MULTIRUN" if sweep is not None else "RUN"
        with initialize_config_module("lr_lightning.conf", version_base="1.3"):
            cfg = compose("config", [*overrides, f"hydra.mode={mode}"], return_hydra_config=True)
        cfg.hydra.sweep.dir, cfg.hydra.runtime.cwd = "sweep", str(tmp_path)
        record = {"hydra": {"overrides": {"task": sweep or []}}}
        Path(tmp_path / "sweep").mkdir(exist_ok=True)
        OmegaConf.save(record, tmp_path / "sweep" / "multirun.yaml")
        HydraConfig.instance().set_config(cfg)
        return cfg

    return composed


def kinds(cfg) -> list[str]:
    return [entry._target_.rsplit(".", 1)[-1] for entry in _callbacks(cfg.callbacks)]


@pytest.mark.parametrize(
    "key", ["model.lr", "+model.head_lr", "optimizer.lr", "++model.learning_rate", "+model.opt.base_lr"]
)
def test_the_range_test_steps_aside_where_the_lr_is_swept(job, capsys, key):
    prefix = "+" if key.startswith("optimizer") else ""
    cfg = job([f"{prefix}{key}=0.01"], [f"{prefix}{key}=0.1,0.01"])
    assert kinds(cfg) == ["LRCurves"]
    assert (
        f"callbacks.lr_range_test, the range test, steps aside: {prefix}{key}=0.01 is swept" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("overrides", "sweep"),
    [
        (["model.lr=0.01"], None),  # a run: the LR is where the test begins
        (["model.lr=0.01", "seed=1"], ["model.lr=0.01", "seed=1,2"]),  # given to all jobs alike
        (["seed=1"], ["seed=1,2"]),
        (["model.lr=0.01", ONLY_TOLD], ["model.lr=0.1,0.01", ONLY_TOLD]),
    ],
)  # fmt: skip
def test_it_stays_where_it_overrides_no_sweep(job, capsys, overrides, sweep):
    assert kinds(job(overrides, sweep)) == ["LRRangeTest", "LRCurves"]
    assert capsys.readouterr().out == ""


def test_a_search_inside_of_the_fit_steps_aside_too(job):
    cfg = job(["callbacks=lr_search", "model.lr=0.01"], ["callbacks=lr_search", "model.lr=0.1,0.01"])
    assert swept_lr() == "model.lr=0.01"
    assert kinds(cfg) == []


@pytest.mark.parametrize("said", ["hydra/sweeper=lr_coarse_to_fine", "hydra.sweeper.max_batch_size=2"])
def test_a_sweeper_in_a_single_run_is_refused(job, said):
    job([said])
    with pytest.raises(Refused, match="has no effect in a single run: lr-lightning -m"):
        check_sweeper()
    job([said], sweep=[])
    check_sweeper()


def test_a_setting_of_a_formula_that_is_none_is_refused(job):
    cfg = job(["callbacks.lr_formula.warmup_steps=10"])
    with pytest.raises(
        Refused, match=r"warmup_steps=10 has no effect: callbacks\.lr_formula has neither an expression"
    ):
        _callbacks(cfg.callbacks)
