"""Overrides beside a search: which are axes, which repeats, and how values are written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings
from lr_lightning.sweeper.arguments import lines_of, split, text
from lr_lightning.sweeper.errors import SearchRefused
from lr_lightning.sweeper.lock import hold

HOW = SearchSettings((Axis("lr", 1e-5, 1.0),))


@pytest.mark.parametrize(
    ("override", "axis"),
    [
        ("x=int(interval(1,8))", Axis("x", 1.0, 8.0, scale="linear", integer=True, widen=False)),
        ("x=interval(0,0.5)", Axis("x", 0.0, 0.5, scale="linear", widen=False)),
        ("x=tag(log,interval(1e-5,0.1))", Axis("x", 1e-5, 0.1, widen=False)),
        ("x=choice(2,4,20)", Axis("x", choices=(2, 4, 20))),
        ("x=choice(true,false)", Axis("x", choices=(True, False))),
        ("x=choice(sgd,'a b')", Axis("x", choices=("sgd", "a b"))),
    ],
)
def test_intervals_and_choices_are_searched(override: str, axis: Axis) -> None:
    settings, repeats = split(None, HOW, [override, "y=1"])
    assert settings.axes[1:] == (axis,)
    assert repeats == [["y=1"]]
    key, _, line = override.partition("=")
    assert split(None, HOW, ["y=1"], lines_of({"params": {key: line}})) == (settings, repeats)


def test_overrides_in_the_sweepers_config_are_as_on_the_command_line() -> None:
    params = {"seed": "0,1", "width": "choice(8, 16)", "dropout": {"low": 0.0, "high": 0.5}}
    assert lines_of({"params": params}) == ["seed=0,1", "width=choice(8, 16)"]
    _, repeats = split(None, HOW, [], ["seed=0,1", "width=choice(8, 16)"])
    assert repeats == [["seed=0"], ["seed=1"]]
    with pytest.raises(SearchRefused, match=r"seed is chosen by the search: drop .seed=3."):
        split(None, HOW, ["seed=3"], ["seed=0,1"])
    with pytest.raises(SearchRefused, match=r"params: .*interval"):
        split(None, HOW, [], ["width=interval(1,"])


@pytest.mark.parametrize("override", ["seed=0,1,2", "seed=range(0,3)", "x=choice([1],[2])"])
def test_other_sweeps_are_repeats_and_said_to_be(override: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        settings, repeats = split(None, HOW, [override])
    assert settings == HOW
    assert len(repeats) > 1
    assert f": its {len(repeats)} values are repeats of each point, scores are averaged over them" in caplog.text


@pytest.mark.parametrize(
    "override", ["x=interval(8,1)", "x=choice(1,1)", "x=tag(log,interval(0,1))", "+lr=choice(1,2)"]
)
def test_a_range_that_makes_no_sense_is_refused_with_what_was_written(override: str) -> None:
    with pytest.raises(SearchRefused, match=re.escape(override)):
        split(None, HOW, [override])


def test_a_searched_parameter_has_no_other_value() -> None:
    with pytest.raises(SearchRefused, match=r"drop .lr=0\.1. from the command line"):
        split(None, HOW, ["lr=0.1"])


@pytest.mark.parametrize("value", [True, False, None, 0.1, 3, "sgd", "it's", "a, b", "x=1", "null", "true", "[1]", "ü"])
def test_values_come_back_from_hydras_grammar(value: object) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"key={text(value)}"])
    found = override.value()
    assert found == value
    assert type(found) is type(value)


def test_one_process_holds_a_searchs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lr_lightning.sweeper.lock.PATIENCE", 0.1)
    code = "import sys, pathlib; from lr_lightning.sweeper.lock import hold; a = hold(pathlib.Path(sys.argv[1])); "
    line = [sys.executable, "-c", code + "print('held', flush=True); sys.stdin.read()", str(tmp_path)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SearchRefused, match=f"is being searched by process {other.pid} on"):
            hold(tmp_path)
        other.kill()
        other.wait()
    assert hold(tmp_path) is not None, "a dead holder's lock doesn't stay"
