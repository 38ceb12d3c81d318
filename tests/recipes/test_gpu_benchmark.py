"""The run that is prepared for a GPU, rehearsed on a CPU: its tests, its parts, what it writes, how it ends."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from math import log
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(out, *arguments):
    command = [sys.executable, "-m", "recipes.benchmarks.gpu", "--device", "cpu", "--out", str(out), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_the_whole_run(tmp_path):
    ended = run(tmp_path, "--budget-seconds", "550")
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found) == {"machine", "identity", "cost", "syncs", "callbacks", "gpt"}
    assert set(found["identity"]["outcomes"].values()) == {"passed"}
    suite = ElementTree.parse(tmp_path / "tests.xml").getroot()[0]
    assert int(suite.get("tests")) == len(found["identity"]["outcomes"]) >= 14
    assert found["cost"]["tiny"]["rounds"][0].keys() == {"bare", "LRRangeTest", "Lightning LearningRateFinder"}
    syncs = found["syncs"]
    assert syncs.keys() == {"bare steps", "steps of a range test", "formula, decay per step and curves"}
    bare, tested = (syncs[name]["items"] for name in ("bare steps", "steps of a range test"))
    assert tested <= bare + 1  # values read in ten steps, which are one window
    costs = found["callbacks"]["us"]
    assert len(costs) == 8
    assert all(0 < one["median"] <= one["largest"] and one["steps"] == 19 for one in costs.values())
    together = costs["all four, formula and decay per step"]["mean"]
    members = ("LRRangeTest, done", "LRFormula, per step", "PlateauDecay(train_loss, step)", "LRCurves")
    assert together == pytest.approx(sum(costs[name]["mean"] for name in members))
    losses = {name: arm["losses"] for name, arm in found["gpt"]["arms"].items()}
    assert len(losses) >= 3  # without prodigyopt, which nothing else needs
    # What 30 steps at an LR that was found do is the LR's; they learn more than that there are 256 bytes.
    assert all(curve[-1] < (log(256) if "hands-off" in name else curve[0]) for name, curve in losses.items())
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "results.json", "tests.xml"}
    assert (tmp_path / "report.md").read_text().count("|---|") >= 5


def test_a_part_without_time_is_skipped_and_a_wrong_one_refused(tmp_path):
    ended = run(tmp_path, "--part", "gpt", "--budget-seconds", "0")
    assert ended.returncode == 0
    assert "gpt: skipped, 0 s are left and it needs 50" in ended.stdout
    assert json.loads((tmp_path / "results.json").read_text())["gpt"] == "skipped"
    assert "invalid choice: 'training'" in run(tmp_path, "--part", "training").stderr
