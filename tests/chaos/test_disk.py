"""A full disk and a read-only log folder: training goes on with a warning, weights and LR as on a healthy one.

"Full" is a limit on the size of files: it holds everywhere, for root as well, and write() fails as on a full disk.
"""

import json
import resource
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.conftest import JOBS, named, state
from tests.chaos.warm import Ended, Warm
from tests.helpers.search_runs import SMALL, command, environment, results, search


def test_a_picture_that_does_not_fit_on_the_disk(warm: Warm, healthy: dict[str, Ended], tmp_path: Path) -> None:
    found = warm.run(f"{JOBS}:full_disk", tmp_path, kind="all", size=1_000_000, logs=True, ok=True).report
    assert found["error"] is None
    assert state(found) == state(healthy["all"].report)
    (warning,) = named(found, "RangeTestWriter")
    assert "File too large: 'board/range_test.html'" in warning
    assert not (tmp_path / "board/range_test.html").exists(), "half a picture is worse than none"
    assert json.loads((tmp_path / "board/range_test.json").read_text())


@pytest.mark.parametrize("kind", ["all", "search"])
def test_nothing_fits_on_the_disk(warm: Warm, healthy: dict[str, Ended], tmp_path: Path, kind: str) -> None:
    """The logger's own event file fails as well: without our callbacks Lightning stops there, and with them."""
    found = warm.run(f"{JOBS}:full_disk", tmp_path / "ours", kind=kind, size=5, logs=True, ok=True).report
    plain = warm.run(f"{JOBS}:full_disk", tmp_path / "plain", kind=kind, size=5, logs=True, ours=False, ok=True).report
    assert found["error"] == plain["error"] == "OSError: [Errno 27] File too large"
    assert found["step"] == plain["step"] == 2, "Lightning's first flush"
    (warning,) = named(found, "TensorBoardLogger")
    assert "board" in warning, "it says where"
    (warning,) = named(found, "RangeTestWriter" if kind == "all" else "LRSearch")
    assert ("range_test.json" if kind == "all" else "lr_search/trials.jsonl") in warning
    assert (tmp_path / "ours/board/hparams.yaml").read_text() == "lr: 0.001\n", "the old file is whole"
    assert [path.name for path in (tmp_path / "ours").rglob(".*")] == []
    # The sweep was undone and its LR applied, all the same.
    (test,) = (value for key, value in found["callbacks"].items() if key.startswith(("LRRangeTest", "LRSearch")))
    (same,) = (value for key, value in healthy[kind].report["callbacks"].items() if key.startswith(("LRR", "LRS")))
    assert test == same
    assert found["hparams"] == healthy[kind].report["hparams"]


def test_a_module_that_logs_nothing_trains_to_its_end(warm: Warm, healthy: dict[str, Ended], tmp_path: Path) -> None:
    found = warm.run(f"{JOBS}:full_disk", tmp_path, kind="search", size=300, logs=False, ok=True).report
    assert {**state(found), "callbacks": None} == {**state(healthy["search"].report), "callbacks": None}


@pytest.mark.parametrize("kind", ["all", "search"])
def test_a_read_only_log_folder(warm: Warm, healthy: dict[str, Ended], tmp_path: Path, kind: str) -> None:
    found = warm.run(f"{JOBS}:read_only", tmp_path, kind=kind, ok=True).report
    assert found["error"] is None
    assert state(found) == state(healthy[kind].report)
    (warning,) = named(found, "RangeTestWriter" if kind == "all" else "LRSearch")
    assert "Permission denied: 'logs/board/" in warning
    (warning,) = named(found, "TensorBoardLogger")
    assert "logs/board/hparams.yaml" in warning


def test_a_search_on_a_full_disk_stops_and_goes_on_later(tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    settings = (*SMALL, "seed=0,1", "noise=0.02")
    text = _fails(out, *settings, preexec_fn=partial(_limit, 4600))  # the journal has 5.4 kB in the end
    assert f"File too large: '{out / 'trials.jsonl'}'" in text
    assert [p for p in out.rglob(".*") if p.is_file()] == []
    search(out, *settings, f"hydra.sweeper.resume={out}")
    search(whole, *settings)
    assert results(out) == results(whole)


def test_a_search_whose_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = _fails(tmp_path / "file" / "out", *SMALL)
    assert f"Not a directory: '{tmp_path / 'file' / 'out'}" in text


def _fails(out: Path, *overrides: str, **options: Any) -> str:
    line, seen = command(out, *overrides), environment(out.parent.parent)
    done = subprocess.run(line, env=seen, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode != 0
    return str(done.stderr)


def _limit(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
