"""Trials that train: a bracket first, clean processes, two ranks that agree, early stopping."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.search_runs import ran, results, run, search, trials

APP = Path(__file__).parents[1] / "helpers" / "training_app" / "app.py"
TINY = (
    "hydra.sweeper.low=1e-4",
    "hydra.sweeper.high=10",
    "hydra.sweeper.first=3",
    "hydra.sweeper.later=1",
    "hydra.sweeper.budget=3",
)


def test_two_ranks_of_each_trial_agree_on_its_lr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("ISOLATED", "1")
    search(out, *TINY, "devices=2", "epochs=1", "hydra.sweeper.range_test=false", app=APP)
    by_lr: dict[str, set[str]] = {}
    for line in ran(out):
        lr, rank, _ = line.split()
        by_lr.setdefault(lr, set()).add(rank)
    assert by_lr == {f"{t['values'][0]:.6g}": {"0/2", "1/2"} for t in trials(out)}
    assert len(ran(out)) == 2 * len(trials(out)) == 6
    assert all((out / str(t["job"]) / "trial_result.json").exists() for t in trials(out))


def test_a_range_test_first_gives_the_bracket(tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = search(out, *TINY, "epochs=1", "hydra.sweeper.low=1e-6", app=APP)
    lines = [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]
    found = next(line for line in lines if line["kind"] == "range_test")
    assert "the range test suggests" in found["reason"]
    assert 1e-6 < found["low"] < found["high"] <= 10
    assert "range test: the range test suggests" in text
    values = [t["values"][0] for t in trials(out)]
    assert min(values) >= found["low"] * 0.999
    assert max(values) <= found["high"] * 1.001
    steps = Counter(line.split()[2] for line in ran(out))
    assert steps == {"1": 1, "8": 3}, "the range test ends after one step, each trial its whole epoch"
    assert {line.split()[0] for line in ran(out)} >= {f"{v:.6g}" for v in values}, (
        "the app's own range test chose no LR"
    )


def test_clearly_worse_trials_stop_early(tmp_path: Path) -> None:
    out = tmp_path / "out"
    pruner = "+callbacks.pruner={_target_:lr_lightning.callbacks.trial_pruner.TrialPruner}"
    more = ("hydra.sweeper.first=6", "hydra.sweeper.budget=6", "epochs=8", "hydra.sweeper.range_test=false", pruner)
    search(out, *TINY, *more, app=APP)
    whole = 6 * 8 * 8
    spent = sum(int(line.split()[2]) for line in ran(out))
    stopped = [t for t in trials(out) if t["status"] in ("pruned", "diverged")]
    assert stopped
    assert all(t["reason"] for t in stopped)
    assert spent < 0.8 * whole, f"{spent} of {whole} steps"
    assert results(out)["best_trial"]["jobs"][0] not in {t["job"] for t in stopped}


@pytest.mark.slow
def test_two_ranks_search_together_inside_of_one_fit(tmp_path: Path) -> None:
    out = tmp_path / "out"
    callback = "+callbacks.s={_target_:lr_lightning.LRSearch,num_steps:8,budget:5,range_test:false}"
    how = ("~callbacks.range_test", callback, "devices=2", "epochs=1", f"hydra.run.dir={out}")
    done = run([sys.executable, str(APP), *how], out)
    assert done.returncode == 0, done.stdout[-4000:]
    lrs = {entry.split()[0] for entry in ran(out)}
    assert len(ran(out)) == 2
    assert len(lrs) == 1, "the ranks train at one LR"
    assert lrs != {"0.1"}, "and it is the search's, not the user's"
