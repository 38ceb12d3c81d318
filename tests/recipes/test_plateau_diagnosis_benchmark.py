"""The diagnosis benchmark measures what it says."""

import math
from itertools import combinations

import pytest
import torch

from lr_lightning.rules.plateau.diagnosis import WORDS
from recipes.benchmarks.plateau import diagnosis as benchmark
from recipes.benchmarks.plateau.kinds import HALVES, REPORT, SECOND

TASKS = {name: known for half in HALVES.values() for name, known in half.items()}


def test_no_task_is_in_two_halves_and_each_half_has_every_kind():
    assert not any(set(a) & set(b) for a, b in combinations(HALVES.values(), 2))
    assert all({known.kind for known in half.values()} <= set(WORDS) for half in HALVES.values())


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_a_gradient(name):
    known = TASKS[name]
    task, gen = known.make(), torch.Generator().manual_seed(0)
    params = {key: value.requires_grad_() for key, value in task.init(gen).items()}
    task.loss(params, task.sample(gen)).backward()
    assert all(p.grad.isfinite().all() for p in params.values())
    assert any(p.grad.abs().sum() > 0 for p in params.values())
    assert math.isfinite(task.loss(params, task.validation).item())


def test_what_goes_to_and_fro_is_told_and_a_cut_helps():
    known = REPORT["edge"]
    found = benchmark.diagnoses(known, "plain", 100)
    assert found == dict.fromkeys(benchmark.SEEN, "oscillation")
    constant, cut = (benchmark.outcome(known, "plain", 100, arm) for arm in ("constant", "keep"))
    assert cut < constant / 2


def test_tables_have_a_row_for_each_kind_and_cell():
    half = {name: SECOND[name] for name in ("ridge logistic",)}
    lines = benchmark.confusion(half, [0])
    assert len(lines) == 2 + len(benchmark.SEEN) + 1
    assert lines[2].startswith("| metric alone | oscillation |")
    lines = benchmark.benefit(half, [0])
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["oscillation", "ridge logistic, plain"]
