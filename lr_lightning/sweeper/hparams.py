"""One row a trial in TensorBoard's HParams tab, without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lr_lightning.reporting.hparams import row

METRIC = "search/score"
_SUFFIX = ".lr_lightning_trial"


def write_rows(folder: Path, names: list[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a row for each trial that has none yet.

    Args:
        folder: The sweep's folder; a row is a small event file in the trial's own folder below it.
        names: Names of the searched parameters.
        lines: The journal's trials.
    """
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS

    for line in lines:
        run = _folder_of(folder, line)
        if list(run.glob(f"events.*{_SUFFIX}")):
            continue
        values = dict(zip(names, line["values"], strict=True))
        facts = {**values, "round": line["round"], "status": line["status"], "repeat": " ".join(line["repeat"])}
        summaries = [row(facts)]
        if line["score"] is not None:
            summaries.append(_scalar(line["score"]))
        end = STATUS_SUCCESS if line["score"] is not None else STATUS_FAILURE
        _write(run, [*summaries, _session_end(end)])


def _folder_of(folder: Path, line: Mapping[str, Any]) -> Path:
    """The trial's own folder, whatever it is called; where that is unknown, what Hydra calls it by default."""
    output = Path(str(line.get("output") or "")).absolute()
    return output if line.get("output") and output.is_dir() else folder / str(line["job"])


def _session_end(status: int) -> Any:
    """The end of a trial's session, which the tab shows as its status."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    data = HParamsPluginData(session_end_info=SessionEndInfo(status=status), version=metadata.PLUGIN_DATA_VERSION)
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=SummaryMetadata(plugin_data=plugin),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


def _scalar(score: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=METRIC, simple_value=score)])


def _write(folder: Path, summaries: list[Any]) -> None:
    import time

    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder), filename_suffix=_SUFFIX)
    for summary in summaries:
        writer.add_event(Event(wall_time=time.time(), step=0, summary=summary))
    writer.close()
