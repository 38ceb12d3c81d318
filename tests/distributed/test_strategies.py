"""On every rank of every strategy: training after a range test is training with that LR set by hand."""

import importlib.util
import os

import pytest

from tests.distributed.launch import run

slow = pytest.mark.slow


def identical(launched, *cases, ranks=2):
    for case in cases:
        assert launched.differences(case) == [None] * ranks, case
        reports = launched.ranks(case)
        assert all(report["suggestion"] is not None for report in reports), case
        assert len({str([r["suggestion"], r["losses"], r["status"], r["batch_size"]]) for r in reports}) == 1, case
        assert all(report["runs"] == 1 and report["calls"] >= 10 for report in reports), case


def test_ddp_and_fsdp2(tmp_path):
    """What runs on each commit: one launch, two strategies."""
    launched = run(tmp_path, "ddp2", "fsdp2-full-cold")
    identical(launched, "ddp2", "fsdp2-full-cold")
    assert list(tmp_path.rglob("fsdp2-full-cold/**/*.ckpt"))
    assert [r["batch_size"] for r in launched.ranks("ddp2")] == [32, 32]
    for report in launched.ranks("ddp2"):
        steps, counts = report["calls"], dict(report["collectives"])
        assert counts.pop("broadcast") == steps  # Lightning's own, at each batch of any fit
        windows = -(-steps // 10)
        assert counts == {"all_reduce": windows, "barrier": windows}  # Lightning's reduce waits before it sums


def long(folder, *cases):
    return run(folder, *cases, limit=540)


@slow
def test_ddp_on_two_processes(tmp_path):
    cases = [f"ddp2-{what}" for what in ("busy", "manual", "wide", "workers", "unused", "static", "views", "hook")]
    identical(long(tmp_path, *cases), *cases)


@slow
def test_ddp_on_three_processes(tmp_path):
    # From three ranks on the order of DDP's buckets shows in the last bit.
    cases = ["ddp3", "ddp3-mid", "ddp3-busy", "ddp3-manual", "ddp3-wide", "ddp3-workers"]
    identical(long(tmp_path, *cases), *cases, ranks=3)


@slow
@pytest.mark.parametrize("case", ["ddp_spawn2", "ddp_fork2"])
def test_ddp_in_spawned_and_forked_processes(tmp_path, case):
    identical(long(tmp_path, case), case)


@slow
def test_fsdp(tmp_path):
    cases = [
        "fsdp1",
        "fsdp2",
        "fsdp1-cold",
        "fsdp1-flat-cold",
        "fsdp1-accumulate",
        "fsdp1-mid",
        "fsdp2-mid",
        "tp2-mid",
        "ddp2-mid",
        "fsdp2-batchnorm",
        "fsdp2-busy",
        "fsdp2-repeats",
    ]
    identical(long(tmp_path, *cases), *cases)


@slow
def test_a_state_set_aside_is_gone_on_from_exactly(tmp_path):
    cases = ["ddp2-aside", "fsdp1-aside", "fsdp2-aside", "tp2-aside"]
    goes_on(long(tmp_path, *cases), *cases)


def goes_on(launched, *cases):
    for case in cases:
        assert launched.differences(case) == [None, None], case
        for report in launched.ranks(case):
            first, second = report["aside"]
            assert first == second, case
            assert len(set(first)) == 10


@slow
def test_tensor_parallel(tmp_path):
    launched = long(tmp_path, "tp2", "tp2-cold")
    identical(launched, "tp2", "tp2-cold")
    assert [r["batch_size"] for r in launched.ranks("tp2")] == [16, 16]  # both ranks see the same samples


@slow
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None and "CI" not in os.environ, reason="deepspeed is an extra"
)
def test_deepspeed(tmp_path):
    cases = [f"zero{stage}{what}" for stage in (1, 2, 3) for what in ("", "-accumulate", "-mid", "-cold")]
    aside = [f"zero{stage}-aside" for stage in (1, 2, 3)]
    launched = long(tmp_path, *cases, *aside)
    identical(launched, *cases)
    goes_on(launched, *aside)
