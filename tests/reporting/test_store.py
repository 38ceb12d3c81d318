"""The tab's data from real event files, through both of TensorBoard's ways to read them."""

import json
import math
import struct

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lr_lightning.cli import review
from lr_lightning.reporting import events, records
from lr_lightning.reporting.range_test_writer import RangeTestWriter
from lr_lightning.reporting.tensorboard import views
from tests.helpers import logs

SHOW = {"metrics": ["curves/loss"]}


def store(folder):
    return review._store(folder)


def add(logger, tag, kind, body, schema=records.SCHEMA):
    """Write a record as another version of the package might."""
    summary = records.json_summary(tag, kind, body)
    summary.value[0].metadata.plugin_data.content = json.dumps({"schema": schema, "kind": kind}).encode()
    events.add_summary(logger.experiment, summary, 0)
    logger.experiment.flush()


def test_a_finished_and_a_running_range_test(tmp_path):
    _, found = logs.write_range_test(tmp_path, "done")
    logger = logs.board(tmp_path, "live")
    writer = RangeTestWriter(logs.rank_zero(logger), 0)
    writer.start({"rule": "x"})
    writer.points(0, [0.1, 0.2, 0.3], [3.0, math.nan, 2.0], [3.0, 2.5])
    logger.experiment.flush()
    tests = store(tmp_path).range_tests().runs
    np.testing.assert_array_equal(tests["done"]["losses"], found.losses)
    assert tests["done"]["suggestion"] == found.suggestion
    assert tests["live"]["lrs"] == pytest.approx([0.1, 0.2, 0.3])
    assert np.isnan(tests["live"]["losses"][1])
    assert tests["live"]["smoothed"] == pytest.approx([3.0, 2.5])
    shown = views.payload(store(tmp_path), "range_test", ["done", "live"], {})
    assert shown["live"] is True
    assert [row["cells"][5] for row in shown["table"]["rows"]] == ["ok", "running"]


def test_two_range_tests_of_one_run(tmp_path):
    logger, _ = logs.write_range_test(tmp_path, "a")
    writer = RangeTestWriter(logs.rank_zero(logger), 50, tag="again", html=False, image=False)
    writer.finish(logs.result(0.5))
    assert set(store(tmp_path).range_tests().runs) == {"a", "a · again"}


def test_training_with_events_and_epochs(tmp_path):
    logger = logs.board(tmp_path, "a")
    logs.write_training(logger)
    run = store(tmp_path).trainings(["a"], ["curves/loss"]).runs["a"]
    assert set(run["lr"]) == {"lr-SGD"}
    assert len(run["loss"]["curves/loss"]) == 100
    assert [(event["kind"], event["step"]) for event in run["events"]] == [("decay", 667), ("decay", 1334)]
    assert run["epochs"] == ([200.0 * epoch for epoch in range(10)], [float(epoch) for epoch in range(10)])
    assert store(tmp_path).metrics() == {"curves/loss": 1}


def test_lr_curves_names_tags_that_do_not_look_like_lrs(tmp_path):
    logger = logs.board(tmp_path, "a")
    events.log_scalars(logs.rank_zero(logger), {"my schedule": 0.1, "loss": 1.0}, 0)
    add(logger, "lr_curves/record", records.CURVES, {"lr": ["my schedule"]})
    assert set(store(tmp_path).trainings(["a"], []).runs["a"]["lr"]) == {"my schedule"}
    assert store(tmp_path).metrics() == {"loss": 1}


def test_a_search(tmp_path):
    trials, rounds = logs.write_search(tmp_path / "search")
    found = store(tmp_path).searches().runs["search"]
    assert [trial["lr"] for trial in found["trials"]] == [trial["lr"] for trial in trials]
    assert [(r["low"], r["high"]) for r in found["rounds"]] == [(r["low"], r["high"]) for r in rounds]
    shown = views.payload(store(tmp_path), "search", ["search"], {})
    assert sum("best of the tried" in row["cells"][4] for row in shown["table"]["rows"]) == 1


def test_a_newer_schema_is_named_and_the_rest_is_shown(tmp_path):
    logs.write_range_test(tmp_path, "old")
    add(logs.board(tmp_path, "new"), "range_test/record", records.RANGE_TEST, {"status": "?"}, schema=2)
    shown = views.payload(store(tmp_path), "range_test", ["old", "new"], {})
    assert [row["cells"][0] for row in shown["table"]["rows"]] == ["old"]
    assert shown["notes"] == [
        "new: range_test/record was written by a newer lr_lightning (schema 2, this one reads up to 1). "
        "Update lr_lightning where TensorBoard runs."
    ]


def test_a_broken_event_file_leaves_the_others(tmp_path):
    logs.write_range_test(tmp_path, "whole")
    logger, _ = logs.write_range_test(tmp_path, "cut")
    logger.finalize("success")
    (path,) = (tmp_path / "cut").glob("events*")
    path.write_bytes(path.read_bytes()[:-700])
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/events.out.tfevents.1.host").write_bytes(struct.pack("<Q", 2**40) + b"junk" * 50)
    shown = views.payload(store(tmp_path), "range_test", ["whole", "cut", "junk"], {})
    rows = {row["cells"][0]: row["cells"] for row in shown["table"]["rows"]}
    assert rows["whole"][5] == "ok"
    assert rows["cut"][5] == "running"


