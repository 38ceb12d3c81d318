"""Loggers as users have them: with a prefix, on another filesystem, unhashable, and rows of the HParams tab."""

from dataclasses import dataclass

import fsspec
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from lr_lightning.reporting import events
from lr_lightning.reporting.files import local_folder
from lr_lightning.reporting.hparams import row
from lr_lightning.reporting.range_test_writer import RangeTestWriter
from lr_lightning.rules.range_test.result import RangeTestResult
from tests.helpers import logs


@dataclass
class Unhashable(Logger):
    """Python gives a dataclass with ``__eq__`` no hash."""

    size: int = 0
    name = version = "broken"

    def log_metrics(self, metrics, step=None):
        raise OSError("no space left on device")

    def log_hyperparams(self, *args, **options):
        pass


class Slotted:
    """No weak reference can be made to it."""

    __slots__ = ()

    def log_metrics(self, metrics, step=None):
        raise OSError("no space left on device")


@pytest.mark.parametrize("make", [Unhashable, Slotted])
def test_any_failing_logger_is_told_of_once(make):
    one, other = make(), make()
    for logger in (one, other):  # equal ones are different loggers
        with pytest.warns(RuntimeWarning, match=f"{make.__name__} failed .OSError: no space left"):
            events.log_scalars(logs.rank_zero(logger), {"a": 1.0}, 0)
        events.log_scalars(logs.rank_zero(logger), {"a": 1.0}, 1)  # a second warning would be an error here


def test_files_land_on_the_loggers_filesystem(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = TensorBoardLogger("memory://files/logs", name="a", version="b", default_hp_metric=False)
    found = logs.result()
    RangeTestWriter(logs.rank_zero(logger), 0, image=False).finish(found)
    remote = fsspec.filesystem("memory")
    names = {path.rpartition("/")[2] for path in remote.find("/files/logs/a/b")}
    assert {"range_test.html", "range_test.json"} <= names
    (tmp_path / "copy.json").write_bytes(remote.cat("/files/logs/a/b/range_test.json"))
    assert RangeTestResult.load(tmp_path / "copy.json") == found
    assert [path.name for path in tmp_path.iterdir()] == ["copy.json"], "nothing in a local folder named 'memory:'"


def test_a_local_folder_is_used_as_it_is_and_a_tree_goes_to_a_url(tmp_path):
    with local_folder(tmp_path / "x/y") as path:
        assert path == tmp_path / "x/y"
        assert path.is_dir()
    with local_folder("memory://trees/search") as path:
        (path / "0").mkdir()
        (path / "0/events").write_text("a")
        (path / "trials.jsonl").write_text("b")
    remote = fsspec.filesystem("memory")
    found = {path: remote.cat(path) for path in remote.find("/trees")}
    assert found == {"/trees/search/0/events": b"a", "/trees/search/trials.jsonl": b"b"}


@pytest.mark.parametrize(("prefix", "tag"), [("", "lr-SGD"), ("exp1", "exp1-lr-SGD")])
def test_a_prefix_stands_before_the_scalars(tmp_path, prefix, tag):
    logger = TensorBoardLogger(str(tmp_path), name="", version="a", prefix=prefix, default_hp_metric=False)
    events.log_scalars(logs.rank_zero(logger), {"lr-SGD": 0.1}, 0)
    logger.experiment.flush()
    assert events.prefixed(logger, "lr-SGD") == tag
    assert list(logs.read(tmp_path / "a").Tags()["scalars"]) == [tag]


def test_runs_with_equal_hyperparameters_are_rows_of_their_own(tmp_path):
    for name in ("seed1", "seed2"):
        logger = logs.board(tmp_path, name)
        events.add_summary(logger.experiment, row({"lr": 0.1, "kind": "mlp"}), 0)
        logger.experiment.flush()
    read = EventMultiplexer()
    read.AddRunsFromDirectory(str(tmp_path))
    read.Reload()
    found = read.PluginRunToTagToContent(metadata.PLUGIN_NAME)
    starts = [
        metadata.parse_session_start_info_plugin_data(found[run][metadata.SESSION_START_INFO_TAG])
        for run in ("seed1", "seed2")
    ]
    assert [start.group_name for start in starts] == ["", ""]  # TensorBoard takes the run's name then
    assert starts[0].hparams["lr"].number_value == 0.1
    assert starts[0].hparams["kind"].string_value == "mlp"
