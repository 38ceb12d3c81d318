"""Reads the tab's records through TensorBoard's data provider: whatever loader and log directory it runs with.

Event files are input from anywhere. A record that can't be read, or that a newer version wrote, becomes a note in words
and leaves the others as they are.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tensorboard.data import provider

from lr_lightning.reporting import records
from lr_lightning.reporting.tensorboard import check

SCALARS = "scalars"
_CHECKS = {
    records.RANGE_TEST: check.range_test,
    records.EVENT: check.event,
    records.SEARCH: check.search,
    records.CURVES: check.curves,
}
MAX_POINTS = 1000
"""TensorBoard keeps this many points a scalar tag."""
POINT_BUDGET = 100_000
"""Points in one training picture, over all runs and tags."""

Filter = provider.RunTagFilter


@dataclass
class Found:
    """Runs with what one view shows of them, and what is to be said about the rest."""

    runs: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Store:
    """The records of one TensorBoard experiment.

    Args:
        data: TensorBoard's ``DataProvider``.
        context: Request context.
        experiment: Experiment id; empty for a local log directory.
    """

    def __init__(self, data: Any, context: Any, experiment: str = "") -> None:
        self._data = data
        self._where = {"ctx": context, "experiment_id": experiment}
        self._tensors: Any = None
        self._scalars: Any = None

    def tensors(self) -> dict[str, dict[str, Any]]:
        """Our tensor series by run and tag."""
        if self._tensors is None:
            self._tensors = self._data.list_tensors(**self._where, plugin_name=records.PLUGIN)
        return self._tensors or {}

    def scalars(self) -> dict[str, dict[str, Any]]:
        """Scalar series by run and tag."""
        if self._scalars is None:
            self._scalars = self._data.list_scalars(**self._where, plugin_name=SCALARS)
        return self._scalars or {}

    def views(self) -> dict[str, set[str]]:
        """For each run, the views (``range_test``, ``training``, ``search``) that have something to show of it."""
        found: dict[str, set[str]] = {}
        for run, tags in self.tensors().items():
            kinds = {_meta(series)[0] for series in tags.values()}
            shown = {"range_test": records.RANGE_TEST, "search": records.SEARCH}
            found[run] = {view for view, kind in shown.items() if kind in kinds}
            if kinds & {records.EVENT, records.CURVES}:
                found[run].add("training")
        for run, tags in self.scalars().items():
            if any(is_lr(tag) for tag in tags):
                found.setdefault(run, set()).add("training")
        return found

    def metrics(self) -> dict[str, int]:
        """Scalar tags that a user may want beside the LR, with the number of runs that have them."""
        counts = Counter(tag for series in self.scalars().values() for tag in series)
        known = {tag for spec in self.curves().values() for tag in spec["lr"]}
        return {tag: count for tag, count in counts.items() if tag not in known and _is_metric(tag)}

    def curves(self, runs: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
        """What ``LRCurves`` says about its tags, by run."""
        found, _ = self._read_json(records.CURVES, runs)
        return {run: next(iter(tags.values())) for run, tags in found.items()}

    def range_tests(self, runs: Collection[str] | None = None) -> Found:
        """Range tests with ``lrs``, ``losses``, ``smoothed`` and the fields of the result; live ones from scalars."""
        bodies, notes = self._read_json(records.RANGE_TEST, runs, suffix="/record")
        curves, more = self._read_curves(runs)
        found = Found(notes=notes + more)
        for run, tags in bodies.items():
            for tag, body in tags.items():
                prefix = tag.rsplit("/", 1)[0]
                curve = curves.get(run, {}).get(f"{prefix}/curve")
                body.update(_columns(curve) if curve is not None else self._live(run, prefix))
                body["last_write"] = self.last_write(run, f"{prefix}/")
                found.runs[run if prefix == records.RANGE_TEST else f"{run} · {prefix}"] = {**body, "run": run}
        return found

    def trainings(self, runs: Collection[str], metrics: Collection[str]) -> Found:
        """LR and the ``metrics`` asked for, with events and epoch starts."""
        events, notes = self._read_json(records.EVENT, runs)
        specs = self.curves(runs)
        found = Found(notes=notes)
        lr_tags = {run: self._lr_tags(run, specs.get(run, {})) for run in runs}
        every = {tag for tags in lr_tags.values() for tag in tags} | set(metrics) | {"epoch"}
        share = POINT_BUDGET // max(1, len(runs) * max(1, max(map(len, lr_tags.values()), default=1) + len(metrics)))
        series = self._read_scalars(runs, every, min(MAX_POINTS, max(100, share)))
        for run in runs:
            own = series.get(run, {})
            found.runs[run] = {
                "lr": {tag: own[tag] for tag in lr_tags[run] if tag in own},
                "loss": {tag: own[tag] for tag in metrics if tag in own},
                "events": sorted(events.get(run, {}).values(), key=lambda event: event["step"]),
                "epochs": _epoch_starts(own.get("epoch")),
            }
        return found

    def searches(self, runs: Collection[str] | None = None) -> Found:
        """Searches as ``write_search`` recorded them."""
        bodies, notes = self._read_json(records.SEARCH, runs)
        return Found({run: next(iter(tags.values())) for run, tags in bodies.items()}, notes)

    def _lr_tags(self, run: str, spec: dict[str, Any]) -> list[str]:
        listed = spec.get("lr") or ()
        return sorted({tag for tag in self.scalars().get(run, {}) if is_lr(tag)} | {str(tag) for tag in listed})

    def _read_json(
        self, kind: str, runs: Collection[str] | None, suffix: str = ""
    ) -> tuple[dict[str, dict[str, dict[str, Any]]], list[str]]:
        """The newest record of each tag of ``kind``, by run and tag, with notes on those that can't be read."""
        tags, notes = self._tags(kind, runs, suffix)
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for run, tag, datum in self._newest(tags):
            try:
                body = json.loads(bytes(datum.numpy.item()))
                if not isinstance(body, dict):
                    raise ValueError(f"expected an object, got {type(body).__name__}")
            except (ValueError, TypeError, AttributeError) as error:
                notes.append(f"{run}: the record {tag} can't be read ({error}).")
                continue
            found.setdefault(run, {})[tag] = _CHECKS[kind](body)
        return found, notes

    def _read_curves(self, runs: Collection[str] | None) -> tuple[dict[str, dict[str, Any]], list[str]]:
        tags, _ = self._tags(records.RANGE_TEST, runs, "/curve")
        found: dict[str, dict[str, Any]] = {}
        notes = []
        for run, tag, datum in self._newest(tags):
            array = np.asarray(datum.numpy)
            if array.ndim == 2 and array.shape[1] >= 2 and array.dtype.kind in "fiu":
                found.setdefault(run, {})[tag] = array.astype(float)
            else:
                notes.append(f"{run}: the curve {tag} has the shape {array.shape}, not [N, 3].")
        return found, notes

    def _tags(self, kind: str, runs: Collection[str] | None, suffix: str) -> tuple[dict[str, list[str]], list[str]]:
        found: dict[str, list[str]] = {}
        notes = []
        for run, tags in self.tensors().items():
            if runs is not None and run not in runs:
                continue
            for tag, series in tags.items():
                own, schema = _meta(series)
                if own != kind or not tag.endswith(suffix):
                    continue
                if schema > records.SCHEMA:
                    notes.append(
                        f"{run}: {tag} was written by a newer lr_lightning (schema {schema}, this one reads up to "
                        f"{records.SCHEMA}). Update lr_lightning where TensorBoard runs."
                    )
                    continue
                found.setdefault(run, []).append(tag)
        return found, notes

    def _newest(self, tags: dict[str, list[str]]) -> Iterable[tuple[str, str, Any]]:
        if not tags:
            return
        wanted = Filter(runs=list(tags), tags=list({tag for own in tags.values() for tag in own}))
        data = self._data.read_tensors(**self._where, plugin_name=records.PLUGIN, downsample=10, run_tag_filter=wanted)
        for run, own in (data or {}).items():
            for tag, points in own.items():
                if points and tag in tags.get(run, ()):
                    yield run, tag, points[-1]

    def _read_scalars(
        self, runs: Collection[str], tags: Collection[str], points: int
    ) -> dict[str, dict[str, tuple[Any, Any]]]:
        wanted = Filter(runs=list(runs), tags=list(tags))
        data = self._data.read_scalars(**self._where, plugin_name=SCALARS, downsample=points, run_tag_filter=wanted)
        return {
            run: {
                tag: (np.array([d.step for d in series], dtype=float), np.array([d.value for d in series], dtype=float))
                for tag, series in own.items()
            }
            for run, own in (data or {}).items()
        }

    def _live(self, run: str, prefix: str) -> dict[str, Any]:
        """A running or killed test, joined from its live scalars by step."""
        tags = {name: f"{prefix}/{name}" for name in records.LIVE}
        own = self._read_scalars([run], list(tags.values()), MAX_POINTS).get(run, {})
        columns = {name: dict(zip(*own.get(tag, ((), ())), strict=True)) for name, tag in tags.items()}
        steps = sorted(set(columns["lr"]) & set(columns["loss"]))
        smoothed = [columns["loss_smoothed"].get(step, np.nan) for step in steps]
        while smoothed and np.isnan(smoothed[-1]):
            smoothed.pop()
        lrs, losses = ([float(columns[name][step]) for step in steps] for name in ("lr", "loss"))
        return {"lrs": lrs, "losses": losses, "smoothed": [float(value) for value in smoothed]}

    def last_write(self, run: str, prefix: str = "") -> float:
        """Time (seconds since the epoch) of the newest record or scalar of ``run`` under ``prefix``; 0 without any."""
        series = [*self.tensors().get(run, {}).items(), *self.scalars().get(run, {}).items()]
        return max((item.max_wall_time for tag, item in series if tag.startswith(prefix)), default=0.0)


