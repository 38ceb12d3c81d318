"""The hands-off benchmark measures what it says: ratios in closed form, sound tasks, one run end to end."""

import importlib
import math

import pytest
import torch

from recipes.benchmarks.handsoff import oracle, readings
from recipes.benchmarks.handsoff.more_tasks import MORE
from recipes.benchmarks.handsoff.ours import swept
from recipes.benchmarks.handsoff.tasks import BY_NAME, TASKS
from recipes.benchmarks.handsoff.training import Loader, fresh, held_out, run_cosine, trained

table = importlib.import_module("recipes.benchmarks.handsoff.__main__")


@pytest.mark.parametrize(
    ("lr", "expected"),
    [(1e-2, 1), (1e-1, 4), (10**-1.5, 2), (1e-3, 10), (1.0, 10), (None, 10), (1e-9, 10)],
)
def test_the_ratio_is_log_linear_between_points_and_capped(lr, expected):
    assert oracle.ratio([1e-3, 1e-2, 1e-1, 1.0], [50.0, 1.0, 4.0, math.inf], lr) == pytest.approx(expected)


def test_the_halves_are_of_one_size_and_hold_each_kind():
    halves = {half: [task for task in TASKS if task.half == half] for half in ("choose", "report")}
    assert len(halves["choose"]) == len(halves["report"]) == 11
    assert len(BY_NAME) == len(TASKS)
    for tasks in halves.values():
        assert {task.adaptive for task in tasks} == {True, False}
        for kind in ("digits", "mnist1d", "gpt", "finetune", "raw"):
            assert any(kind in task.name for task in tasks), kind


def test_further_tasks_are_others():
    assert len({task.name for task in (*TASKS, *MORE)}) == len(TASKS) + len(MORE)
    for half, count in (("more", 24), ("check", 30)):
        tasks = [task for task in MORE if task.half == half]
        assert len(tasks) == count
        assert {task.adaptive for task in tasks} == {True, False}


@pytest.mark.parametrize("task", [t for t in (*TASKS, *MORE) if "finetune" not in t.name], ids=lambda t: t.name)
def test_a_task_starts_finite_and_its_batches_are_those_of_its_seed(task):
    assert math.isfinite(held_out(task, fresh(task, 0)))
    first, again, other = (next(iter(Loader(task, seed))) for seed in (0, 0, 1))
    assert len(first[0]) == task.batch
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_adapters_start_as_the_model_they_adapt_and_train_little():
    task = BY_NAME["finetune_gpt_low_rank_adam"]
    model = fresh(task, 0)
    count, of = sum(p.numel() for p in trained(model)), sum(p.numel() for p in model.parameters())
    assert 0 < count < of / 3
    assert held_out(task, model) < math.log(97)  # better than a guess: the adapters add nothing yet


def test_a_task_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(oracle, "CACHE", tmp_path)
    monkeypatch.setattr(table, "CACHE", tmp_path)
    task, steps = BY_NAME["friedman_mlp_momentum"], 150
    lrs, losses = oracle.grid(task, (0,), steps)
    assert len(lrs) >= oracle.POINTS
    assert losses[lrs.index(0.0625)] == run_cosine(task, 0, 0.0625, steps)
    assert min(losses) not in (losses[0], losses[-1])
    arms = ["LRRangeTest + PlateauDecay", "customary LR + cosine", "swapped: the grid's best LR + cosine"]
    logs = [table.losses(arm, [task], [0], steps) for arm in arms]
    assert logs[1] == [[run_cosine(task, 0, 0.1, steps)]]
    assert all(math.isfinite(found[0][0]) for found in (logs[0], logs[2]))
    assert [table.losses(arm, [task], [0], steps) for arm in arms] == logs  # from disk
    assert swept(task, 0, train_steps=steps).steps <= 100
    assert table.line("x", [[1.0, 1.0], [2.0, 2.0], [math.inf, 8.0]]).startswith("| x | 2.62 | 2.00 | 8.94 | 33% |")


def test_readings_are_read_off_the_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(oracle, "CACHE", tmp_path)
    task, steps = BY_NAME["friedman_mlp_momentum"], 150
    found = readings.costs(task, steps, (0,))
    lrs, losses = oracle.grid(task, (0,), steps)
    for name, budget in (("and below the rise", 0.0), ("with trials", readings.BUDGET)):
        answers = [swept(task, seed, train_steps=steps, budget=budget).suggestion for seed in readings.SEEDS]
        assert math.exp(3 * found[name]) == pytest.approx(math.prod(oracle.ratio(lrs, losses, lr) for lr in answers))
    assert found["as a peak"] == pytest.approx(found["2.5 times the reading"])
    assert found["the reading"] == pytest.approx(found["1 times the reading"])
    assert all(cost >= 0 for cost in found.values())
