"""The HParams tab's own backend reads the rows that a search writes."""

from pathlib import Path

from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.util import tensor_util

from lr_lightning.sweeper.hparams import METRIC, write_rows

LINES = [
    {"job": 0, "values": [0.1, 32], "round": 0, "status": "completed", "repeat": ["seed=0"], "score": 0.5},
    {"job": 1, "values": [0.2, 64], "round": 0, "status": "crashed", "repeat": ["seed=0"], "score": None},
]


def test_each_trial_is_a_row_once(tmp_path: Path) -> None:
    write_rows(tmp_path, ["lr", "batch"], LINES[:1])
    write_rows(tmp_path, ["lr", "batch"], LINES)
    assert len(list(tmp_path.rglob("events.*"))) == 2
    read = EventMultiplexer()
    read.AddRunsFromDirectory(str(tmp_path))
    read.Reload()
    rows = read.PluginRunToTagToContent(metadata.PLUGIN_NAME)
    assert set(rows) == {"0", "1"}, "a summary of the whole search would blank the columns of other runs"
    starts = {
        run: metadata.parse_session_start_info_plugin_data(rows[run][metadata.SESSION_START_INFO_TAG]) for run in "01"
    }
    assert {run: start.hparams["lr"].number_value for run, start in starts.items()} == {"0": 0.1, "1": 0.2}
    assert {start.group_name for start in starts.values()} == {""}, "each row is named as its run"
    assert starts["1"].hparams["status"].string_value == "crashed"
    assert [float(tensor_util.make_ndarray(e.tensor_proto)) for e in read.Tensors("0", METRIC)] == [0.5]
    end = plugin_data_pb2.HParamsPluginData.FromString(rows["1"][metadata.SESSION_END_INFO_TAG])
    assert end.session_end_info.status != 0
