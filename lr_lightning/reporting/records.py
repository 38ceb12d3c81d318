"""The records of the "Learning rate" tab: their names, their schema, and the bytes that carry them.

One record is one TensorBoard tensor summary under :data:`PLUGIN`. TensorBoard keeps the first event's metadata of a tag
and samples a tag's tensors (10 or 100 of them, by loader), so: the schema is in the metadata, what changes is in the
tensor, a whole curve is one tensor, and what must never be sampled away has a tag of its own.

TensorBoard's protobufs are imported where they are used. Nothing here imports torch or lightning.
"""

import json
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PLUGIN = "lr_lightning"
SCHEMA = 1
"""Version of the records. A reader takes any record of this version or an older one and names a newer one."""

RANGE_TEST = "range_test"
EVENT = "lr_event"
SEARCH = "lr_search"
CURVES = "lr_curves"
CURVE_COLUMNS = ("lr", "loss", "loss_smoothed")
LIVE = ("lr", "loss", "loss_smoothed")

_SEARCH_SUFFIX = ".lr_lightning_search"


def clean(value: Any) -> Any:
    """``value`` as JSON takes it: numbers that JSON has no word for become None, other objects their text."""
    if isinstance(value, Mapping):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else None


def json_summary(tag: str, kind: str, record: Mapping[str, Any]) -> Any:
    """A summary that carries ``record`` as JSON."""
    from tensorboard.compat.proto import tensor_pb2, tensor_shape_pb2, types_pb2

    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING,
        tensor_shape=tensor_shape_pb2.TensorShapeProto(),
        string_val=[json.dumps(clean(record), separators=(",", ":")).encode()],
    )
    return _summary(tag, kind, tensor)


def scalar_summary(scalars: Mapping[str, float]) -> Any:
    """A summary that carries all ``scalars``: one event instead of one each, a fraction of the cost."""
    from tensorboard.compat.proto import summary_pb2

    value = summary_pb2.Summary.Value
    return summary_pb2.Summary(value=[value(tag=tag, simple_value=float(number)) for tag, number in scalars.items()])


def curve_summary(tag: str, rows: Sequence[Sequence[float]]) -> Any:
    """A summary that carries a range test's curve as one float64 tensor of shape ``[N, 3]``: :data:`CURVE_COLUMNS`."""
    from tensorboard.compat.proto import tensor_pb2, tensor_shape_pb2, types_pb2

    flat = [float(value) for row in rows for value in row]
    sizes = (len(rows), len(CURVE_COLUMNS))
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_DOUBLE,
        tensor_shape=tensor_shape_pb2.TensorShapeProto(
            dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in sizes]
        ),
        tensor_content=struct.pack(f"<{len(flat)}d", *flat),
    )
    return _summary(tag, RANGE_TEST, tensor)


def _summary(tag: str, kind: str, tensor: Any) -> Any:
    from tensorboard.compat.proto import summary_pb2

    content = json.dumps({"schema": SCHEMA, "kind": kind}).encode()
    metadata = summary_pb2.SummaryMetadata(
        plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=PLUGIN, content=content),
        data_class=summary_pb2.DATA_CLASS_TENSOR,  # without it TensorBoard's readers see nothing
    )
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def append_search(log_dir: str | Path, summary: Any, step: int) -> Path:
    """Append ``summary`` to the search's own event file in ``log_dir``, which is made where it is missing.

    One file a search: TensorBoard never returns to an older file of a folder, and a file a call would pile up. The end
    of a record cut off by a kill is dropped first; readers wait at exactly that place.

    Returns:
        The event file.
    """
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder = Path(log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob(f"events.out.tfevents.*{_SEARCH_SUFFIX}"))
    name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}{_SEARCH_SUFFIX}"
    path = found[-1] if found else folder / name
    with path.open("r+b" if found else "w+b") as file:
        file.seek(_whole(path))
        file.truncate()
        writer = RecordWriter(file)
        if file.tell() == 0:
            version = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
            writer.write(version.SerializeToString())
        event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
        writer.write(event.SerializeToString())
    return path


def _whole(path: Path) -> int:
    """Length in bytes of the whole records at the start of an event file (length, crc, data, crc)."""
    size, end = path.stat().st_size, 0
    with path.open("rb") as file:
        while end + 12 <= size:
            file.seek(end)
            following = end + 16 + int(struct.unpack("<Q", file.read(8))[0])
            if following > size:
                break
            end = following
    return end
