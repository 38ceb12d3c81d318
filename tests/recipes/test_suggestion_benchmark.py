"""The suggestion benchmark measures what it says: closed forms of its regret, sound tasks, one run end to end."""

import math

import pytest
import torch

from recipes.benchmarks import suggestion_oracle
from recipes.benchmarks.suggestion import Row, figure, ours, range_test, table
from recipes.benchmarks.suggestion_tasks import TASKS

RECORD = {"lrs": [1e-3, 1e-2, 1e-1], "losses": [[3.0, 1.0, math.inf]], "start": [5.0], "constant": 2.0}


@pytest.mark.parametrize(
    ("lr", "loose", "strict"),
    [(1e-2, 0, 0), (1e-3, 0.5, 2), (10**-2.5, 0.25, 1), (1e-1, 2, 2), (1e-9, 0.5, 2), (None, 1, 1), (math.nan, 1, 1)],
)
def test_regret_in_closed_form(lr, loose, strict):
    assert suggestion_oracle.regret(RECORD, lr) == pytest.approx(loose)
    assert suggestion_oracle.regret(RECORD, lr, strict=True) == pytest.approx(strict)


def test_names_are_unique_and_the_halves_are_of_one_size():
    assert len({task.name for task in TASKS}) == len(TASKS)
    halves = [task.half for task in TASKS]
    assert halves.count("dev") == halves.count("report") == 15


@pytest.mark.parametrize("task", [t for t in TASKS if "mnist1d" not in t.name], ids=lambda t: t.name)
def test_a_task_starts_worse_than_or_near_its_constant_prediction(task):
    start = suggestion_oracle.held_out(task, suggestion_oracle.fresh(task, 0))
    assert math.isfinite(start)
    assert start > task.constant_loss() - 0.4 * abs(task.constant_loss())
    order = suggestion_oracle.batches(task, 0, 50)
    assert {len(pick) for pick in order} == {task.batch}
    assert order == suggestion_oracle.batches(task, 0, 50) != suggestion_oracle.batches(task, 1, 50)


def test_a_task_end_to_end(tmp_path, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(suggestion_oracle, "CACHE", tmp_path)
    monkeypatch.setattr(suggestion_oracle, "SEEDS", (0,))
    task = replace(next(t for t in TASKS if t.name == "iris_linear_momentum"), steps=40)
    record = suggestion_oracle.oracle(task)
    assert suggestion_oracle.oracle(task) == record  # from disk
    assert list(tmp_path.rglob("*.json"))
    torch.set_num_threads(1)
    result = ours(task, 0, range_test)
    regret = suggestion_oracle.regret(record, result.suggestion)
    assert regret < 0.25 < suggestion_oracle.regret(record, 1e-6)
    rows = [Row("lr_lightning", task.name, result.suggestion, regret, regret, result.steps)]
    assert "| lr_lightning |" in table(rows)
    figure(rows, tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text().count("<circle") == 1
