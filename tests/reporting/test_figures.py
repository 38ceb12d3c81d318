"""Figures: what they show, and that text stays text."""

import json
import math

import plotly.graph_objects as go
import pytest

from lr_lightning.reporting import figures
from lr_lightning.reporting.figures.scale import value_axis
from lr_lightning.reporting.figures.training import positions
from lr_lightning.rules.range_test.peers import PEERS
from tests.helpers import logs

EVIL = "<script>alert(1)</script><a href='javascript:x'>run</a>"


def training(**more):
    steps = list(range(0, 100, 10))
    return {"lr": {"lr-SGD": (steps, [0.1] * 10)}, "loss": {"loss": (steps, [1.0] * 10)}, **more}


def shapes(figure, kind):
    return [shape for shape in figure.layout.shapes if shape.type == kind]


def test_one_range_test_shows_zones_suggestion_and_interval():
    found = logs.result()
    figure = figures.range_test_figure(found)
    assert figure.layout.xaxis.type == "log"
    zones = {(shape.x0, shape.x1) for shape in shapes(figure, "rect")}
    assert zones == {found.zones.flat, found.zones.descending, found.zones.diverging}
    named = " ".join(shape.name for shape in figure.layout.shapes if shape.showlegend)
    for words in ("too low: flat", "descending", "too high: diverging", "interval"):
        assert words in named, "the legend explains the colours"
    interval, suggestion = shapes(figure, "line")
    assert (interval.x0, interval.x1) == found.interval
    assert suggestion.x0 == suggestion.x1 == found.suggestion
    raw, light, rule, _ = figure.data
    assert [raw.name, light.name, rule.name] == ["loss", "smoothed lightly", "what the rule reads"]
    assert tuple(rule.y) == found.smoothed
    assert min(light.y) == pytest.approx(min(found.losses), abs=0.15), "it follows the losses that one sees"
    assert min(rule.y) > min(light.y)
    low, high = figure.layout.yaxis.range
    assert low < min(found.smoothed)
    assert high < max(found.losses), "the explosion must not flatten the descent"


def test_peers_are_thin_lines_on_request():
    found = logs.result()
    plain, peers = (figures.range_test_figure(found, peers=on) for on in (False, True))
    lines = {trace.name.split()[0]: trace.x[0] for trace in peers.data[len(plain.data) :]}
    assert lines == {rule: lr for rule, lr in found.suggestions().items() if lr and rule in PEERS}
    assert "lightning" in lines


def test_several_range_tests_have_bars_for_zones():
    found = {"a": logs.result(), "b": logs.result(0.5)}
    figure = figures.range_test_figure(found)
    bands = [tuple(trace.x) for trace in figure.data if trace.yaxis == "y2" and trace.mode == "lines"]
    for one in found.values():
        assert one.zones.descending in bands
        assert one.interval in bands
    many = figures.range_test_figure({str(index): logs.result() for index in range(13)})
    assert not [trace for trace in many.data if trace.yaxis == "y2"]


@pytest.mark.parametrize("values", [[1.0] * 4, [math.nan] * 4, [1.0, math.inf, -2.0, math.nan], [0.0] * 4])
def test_any_losses_make_a_figure(values):
    data = {"lrs": [1e-3, 1e-2, 1e-1, 1.0], "losses": values, "smoothed": values[:2]}
    figure = figures.range_test_figure(data)
    assert json.loads(figure.to_json())["data"]


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (lambda: figures.range_test_figure({}), "No range test"),
        (lambda: figures.training_figure({}), "No learning rates"),
        (lambda: figures.search_figure({}), "No trials"),
    ],
)
def test_an_empty_figure_says_so(figure, words):
    assert words in figure().layout.annotations[0].text


