"""Loggers that raise, metrics that turn NaN, no validation, jumping clocks, interruptions and errors of the user's."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.conftest import JOBS, named, state
from tests.chaos.warm import Ended, Warm


@pytest.mark.parametrize(
    ("kind", "where"),
    [("all", "log_metrics"), ("all", "log_hyperparams"), ("all", "log_dir"), ("all", "board"), ("search", "board")],
)
def test_a_logger_that_raises(
    warm: Warm,
    healthy: dict[str, Ended],
    tmp_path: Path,
    kind: str,
    where: str,
) -> None:
    found = warm.run(f"{JOBS}:raising", tmp_path, kind=kind, where=where, ok=True).report
    assert found["error"] is None
    assert state(found) == state(healthy[kind].report)
    assert len(named(found, "RaisingBoard" if where == "board" else "Raising")) == 1, "told once"
    rows = [(run / "logs/works/0/metrics.csv").read_text() for run in (tmp_path, healthy[kind].folder)]
    assert rows[0] == rows[1], "the logger beside it gets everything"


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step", [0, 5])
def test_a_loss_that_is_not_finite_in_the_sweep(warm: Warm, tmp_path: Path, value: float, step: int) -> None:
    found = warm.run(f"{JOBS}:poisoned_sweep", tmp_path, kind="all", value=value, step=step, ok=True).report
    assert found["status"] == "non_finite"
    assert f"the loss is {value} at step {step}" in found["reason"]
    assert found["lrs"] == [0.001, 0.003], "the user's LR stays"


def test_a_search_whose_losses_are_not_finite(warm: Warm, tmp_path: Path) -> None:
    never = warm.run(f"{JOBS}:poisoned_sweep", tmp_path / "0", kind="search", value=math.nan, step=0, ok=True).report
    assert set(never["statuses"]) == {"diverged"}
    assert never["best"] is None
    assert never["lrs"] == [0.001, 0.003]
    # From the third trial on: those count as bad, the others decide.
    later = warm.run(f"{JOBS}:poisoned_sweep", tmp_path / "1", kind="search", value=math.inf, step=38, ok=True).report
    assert "diverged" in later["statuses"]
    assert "completed" in later["statuses"]
    assert later["lrs"][0] == later["best"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_from_the_middle_on(warm: Warm, tmp_path: Path, value: float) -> None:
    found = warm.run(f"{JOBS}:poisoned_metric", tmp_path, value=value, ok=True).report
    assert found["error"] is None
    assert len(found["history"]) == math.isinf(value), "NaN is no evidence; infinity counts as torch counts it"
    assert sum("val_loss was not finite" in text for text in found["warnings"]) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_formula_of_a_metric_that_is_not_finite(warm: Warm, tmp_path: Path, value: float) -> None:
    found = warm.run(f"{JOBS}:poisoned_formula", tmp_path, value=value, ok=True).report
    assert all(math.isfinite(lr) and lr > 0 for lr in found["lrs"]), "never an LR that ruins the weights"
    assert found["error"] is not None
    assert "val_loss" in found["error"] or str(value) in found["error"]


def test_no_validation_at_all_is_an_error_that_says_so(warm: Warm, tmp_path: Path) -> None:
    found = warm.run(f"{JOBS}:no_validation", tmp_path, limit_val_batches=0, ok=True).report
    assert "PlateauDecay(monitor='val_loss', interval='epoch') never got its metric" in found["error"]
    assert "this fit has no validation (no val_dataloader, or limit_val_batches=0)" in found["error"]


def test_validation_that_never_comes_is_a_warning(warm: Warm, tmp_path: Path) -> None:
    found = warm.run(f"{JOBS}:no_validation", tmp_path, check_val_every_n_epoch=1000, max_epochs=3, ok=True).report
    assert found["error"] is None
    (warning,) = (text for text in found["warnings"] if text.startswith("PlateauDecay"))
    assert "no validation ran, and the LR was never decayed" in warning


def test_fast_dev_run_says_nothing(warm: Warm, tmp_path: Path) -> None:
    found = warm.run(f"{JOBS}:no_validation", tmp_path, fast_dev_run=True, ok=True).report
    assert (found["error"], found["lrs"]) == (None, [0.001, 0.003])
    assert not [text for text in found["warnings"] if "PlateauDecay" in text]


@pytest.mark.parametrize("kind", ["all", "search"])
def test_clocks_that_jump(warm: Warm, healthy: dict[str, Ended], tmp_path: Path, kind: str) -> None:
    found = warm.run(f"{JOBS}:clock", tmp_path, kind=kind, ok=True).report
    assert found["error"] is None
    assert state(found) == state(healthy[kind].report)


@pytest.mark.parametrize("kind", ["all", "search"])
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "error"])
def test_interrupted_in_the_sweep_everything_is_put_back(warm: Warm, tmp_path: Path, kind: str, how: str) -> None:
    found = warm.run(f"{JOBS}:interrupted", tmp_path, kind=kind, how=how, step=20, ok=True).report
    assert found["after"] == found["before"]
    assert found["step"] == 0
    expected = {"SIGINT": "SystemExit", "SIGTERM": "SIGTERMException", "error": "LookupError: the user's own bug"}
    assert found["error"].startswith(expected[how])
    if how == "error":
        assert found["place"][-2:] == ["training_step", "_interrupt"], "with the traceback into the user's code"
    _no_result(found)


def _no_result(report: dict[str, Any]) -> None:
    """What was interrupted has found nothing and does not count as done."""
    (test,) = (value for key, value in report["callbacks"].items() if key.startswith(("LRRangeTest", "LRSearch")))
    assert test.get("result", test.get("best_lr")) == "None"
    assert test.get("done", []) == []