def is_lr(tag: str) -> bool:
    """Whether a scalar tag is an LR as ``LRCurves`` and ``LearningRateMonitor`` name it."""
    return tag.startswith("lr-") and not tag.endswith(("-momentum", "-weight_decay"))


def _is_metric(tag: str) -> bool:
    live = re.fullmatch(r".*/(lr|loss|loss_smoothed)", tag) and tag.startswith(records.RANGE_TEST)
    return not (live or tag.startswith(("lr-", "final/")) or tag in ("epoch", "hp_metric"))


def _meta(series: Any) -> tuple[str, int]:
    """Kind and schema of a series; unreadable metadata has no kind."""
    try:
        content = json.loads(series.plugin_content or b"{}")
        return str(content.get("kind", "")), int(content.get("schema", 0))
    except (ValueError, TypeError, AttributeError):
        return "", 0


def _columns(array: Any) -> dict[str, list[float]]:
    keep = np.isfinite(array[:, 0]) & (array[:, 0] > 0)
    array = array[keep]
    smoothed = array[:, 2] if array.shape[1] > 2 else array[:0, 0]
    while len(smoothed) and np.isnan(smoothed[-1]):
        smoothed = smoothed[:-1]
    return {"lrs": array[:, 0].tolist(), "losses": array[:, 1].tolist(), "smoothed": smoothed.tolist()}


def _epoch_starts(series: tuple[Any, Any] | None) -> tuple[list[float], list[float]] | None:
    """First logged step of each epoch, from scalars that Lightning or ``LRCurves`` logged."""
    if series is None or not len(series[0]):
        return None
    first: dict[float, float] = {}
    for step, epoch in zip(*series, strict=True):
        if np.isfinite(epoch):
            first[float(epoch)] = min(step, first.get(float(epoch), step))
    pairs = sorted(first.items())
    return [float(step) for _, step in pairs], [epoch for epoch, _ in pairs]