def test_names_and_reasons_are_text():
    event = {"kind": EVIL, "step": 50, "epoch": 0, "old_lr": 0.1, "new_lr": 0.01, "reason": EVIL, "source": EVIL}
    search = {
        "trials": [{"lr": 0.1, "score": 1.0, "round": 0, "status": EVIL, "note": EVIL}], "rounds": [], "metric": EVIL
    }  # fmt: skip
    drawn = [
        figures.range_test_figure({EVIL: logs.result(), f"{EVIL}2": {**logs.result().to_dict(), "reason": EVIL}}),
        figures.training_figure({EVIL: training(events=[event])}, loss=EVIL),
        figures.training_figure({EVIL: training(loss={EVIL: ([1], [1]), "b": ([1], [1])}), "b": training()}),
        figures.search_figure(search),
        figures.formula_figure({EVIL: ([0, 1], [1, 2])}, x_title=EVIL),
    ]
    shown = [json.dumps(_visible(json.loads(figure.to_json()))) for figure in drawn]
    for text in shown:
        assert "<script" not in text
        assert "<a " not in text
        assert "&lt;script" in text


def _visible(node):
    """A figure without the keys that are never drawn."""
    if isinstance(node, dict):
        return {key: _visible(value) for key, value in node.items() if key != "legendgroup"}
    return [_visible(item) for item in node] if isinstance(node, list) else node


def test_training_has_two_axes_and_an_event_with_its_reason():
    event = {"kind": "decay", "step": 50, "epoch": 5, "old_lr": 0.1, "new_lr": 0.01, "reason": "it stopped"}
    figure = figures.training_figure({"a": training(events=[event])})
    assert figure.layout.yaxis2.type == "log"
    marks = [trace for trace in figure.data if trace.hovertext]
    assert (tuple(marks[0].x), tuple(marks[0].y)) == ((50,), (0.01,))
    assert "it stopped" in marks[0].hovertext[0]
    assert "0.1 → 0.01" in marks[0].hovertext[0]
    assert [shape.x0 for shape in figure.layout.shapes] == [50]
    heights = {axis.domain[1] - axis.domain[0] for axis in (figure.layout.yaxis, figure.layout.yaxis2)}
    assert max(heights) == pytest.approx(min(heights)), "the LR's panel is as tall as the loss's"
    with pytest.raises(ValueError, match="x must be 'step', 'epoch' or 'time', got 'days'"):
        figures.training_figure({}, x="days")


def test_the_dash_of_a_metric_is_the_same_in_every_run():
    both = training(loss={"train_loss": ([0, 1], [1, 2]), "val_loss": ([0, 1], [1, 2])})
    figure = figures.training_figure({"a": both, "b": training(loss={"val_loss": ([0, 1], [1, 2])})})
    dashes = {(trace.legendgroup, trace.meta): trace.line.dash for trace in figure.data if trace.yaxis == "y"}
    assert dashes == {("a", "train_loss"): "solid", ("a", "val_loss"): "dash", ("b", "val_loss"): "dash"}


@pytest.mark.parametrize(
    ("steps", "epochs", "wanted"),
    [
        ([0, 5, 10, 15], ([0, 10], [0, 1]), [0, 0.5, 1, 1.5]),
        ([0, 5, 25], ([0, 10], [3, 4]), [3, 3.5, 5.5]),
        ([0, 4, 9], ([0], [0]), [0, 0.4, 0.9]),
        ([7], None, [7]),
        ([0, 20], ([0, 20], [0, 2]), [0, 2]),
    ],
)
def test_epochs_from_steps(steps, epochs, wanted):
    assert positions(steps, epochs, "epoch") == pytest.approx(wanted)


