"""Event files, read back with TensorBoard's own reader."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from tensorboard.util.tensor_util import make_ndarray

from lr_lightning.reporting import events, records
from lr_lightning.reporting.range_test_writer import RangeTestWriter
from tests.helpers import logs

EVENT = events.LREvent("decay", 120, 3, 0.1, 0.05, "no *downward* trend <b>", "PlateauDecay")


def record(accumulator, tag, index=-1):
    return json.loads(make_ndarray(accumulator.Tensors(tag)[index].tensor_proto).item())


class Failing(TensorBoardLogger):
    """A logger on a full disk."""

    def log_metrics(self, metrics, step=None):
        raise OSError("no space left on device")

    @property
    def experiment(self):
        raise OSError("no space left on device")


def test_a_range_test_can_be_read_back(tmp_path):
    logger, found = logs.write_range_test(tmp_path, "a")
    read_back = logs.read(logger.log_dir)
    curve = make_ndarray(read_back.Tensors("range_test/curve")[0].tensor_proto)
    assert curve.dtype == np.float64
    assert curve.shape == (len(found.lrs), 3)
    np.testing.assert_array_equal(curve[:, 0], found.lrs)
    np.testing.assert_array_equal(curve[:, 1], found.losses)
    np.testing.assert_array_equal(curve[: len(found.smoothed), 2], found.smoothed)
    body = record(read_back, "range_test/record")
    assert body["suggestion"] == found.suggestion
    assert body["zones"]["descending"] == list(found.zones.descending)
    assert body["reason"] == found.reason
    assert record(read_back, "range_test/record", 0)["status"] == "running"
    assert [e.value for e in read_back.Scalars("range_test/lr")] == pytest.approx(found.lrs, rel=1e-6)
    text = make_ndarray(read_back.Tensors("range_test/summary/text_summary")[0].tensor_proto).item().decode()
    assert f"{found.suggestion:.3g}" in text
    content = json.loads(read_back.SummaryMetadata("range_test/record").plugin_data.content)
    assert content == {"schema": records.SCHEMA, "kind": "range_test"}


def test_the_files_land_beside_the_logs_and_nothing_else_does(tmp_path):
    logger, found = logs.board(tmp_path, "a"), logs.result()
    writer = RangeTestWriter(logs.rank_zero(logger), 0)
    writer.finish(found)
    names = {p.name for p in Path(logger.log_dir).iterdir() if "tfevents" not in p.name}
    assert names == {"range_test.html", "range_test.json"}
    assert type(found).load(Path(logger.log_dir, "range_test.json")) == found
    page = Path(logger.log_dir, "range_test.html").read_text()
    assert "Plotly.newPlot" in page
    assert '<script src="http' not in page


def test_a_picture_for_boards_without_the_tab(tmp_path):
    logger = logs.board(tmp_path, "a")
    RangeTestWriter(logs.rank_zero(logger), 0, html=False).finish(logs.result())
    (image,) = logs.read(logger.log_dir).Images("range_test/picture")
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert (image.width, image.height) == (720, 360)


def test_every_logger_gets_the_scalars(tmp_path):
    board, table = logs.board(tmp_path, "a"), CSVLogger(tmp_path, name="", version="csv")
    writer = RangeTestWriter(logs.rank_zero(board, table), 0, html=False, image=False)
    writer.points(0, [0.1, 0.2], [3.0, 2.0], [2.5])
    writer.finish(logs.result())
    table.save()
    with Path(table.log_dir, "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["range_test/loss"]) for row in rows] == [3.0, 2.0]
    assert [event.value for event in logs.read(board.log_dir).Scalars("range_test/loss")] == [3.0, 2.0]


def test_no_logger_and_other_ranks_write_nothing(tmp_path):
    writer = RangeTestWriter(logs.rank_zero(), 0)
    writer.start({})
    writer.points(0, [0.1], [1.0])
    writer.finish(logs.result())
    logger = logs.board(tmp_path, "a")
    other = logs.rank_zero(logger)
    other.is_global_zero = False
    events.write_event(other, EVENT)
    events.log_scalars(other, {"a": 1.0}, 0)
    writer = RangeTestWriter(other, 0, folder=tmp_path / "files")
    writer.start({})
    writer.points(0, [0.1] * 20, [1.0] * 20)
    writer.finish(logs.result())
    assert list(tmp_path.iterdir()) == []


def test_a_given_folder_and_a_tag_that_is_no_path(tmp_path):
    writer = RangeTestWriter(logs.rank_zero(), 0, tag="../my/test", folder=tmp_path / "x", html=False)
    writer.finish(logs.result())
    assert [p.name for p in tmp_path.rglob("*")] == ["x", ".._my_test.json"]


def test_a_failing_logger_is_reported_once_and_the_others_get_theirs(tmp_path):
    bad, good = Failing(str(tmp_path), name="bad"), logs.board(tmp_path, "good")
    trainer = logs.rank_zero(bad, good)
    with pytest.warns(RuntimeWarning, match="Failing failed .OSError: no space left on device.; training goes on"):
        events.log_scalars(trainer, {"a": 1.0}, 0)
    events.log_scalars(trainer, {"a": 2.0}, 1)  # a second warning would be an error here
    events.write_event(trainer, EVENT)
    read_back = logs.read(good.log_dir)
    assert [e.value for e in read_back.Scalars("a")] == [1.0, 2.0]
    assert [tag for tag in read_back.Tags()["tensors"] if tag.startswith("lr_event/0")]


def test_an_event_has_its_own_tag_and_the_same_event_the_same(tmp_path):
    logger = logs.board(tmp_path, "a")
    trainer = logs.rank_zero(logger)
    later = events.LREvent("decay", 240, 6, 0.05, 0.025, "again")
    for event in (EVENT, later, EVENT):
        events.write_event(trainer, event)
    read_back = logs.read(logger.log_dir)
    tags = sorted(tag for tag in read_back.Tags()["tensors"] if tag.startswith("lr_event/0"))
    assert len(tags) == 2
    assert record(read_back, tags[0]) == {
        "kind": "decay", "step": 120, "epoch": 3, "old_lr": 0.1, "new_lr": 0.05,
        "reason": "no *downward* trend <b>", "source": "PlateauDecay",
    }  # fmt: skip
    text = make_ndarray(read_back.Tensors("lr_event/decay/text_summary")[0].tensor_proto).item().decode()
    assert "no \\*downward\\* trend &lt;b&gt;" in text


def test_numbers_that_json_has_no_word_for_become_null():
    values = {"a": math.nan, "b": [math.inf, 1, True, None], "c": {"d": np.float32(2)}, "e": Path("x")}
    assert records.clean(values) == {"a": None, "b": [None, 1, True, None], "c": {"d": 2.0}, "e": "x"}


def test_a_search_is_one_file_that_grows_and_heals(tmp_path):
    trials, rounds = logs.write_search(tmp_path / "s")
    (path,) = (tmp_path / "s").iterdir()
    with path.open("ab") as file:
        file.write(b"\x99\x01\x00\x00\x00\x00\x00\x00half a rec")  # what a kill leaves
    again = events.write_search(tmp_path / "s", trials[:3], rounds[:1], mode="max")
    assert again == path
    assert list((tmp_path / "s").iterdir()) == [path]
    read_back = logs.read(tmp_path / "s")
    assert len(read_back.Tensors("lr_search/record")) == 2
    first, last = (record(read_back, "lr_search/record", index) for index in (0, -1))
    assert (len(first["trials"]), first["mode"], first["metric"]) == (len(trials), "min", "val_loss")
    assert (len(last["trials"]), last["mode"], last["rounds"]) == (3, "max", rounds[:1])


@pytest.mark.parametrize(
    ("trials", "options", "message"),
    [
        ([{"lr": 0.1, "score": 1.0, "round": 0}], {}, "trial 0 lacks status"),
        ([], {"mode": "best"}, "mode must be 'min' or 'max', got 'best'"),
    ],
)
def test_an_incomplete_search_is_refused(tmp_path, trials, options, message):
    with pytest.raises(ValueError, match=message):
        events.write_search(tmp_path, trials, [], **options)


def test_a_kill_loses_at_most_ten_points(tmp_path):
    code = f"""
        import os, signal
        from lr_lightning.reporting.range_test_writer import RangeTestWriter
        from tests.helpers import logs
        trainer = logs.rank_zero(logs.board({str(tmp_path)!r}, "killed"))
        writer = RangeTestWriter(trainer, 0)
        writer.start({{"rule": "x"}})
        for index in range(57):
            writer.points(index, [0.1 * (index + 1)], [1.0], [1.0])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    read_back = logs.read(tmp_path / "killed")
    assert record(read_back, "range_test/record")["status"] == "running"
    assert len(read_back.Scalars("range_test/loss")) >= 57 - 10
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and "tfevents" not in p.name] == []


def test_reporting_imports_neither_torch_nor_lightning():
    code = """
        import sys
        from lr_lightning.cli import review
        from lr_lightning.reporting import events, figures, hparams, range_test_writer, records
        from lr_lightning.reporting.figures import static_image
        from lr_lightning.reporting.tensorboard import plugin, store, views
        banned = {"torch", "lightning", "pytorch_lightning", "matplotlib", "hydra"} & set(sys.modules)
        assert not banned, banned
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ, check=True)


class Shared(Logger):
    """A logger without a folder of its own, as W&B's and MLflow's are."""

    def __init__(self, save_dir, version):
        super().__init__()
        self._save_dir, self._version = save_dir, version

    name = property(lambda self: "team")
    version = property(lambda self: self._version)
    save_dir = property(lambda self: self._save_dir)

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def test_runs_that_share_a_save_dir_have_folders_of_their_own(tmp_path):
    loggers = [Shared(str(tmp_path), "a"), Shared(str(tmp_path), "b"), Shared(None, "c")]
    assert events.log_folders(loggers) == [str(tmp_path / "team" / "a"), str(tmp_path / "team" / "b")]