BAD = [
    {},
    {"suggestion": "<b>", "zones": [1, 2], "interval": "x", "suggestions": 3, "reason": None, "status": 5},
    {"suggestion": -1, "zones": {"flat": [0, "x"]}, "interval": [1], "suggestions": {"a": None, "b": -2}},
]


@pytest.mark.parametrize("body", BAD)
def test_a_range_test_of_wrong_types_is_shown_as_far_as_it_goes(tmp_path, body):
    logger = logs.board(tmp_path, "a")
    events.add_summary(logger.experiment, records.curve_summary("range_test/curve", [(0.1, 1, 1), (0.2, 2, 2)]), 0)
    add(logger, "range_test/record", records.RANGE_TEST, body)
    shown = views.payload(store(tmp_path), "range_test", ["a"], {"peers": True})
    assert json.loads(views.to_json(shown))["rest"]["table"]["rows"][0]["cells"][1] == "–"


@pytest.mark.parametrize(
    ("kind", "tag", "body", "view"),
    [
        ("lr_event", "lr_event/x", {"step": "x", "old_lr": None, "new_lr": [], "kind": {}, "reason": 5}, "training"),
        ("lr_search", "lr_search/record", {"trials": [{"lr": 0}, 5, {"lr": 0.1}], "rounds": [{"low": 1}]}, "search"),
        ("lr_search", "lr_search/record", {"trials": "x", "rounds": None, "mode": 5}, "search"),
        ("lr_curves", "lr_curves/record", {"lr": 5}, "training"),
    ],
)
def test_records_of_wrong_types_break_nothing(tmp_path, kind, tag, body, view):
    add(logs.board(tmp_path, "a"), tag, kind, body)
    shown = views.payload(store(tmp_path), view, ["a"], SHOW)
    assert json.loads(views.to_json(shown))["figure"]["layout"]


def test_records_that_are_no_json_are_noted(tmp_path):
    logger = logs.board(tmp_path, "a")
    summary = records.json_summary("range_test/record", records.RANGE_TEST, {})
    summary.value[0].tensor.string_val[0] = b"{nonsense"
    events.add_summary(logger.experiment, summary, 0)
    logger.experiment.flush()
    assert store(tmp_path).range_tests().notes[0].startswith("a: the record range_test/record can't be read")


def test_a_curve_of_another_shape_is_noted(tmp_path):
    logger = logs.board(tmp_path, "a")
    summary = records.curve_summary("range_test/curve", [(1, 1, 1)])
    summary.value[0].tensor.tensor_shape.dim[1].size = 1
    summary.value[0].tensor.tensor_shape.dim[0].size = 3
    events.add_summary(logger.experiment, summary, 0)
    add(logger, "range_test/record", records.RANGE_TEST, {"status": "ok"})
    assert store(tmp_path).range_tests().notes == ["a: the curve range_test/curve has the shape (3, 1), not [N, 3]."]


def test_infinite_and_zero_lrs_are_left_out(tmp_path):
    logger = logs.board(tmp_path, "a")
    rows = [(0.0, 1, 1), (math.inf, 1, 1), (0.1, math.inf, math.nan), (0.2, 2, math.nan)]
    events.add_summary(logger.experiment, records.curve_summary("range_test/curve", rows), 0)
    add(logger, "range_test/record", records.RANGE_TEST, {"status": "ok", "suggestion": 0.1})
    shown = views.payload(store(tmp_path), "range_test", ["a"], {})
    assert json.loads(views.to_json(shown))["rest"]["table"]["rows"][0]["cells"][4] == "2"


def test_what_is_shown_first():
    assert sorted(["version_10", "version_9", "a/2", "a/10"], key=views.natural) == [
        "a/2", "a/10", "version_9", "version_10",
    ]  # fmt: skip


def test_default_metrics_are_what_most_runs_have(tmp_path):
    for name, scalars in {"a": {"train_loss": 1, "val_loss": 1}, "b": {"train_loss": 1, "other_loss": 1}}.items():
        logger = logs.board(tmp_path, name)
        events.log_scalars(logs.rank_zero(logger), {"lr-SGD": 0.1, **scalars}, 0)
        logger.experiment.flush()
    assert views.default_metrics(store(tmp_path)) == ["train_loss", "val_loss"]
    assert views.overview(store(tmp_path))["metrics"] == ["other_loss", "train_loss", "val_loss"]


def test_a_logger_prefix_that_says_lr_itself(tmp_path):
    logger = TensorBoardLogger(str(tmp_path), name="", version="a", prefix="lr-sweep", default_hp_metric=False)
    events.log_scalars(logs.rank_zero(logger), {"lr-SGD": 0.1, "train_loss": 1.0, "epoch": 0}, 0)
    logger.experiment.flush()
    run = store(tmp_path).trainings(["a"], ["lr-sweep-train_loss"]).runs["a"]
    assert set(run["lr"]) == {"lr-sweep-lr-SGD"}
    assert store(tmp_path).metrics() == {"lr-sweep-train_loss": 1}


def test_param_groups_are_in_the_order_of_their_numbers(tmp_path):
    logger = logs.board(tmp_path, "a")
    tags = [f"lr-AdamW/pg{number}" for number in range(1, 12)]
    events.log_scalars(logs.rank_zero(logger), dict.fromkeys(tags, 0.1), 0)
    logger.experiment.flush()
    assert [*store(tmp_path).trainings(["a"], []).runs["a"]["lr"]] == tags
