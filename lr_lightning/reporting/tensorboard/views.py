"""One payload a view: the figure as plotly's plain data, a table, and notes in words. Tab and HTML export share it."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.records import clean
from lr_lightning.reporting.tensorboard import tables
from lr_lightning.reporting.tensorboard.names import ColorBook, base, labels, natural
from lr_lightning.reporting.tensorboard.store import Store

VIEWS = ("range_test", "training", "search")
CHOICES = {"x": ("step", "epoch", "time"), "scale": ("auto", "linear", "log")}
Payload = dict[str, Any]


def options_of(given: Mapping[str, Any], metrics: Sequence[str] = ()) -> dict[str, Any]:
    """What a request asks for, with the defaults for what it doesn't say or says wrongly.

    Args:
        given: Words by name: ``dark``, ``peers`` (``1`` or ``0``), ``clip`` (``1``, the default, or ``0``), ``x``,
            ``scale``, and ``smooth``, a number.
        metrics: Tags of the metrics to draw.
    """
    chosen = {name: given[name] if given.get(name) in words else words[0] for name, words in CHOICES.items()}
    try:
        smooth = min(max(float(given.get("smooth", 0.0)), 0.0), 0.999)
    except (TypeError, ValueError):
        smooth = 0.0
    flags = {name: str(given.get(name, "0")) in ("1", "True") for name in ("dark", "peers")}
    clip = str(given.get("clip", "1")) not in ("0", "False")
    # NaN compares false with everything.
    return {**chosen, **flags, "clip": clip, "smooth": smooth if smooth == smooth else 0.0, "metrics": list(metrics)}


def overview(store: Store, book: ColorBook | None = None, dark: bool = False) -> Payload:
    """What there is: runs with their colours, labels and views, metrics, those to show first, and the last write."""
    views = store.views()
    colors = run_colors(store, book, dark)
    names = sorted(views, key=natural)
    shown = labels(tuple(names))
    return {
        "runs": [
            {"name": name, "label": shown[name], "color": colors[name], "views": sorted(views[name])} for name in names
        ],
        "metrics": sorted(store.metrics()),
        "chosen": default_metrics(store),
        "wrote": store.wrote(),
    }


def run_colors(store: Store, book: ColorBook | None, dark: bool) -> dict[str, str]:
    """The colour of each run; see :class:`ColorBook`."""
    slots = (book or ColorBook()).assign(store.begun())
    return {run: style.color(slot, dark) for run, slot in slots.items()}


def payload(
    store: Store,
    view: str,
    runs: Sequence[str],
    options: Mapping[str, Any],
    book: ColorBook | None = None,
) -> Payload:
    """One view of ``runs``.

    Args:
        store: Where to read.
        view: One of :data:`VIEWS`.
        runs: Names of the runs to show.
        options: See :func:`options_of`; what is missing has its default.
        book: Remembers the colours; without one they are those of a TensorBoard started now.

    Returns:
        ``figure`` (``data`` and ``layout``), ``table`` (``head``, ``rows``), ``notes`` and ``live``: whether to ask
        again soon.

    Raises:
        ValueError: If ``view`` is unknown.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {view!r}")
    wanted = options_of(options, options.get("metrics") or ())
    if not runs and store.views():
        figure = style.empty("No run is chosen: tick one at the left.", wanted["dark"])
        return {"figure": figure, "table": {"head": tables.HEADS[view], "rows": []}, "notes": [], "live": False}
    build = {"range_test": tables.range_test, "training": tables.training, "search": tables.search}[view]
    wanted["labels"] = labels(tuple(sorted(store.views(), key=natural)))
    result = build(store, sorted(runs, key=natural), wanted, run_colors(store, book, wanted["dark"]))
    result["figure"]["layout"]["uirevision"] = f"{view} {wanted['x']} {wanted['scale']} {wanted['clip']}"
    result["notes"] = result["notes"][: tables.MOST_NOTES]
    return result


def to_json(result: Payload) -> str:
    """The payload as JSON; arrays as bytes, what JSON has no word for as null."""
    figure = result["figure"]
    for trace in figure["data"]:
        for key in ("x", "y"):
            if isinstance(trace.get(key), (list, tuple)):
                trace[key] = clean(trace[key])
    rest = {key: value for key, value in result.items() if key != "figure"}
    whole = {"figure": figure, "rest": rest}
    try:
        return json.dumps(whole, default=_packed, allow_nan=False, separators=(",", ":"))
    except ValueError:  # some range or size beyond what a float holds: without it plotly.js chooses one
        return json.dumps(clean({"figure": _lists(figure), "rest": rest}), allow_nan=False, separators=(",", ":"))


def _lists(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def _packed(value: Any) -> Any:
    """An array as plotly.js takes it: base64 of its bytes, whole numbers in four bytes each."""
    if not isinstance(value, np.ndarray):
        return clean(value)
    if value.dtype == np.float64 and len(value) and np.all(np.isfinite(value)) and np.all(np.abs(value) < 2**31):
        whole: Any = value.astype(np.int32)
        value = whole if np.array_equal(whole, value) else value
    kind = {"d": "f8", "f": "f4", "i": "i4"}.get(value.dtype.char)  # its name takes as long as the packing
    if kind is None:
        return clean(value.tolist())
    return {"dtype": kind, "bdata": base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()}


def default_metrics(store: Store) -> list[str]:
    """The training loss and the validation loss, as far as their names tell; of several, what most runs have."""
    counts = store.metrics()
    before = sorted({prefix for run in store.scalars() for prefix in store.prefixes(run)}, key=len, reverse=True)
    losses = sorted((tag for tag in counts if "loss" in tag.lower()), key=lambda tag: (-counts[tag], tag))
    validation = [tag for tag in losses if base(tag, before).lower().startswith("val")]
    training = [tag for tag in losses if tag not in validation]
    return [*training[:1], *validation[:1]] or sorted(counts)[:1]
