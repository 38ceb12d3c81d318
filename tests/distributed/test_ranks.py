"""Ranks with different data, a NaN, an exception or a SIGKILL on one of them."""

import pytest

from tests.distributed.launch import launch, run


def files(folder):
    """Everything that was written, but for the launcher's own log and a temporary file of torch 2.4's."""
    others = ("output.txt", "_remote_module_non_scriptable.py")
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name not in others)


def test_losses_are_sample_weighted_means_over_ranks_and_a_nan_stops_all(tmp_path):
    launched = run(tmp_path, "losses", "nan", "guarded")
    for report in launched.ranks("losses"):
        # 4 samples at 100 - i on rank 0, 12 at 101 - i on rank 1.
        assert [float(x) for x in report["losses"]] == [(4 * (100 - i) + 12 * (101 - i)) / 16 for i in range(15)]
        assert report["batch_size"] == 16
        assert report["calls"] == 15
    first, second = launched.ranks("nan")
    assert first["losses"] == second["losses"]
    assert [x == "nan" for x in first["losses"]] == [i >= 13 for i in range(20)]
    assert first["calls"] == second["calls"] == 20  # both stop at the end of the window, 40 steps early
    ends_the_sweep(launched, "guarded")


def ends_the_sweep(launched, case):
    """A step that raised on all ranks because it diverged."""
    reports = launched.ranks(case)
    assert launched.differences(case) == [None, None], case
    assert len({str([report["suggestion"], report["losses"]]) for report in reports}) == 1, case
    assert reports[0]["losses"][-1] == "nan"
    assert reports[0]["status"] == "ok", case


def test_ranks_agree_on_the_ratios_between_groups(tmp_path):
    launched = run(tmp_path, "groups", "groups-manual", "groups-fsdp2")
    for case in ("groups", "groups-manual", "groups-fsdp2"):
        first, second = launched.ranks(case)
        assert len(first["group_factors"]) == 2
        assert first["group_factors"] == second["group_factors"] != ["1.0"] * 2
        assert (first["suggestion"], first["losses"]) == (second["suggestion"], second["losses"])
        if case == "groups-fsdp2":  # each rank holds its shards
            continue
        kinds = ("parameters", "optimizer")
        for here, there in zip(first["events"], second["events"], strict=True):
            assert {kind: here[2].get(kind) for kind in kinds} == {kind: there[2].get(kind) for kind in kinds}


@pytest.mark.slow
def test_a_step_that_raised_on_all_ranks_ends_the_sweep_on_other_strategies_and_in_the_backward(tmp_path):
    launched = run(tmp_path, "guarded-fsdp2", "guarded-backward")
    ends_the_sweep(launched, "guarded-fsdp2")
    ends_the_sweep(launched, "guarded-backward")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["guarded-one", "guarded-healthy"])
def test_a_step_that_raised_on_one_rank_or_in_good_health_is_the_users_error(tmp_path, case):
    launched = launch(tmp_path, case)
    assert launched.returncode != 0
    assert not launched.strays
    assert "ValueError: too large" in launched.output


def test_an_exception_on_one_rank_restores_and_ends_all(tmp_path):
    launched = launch(tmp_path, "failing")
    assert launched.returncode != 0
    assert not launched.strays
    assert "rank 1 restored=True ZeroDivisionError" in launched.output
    assert "restored=False" not in launched.output


@pytest.mark.parametrize("case", ["dying-alone", *(pytest.param(f"dying{r}", marks=pytest.mark.slow) for r in (0, 1))])
def test_a_kill_inside_of_the_test_leaves_nothing_and_the_next_run_tests_again(tmp_path, case):
    killed = launch(tmp_path, case, DIES="yes")
    assert killed.returncode != 0
    assert not killed.strays
    assert files(tmp_path) == []
    again = run(tmp_path, case)
    assert [report["runs"] for report in again.ranks(case)] == [1] * (1 if case == "dying-alone" else 2)
    assert [name.split("/")[0] for name in files(tmp_path)] == [case] * (1 if case == "dying-alone" else 2)
