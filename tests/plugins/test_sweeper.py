"""The sweeper under real launchers, with crashed and NaN trials, and its refusals."""

import math
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra_plugins.lr_lightning_plugins.coarse_to_fine import CoarseToFineConf

from lr_lightning.sweeper.arguments import settings_from
from tests.helpers.search_runs import APP, SMALL, ran, results, search, trials

BAD = ("crash_above=0.5", "nan_above=0.05", "noise=0.02")
LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=2"),
}


def _found(folder: Path) -> None:
    """A crashed and a NaN trial are in the records, and the optimum was found all the same."""
    found = results(folder)
    assert (found["status"], found["crashed"], found["diverged"]) == ("done", 1, 1)
    assert abs(math.log10(found["best_params"]["lr"] / 0.004)) < 0.1
    assert found["interval"][0] <= found["best_params"]["lr"] <= found["interval"][1]
    kinds = {round(line["values"][0], 3): line["status"] for line in trials(folder)}
    assert (kinds[1.0], kinds[0.1], kinds[0.01]) == ("crashed", "diverged", "completed")
    assert len(ran(folder)) == len(trials(folder)) == found["trials"]
    assert {line["job"] for line in trials(folder)} == {int(p.name) for p in folder.iterdir() if p.name.isdigit()}


@pytest.mark.parametrize("launcher", ["basic", "joblib", pytest.param("submitit_local", marks=pytest.mark.slow)])
def test_a_search_survives_a_crashed_and_a_nan_trial(tmp_path: Path, launcher: str) -> None:
    text = search(tmp_path / "out", *SMALL, *BAD, *LAUNCHERS[launcher])
    _found(tmp_path / "out")
    assert "2 bad" in text
    assert "results:" in text


@pytest.mark.slow
def test_a_search_on_ray_survives_a_crashed_and_a_nan_trial(tmp_path: Path) -> None:
    ray = (
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    )
    search(tmp_path / "out", *SMALL, *BAD, *ray)
    _found(tmp_path / "out")


@pytest.mark.slow
def test_a_process_that_dies_is_a_bad_trial(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search(
        out,
        *SMALL,
        "die_above=0.5",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.max_batch_size=1",
    )
    assert {line["status"] for line in trials(out) if line["values"] == [1.0]} == {"crashed"}
    assert abs(math.log10(results(out)["best_params"]["lr"] / 0.004)) < 0.1


def test_seeds_are_repeats_and_sys_exit_is_a_crash(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search(out, *SMALL, "hydra.sweeper.budget=6", "hydra.sweeper.later=1", "seed=0,1", "exit_above=0.5", "noise=0.02")
    found = trials(out)
    assert len(found) == 12
    assert {line["status"] for line in found if line["values"] == [1.0]} == {"crashed"}
    assert len(results(out)["best_trial"]["jobs"]) == 2


def test_further_parameters_have_their_own_scales(tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = (
        "hydra.sweeper.params={batch:{choices:[16,32,64]}}",
        "wd=interval(0,0.5)",
        "hydra.sweeper.budget=9",
        "hydra.sweeper.later=4",
    )
    search(out, *SMALL, *more)
    found = results(out)
    assert set(found["best_params"]) == {"lr", "batch", "wd"}
    assert found["best_params"]["wd"] < 0.25
    for line in trials(out):
        assert line["values"][1] in (16, 32, 64)
        assert 0 <= line["values"][2] <= 0.5


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("nothing=true",), "it must return the score"),
        (("crash_above=0",), "all 5 trials of the first round crashed"),
        (("lr=0.1",), "lr is chosen by the search: drop 'lr=0.1' from the command line"),
        (("hydra.sweeper.resume=nowhere",), "no trials.jsonl in"),
        (("wd=interval(8,1)",), "wd=interval(8,1): wd: low must be below high"),
        (("hydra.sweeper.param=nothing",), "hydra.sweeper.param=nothing holds False, no number"),
    ],
)
def test_refusals_say_why(tmp_path: Path, overrides: tuple[str, ...], said: str) -> None:
    assert said in search(tmp_path / "out", *SMALL, *overrides, fails=True)


@pytest.mark.parametrize("way", ["plain", "isolated"])
def test_what_no_trial_could_score_with_ends_before_the_second_job(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "isolated":
        monkeypatch.setenv("ISOLATED", "1")
    out = tmp_path / "out"
    said = search(out, *SMALL, "hydra.sweeper.score=loss", fails=True)
    assert "lr_coarse_to_fine: hydra.sweeper.score=loss names a key of a mapping" in said
    assert "Traceback" not in said
    assert len(ran(out)) == 1
    search(out, *SMALL, f"hydra.sweeper.resume={out}")
    assert results(out)["status"] == "done"
    assert results(out)["crashed"] == 0


def test_a_null_is_a_choice_and_a_group_s_glob_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    project = tmp_path / "project"
    shutil.copytree(APP.parent, project, ignore=shutil.ignore_patterns("__pycache__"))
    for name, far in (("near", 0.01), ("far", 0.5)):
        (project / "at").mkdir(exist_ok=True)
        (project / "at" / f"{name}.yaml").write_text(f"# @package _global_\noptimum: {far}\n")
    more = ("+at=glob(*)", "hydra.sweeper.params={+note:{choices:[null,a]}}", "hydra.sweeper.first=6")
    search(out, *SMALL, *more, app=project / "app.py")
    assert {tuple(line["values"][1:]) for line in trials(out)} == {
        (note, at) for note in (None, "a") for at in ("near", "far")
    }
    assert list(out.glob("*/events.*.lr_lightning_trial"))
    wrong = search(tmp_path / "wrong", *SMALL, "+at=choice(near,nowhere)", app=project / "app.py", fails=True)
    assert "Could not find 'at/nowhere'" in wrong
    assert not ran(tmp_path / "wrong")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"low": 2.0}, "low=2.0 and lr: high=1.0"),
        ({"mode": "less"}, "mode must be one of min, max, got 'less'"),
        ({"params": {"wd": {"low": 0, "hihg": 1}}}, "wd: unknown setting 'hihg'; known are low, high"),
        ({"params": {"wd": {"low": 0}}}, "wd: high must be a number"),
        ({"budget": 2}, "budget must be an integer of at least 5, got 2"),
    ],
)
def test_impossible_settings_are_refused_before_a_job_starts(options: dict[str, object], said: str) -> None:
    defaults = {key: value for key, value in asdict(CoarseToFineConf()).items() if not key.startswith("_")}
    with pytest.raises(ValueError, match=said):
        settings_from({**defaults, "param": "lr", **options})