def test_a_search_shows_scores_failures_intervals_and_the_best(tmp_path):
    trials, rounds = logs.write_search(tmp_path)
    figure = figures.search_figure({"trials": trials, "rounds": rounds, "metric": "val_loss", "mode": "min"})
    failed = [trace for trace in figure.data if trace.yaxis == "y3"]
    history = next(trace for trace in figure.data if trace.name == "record so far")
    assert list(history.y) == sorted(history.y, reverse=True)
    symbols = [symbol for trace in failed for symbol in trace.marker.symbol]
    assert symbols.count("square-open") == sum(t["status"] == "crashed" for t in trials) == 1
    assert symbols.count("x") == sum(t["status"] == "diverged" for t in trials)
    tried = [tuple(trace.x) for trace in figure.data if trace.name.startswith("tried")]
    assert tried == [(r["low"], r["high"]) for r in rounds]
    drawn = [trace for trace in figure.data if trace.name.startswith("round") and trace.x[0] is not None]
    scored = [symbol for trace in drawn for symbol in trace.marker.symbol if symbol in ("circle", "triangle-up")]
    assert len(scored) == sum(t["status"] == "ok" for t in trials)
    (best,) = [trace for trace in figure.data if trace.name.startswith("best")]
    assert best.y[0] == min(t["score"] for t in trials if t["score"] is not None)
    upside_down = figures.search_figure({"trials": trials, "rounds": rounds, "mode": "max"})
    (worst,) = [trace for trace in upside_down.data if trace.name.startswith("best")]
    assert worst.y[0] == max(t["score"] for t in trials if t["score"] is not None)


def test_formulas_side_by_side():
    figure = figures.formula_figure({"a": ([0, 1], [0.1, 0.2]), "b": ([0, 1], [1, 2])}, x_title="epoch", log=True)
    assert isinstance(figure, go.Figure)
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.xaxis.title.text == "epoch"


def test_the_steep_start_of_a_training_stays_on_a_log_axis_and_a_diverged_run_leaves_it():
    falling = [2.4 * 10 ** (-step / 40) for step in range(140)]
    validation = [0.08, 0.05, 0.04, 0.03]
    axis = value_axis([falling, validation], clip=True, scale="auto")
    assert axis["type"] == "log"
    low, high = axis["range"]
    assert low < math.log10(min(falling)) < math.log10(2.4) < high < 1
    wild = [10.0 ** (step / 8) for step in range(140)]
    assert value_axis([falling, validation, wild], clip=True, scale="auto")["range"][1] < 1
    assert value_axis([falling, validation, wild], clip=False, scale="auto")["range"][1] > 15


def test_axes_hold_lines_that_stand_still_and_any_number_of_panels():
    low, high = value_axis([[0.0, 0.0]], clip=True, scale="auto")["range"]
    assert low < 0 < high
    steps = list(range(3))
    run = training(loss={f"metric_{n}/x": (steps, [1.0] * 3) for n in range(60)})
    figure = figures.training_figure({"run": run})
    assert len([key for key in figure.layout.to_plotly_json() if key.startswith("yaxis")]) == 61


def test_long_names_that_differ_in_the_middle_are_lines_of_their_own():
    names = [f"{'a' * 30}_{n}_{'b' * 30}" for n in range(3)]
    figure = figures.training_figure({name: training() for name in names})
    assert {trace.legendgroup for trace in figure.data} == set(names)


def test_what_a_log_axis_cannot_show_is_told():
    run = training(loss={"loss": (list(range(10)), [-1.0] * 10)})
    assert figures.training_figure({"run": run}, scale="log").layout.meta["linear"] == ["loss"]
    run = training(loss={"loss": (list(range(10)), [1 - 0.2 * step for step in range(10)])})
    assert figures.training_figure({"run": run}, scale="log").layout.meta["below"] == ["run"]


def test_a_search_without_a_score_and_a_range_test_without_a_point_say_why():
    trials = [{"lr": 0.1, "score": None, "round": 0, "status": end} for end in ("crashed", "crashed", "diverged")]
    record = {"trials": trials, "rounds": [{"low": 0.01, "high": 1.0}], "reason": "out of <memory>"}
    (said,) = figures.search_figure(record).layout.annotations
    assert said.text == "<b>No trial has a score</b>: 2 crashed, 1 diverged.<br>out of &lt;memory&gt;"
    aborted = {"lrs": [], "losses": [], "smoothed": [], "status": "aborted", "reason": "KeyboardInterrupt"}
    (said,) = figures.range_test_figure({"run": aborted}).layout.annotations
    assert said.text == "No points: aborted. KeyboardInterrupt"
