"""The tab's records, through TensorBoard's data provider: whatever loader and log directory it runs with.

Event files are input from anywhere. A record that can't be read, or that a newer version wrote, becomes a note in words
and leaves the others as they are.
"""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from lr_lightning.reporting import records
from lr_lightning.reporting.tensorboard import check
from lr_lightning.reporting.tensorboard.names import base, is_lr, natural, prefixes
from lr_lightning.reporting.tensorboard.read import BROKEN, body_of, kind_and_schema, read, said
from lr_lightning.reporting.tensorboard.series import (
    Restart,
    Series,
    after_restarts,
    epoch_starts,
    live_rows,
    newest,
    overtaken,
    thin,
)

SCALARS = "scalars"
_CHECKS = {
    records.RANGE_TEST: check.range_test,
    records.EVENT: check.event,
    records.SEARCH: check.search,
    records.CURVES: check.curves,
}
MAX_POINTS = 1000
"""TensorBoard keeps this many points a scalar tag."""
POINT_BUDGET = 30_000
"""Points in one training picture, over all runs and tags: plotly.js draws so many in a fifth of a second."""
SHARES = (MAX_POINTS, 500, 250, 150, 100, 50)
"""Points of one line: few different numbers, so that one run more or less doesn't read all of them anew."""
CHOICE = 2
"""Points read for each that is drawn: the least and the greatest of a stretch are taken."""


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
        self._specs: dict[str, dict[str, Any]] | None = None
        self._kept: dict[tuple[str, str], tuple[int, Series, list[Restart]]] = {}
        self._thin: dict[tuple[str, str], tuple[int, int, Series]] = {}
        self._bodies: dict[tuple[str, str], tuple[dict[str, Any], float] | str] = {}
        self._views: dict[str, set[str]] | None = None
        self._begun: dict[str, float] | None = None
        self._metrics: dict[str, int] | None = None

    def take_over(self, older: "Store") -> None:
        """Take what ``older`` has read of series that nothing was written to since."""
        _take_over(older._kept, older.scalars(), self._kept, self.scalars())
        _take_over(older._bodies, older.tensors(), self._bodies, self.tensors())

    def wrote(self) -> float:
        """Time (seconds since the epoch) of the newest record or scalar of all; 0 without any."""
        every = [*self.tensors().values(), *self.scalars().values()]
        times = [series.max_wall_time or 0.0 for own in every for series in own.values()]
        return max((time for time in times if np.isfinite(time)), default=0.0)

    def tensors(self) -> dict[str, dict[str, Any]]:
        """Our tensor series by run and tag."""
        if self._tensors is None:
            self._tensors = self._data.list_tensors(**self._where, plugin_name=records.PLUGIN) or {}
        found: dict[str, dict[str, Any]] = self._tensors
        return found

    def scalars(self) -> dict[str, dict[str, Any]]:
        """Scalar series by run and tag."""
        if self._scalars is None:
            self._scalars = self._data.list_scalars(**self._where, plugin_name=SCALARS) or {}
        found: dict[str, dict[str, Any]] = self._scalars
        return found

    def begun(self) -> dict[str, float]:
        """When each run with something to show began, in seconds since the epoch; infinity where unknown."""
        if self._begun is None:
            try:
                times = {run.run_id: run.start_time for run in self._data.list_runs(**self._where)}
            except (AttributeError, *BROKEN):
                times = {}
            self._begun = {run: float(times.get(run) or np.inf) for run in self.views()}
        return self._begun

    def views(self) -> dict[str, set[str]]:
        """For each run, the views (``range_test``, ``training``, ``search``) that have something to show of it."""
        if self._views is not None:
            return self._views
        found: dict[str, set[str]] = {}
        for run, tags in self.tensors().items():
            kinds = {kind_and_schema(series)[0] for series in tags.values()}
            shown = {"range_test": records.RANGE_TEST, "search": records.SEARCH}
            found[run] = {view for view, kind in shown.items() if kind in kinds}
            if kinds & {records.EVENT, records.CURVES}:
                found[run].add("training")
        for run, tags in self.scalars().items():
            before = self.prefixes(run)
            if any(is_lr(tag, before) for tag in tags):
                found.setdefault(run, set()).add("training")
        self._views = found
        return found

    def prefixes(self, run: str) -> list[str]:
        """Prefixes of the run's loggers."""
        return prefixes(self.scalars().get(run, ()))

    def metrics(self) -> dict[str, int]:
        """Scalar tags that a user may want beside the LR, with the number of runs that have them."""
        if self._metrics is not None:
            return self._metrics
        known = {tag for spec in self.curves().values() for tag in spec["lr"]}
        counts = Counter(
            tag
            for run, series in self.scalars().items()
            for before in [self.prefixes(run)]
            for tag in series
            if tag not in known and _is_metric(base(tag, before))
        )
        self._metrics = dict(counts)
        return self._metrics

    def curves(self) -> dict[str, dict[str, Any]]:
        """What ``LRCurves`` says about its tags and the state of the run, by run."""
        if self._specs is None:
            found, _ = self._read_json(records.CURVES, None)
            self._specs = {run: next(iter(tags.values()))[0] for run, tags in found.items()}
        return self._specs

    def range_tests(self, runs: Collection[str] | None = None) -> Found:
        """Range tests with ``lrs``, ``losses``, ``smoothed`` and the fields of the result; live ones from scalars."""
        bodies, notes = self._read_json(records.RANGE_TEST, runs, suffix="/record")
        curves = self._read_curves(runs, notes)
        found = Found(notes=notes)
        for run, tags in bodies.items():
            for tag, (body, _) in tags.items():
                prefix = tag.rsplit("/", 1)[0]
                curve = curves.get(run, {}).get(f"{prefix}/curve")
                drawn = _columns(curve) if curve is not None else self._live(run, body["live"] or prefix)
                wrote = max(self.last_write(run, f"{start}/") for start in (prefix, body["live"]))
                name = run if prefix == records.RANGE_TEST else f"{run} · {prefix}"
                found.runs[name] = {**body, **drawn, "last_write": wrote, "run": run}
        return found

    def trainings(self, runs: Collection[str], metrics: Collection[str], *, with_epochs: bool = True) -> Found:
        """LR and the ``metrics`` asked for, with events and, where asked for, epoch starts."""
        found = Found()
        events, found.notes = self._read_json(records.EVENT, runs)
        specs = self.curves()
        lr_tags = {run: self._lr_tags(run, specs.get(run, {})) for run in runs}
        epochs = {run: next(filter(_is_epoch, self.scalars().get(run, {})), "") for run in runs if with_epochs}
        tags = {run: [*lr_tags[run], *metrics, epochs.get(run, "")] for run in runs}
        share = POINT_BUDGET // max(1, len(runs) * max(1, max(map(len, lr_tags.values()), default=1) + len(metrics)))
        series = self._read_scalars(tags, next((n for n in SHARES if n <= share), SHARES[-1]), found.notes)
        for run in runs:
            own = series.get(run, {})
            restarts = [restart for tag in lr_tags[run] if tag in own for restart in own[tag][1]]
            lines = {tag: after_restarts(one, restarts) for tag, (one, _) in own.items()}
            lrs = {tag: lines[tag] for tag in lr_tags[run] if tag in lines}
            found.runs[run] = {
                "lr": lrs,
                "loss": {tag: lines[tag] for tag in metrics if tag in lines},
                "events": _valid(list(events.get(run, {}).values()), lrs.values(), restarts),
                "epochs": epoch_starts(lines.get(epochs.get(run, ""))),
                "status": specs.get(run, {}).get("status", ""),
            }
        return found

    def searches(self, runs: Collection[str] | None = None) -> Found:
        """Searches as ``write_search`` recorded them."""
        bodies, notes = self._read_json(records.SEARCH, runs)
        return Found({run: next(iter(tags.values()))[0] for run, tags in bodies.items()}, notes)

    def last_write(self, run: str, prefix: str = "") -> float:
        """Time (seconds since the epoch) of the newest record or scalar of ``run`` under ``prefix``; 0 without any."""
        series = [*self.tensors().get(run, {}).items(), *self.scalars().get(run, {}).items()]
        return max((item.max_wall_time or 0.0 for tag, item in series if tag.startswith(prefix)), default=0.0)

    def _lr_tags(self, run: str, spec: dict[str, Any]) -> list[str]:
        listed = spec.get("lr") or ()
        before = self.prefixes(run)
        tags = {tag for tag in self.scalars().get(run, {}) if is_lr(tag, before)} | {str(tag) for tag in listed}
        return sorted(tags, key=natural)

    def _read_json(
        self, kind: str, runs: Collection[str] | None, suffix: str = ""
    ) -> tuple[dict[str, dict[str, tuple[dict[str, Any], float]]], list[str]]:
        """The newest record of each tag of ``kind`` with its time, by run and tag, and notes on unreadable ones.

        What this store has read before isn't read again.
        """
        tags, notes = self._tags(kind, runs, suffix)
        missing = {run: [tag for tag in own if (run, tag) not in self._bodies] for run, own in tags.items()}
        broken: list[str] = []
        for run, tag, points in read(self._reader("read_tensors", records.PLUGIN, 10), missing, broken):
            newest_one = max(points, key=lambda point: point.wall_time)  # two processes: the later one is right
            try:
                self._bodies[run, tag] = (_CHECKS[kind](body_of(newest_one)), newest_one.wall_time)
            except BROKEN as error:
                self._bodies[run, tag] = f"{run}: the record {tag} can't be read ({said(error)})."
        found: dict[str, dict[str, tuple[dict[str, Any], float]]] = {}
        for run, own in tags.items():
            for tag in own:
                body = self._bodies.get((run, tag))
                if isinstance(body, tuple):
                    found.setdefault(run, {})[tag] = body
                elif body is not None:
                    notes.append(body)
        return found, notes + broken

    def _read_curves(self, runs: Collection[str] | None, notes: list[str]) -> dict[str, dict[str, Any]]:
        tags, _ = self._tags(records.RANGE_TEST, runs, "/curve")
        found: dict[str, dict[str, Any]] = {}
        for run, tag, points in read(self._reader("read_tensors", records.PLUGIN, 10), tags, notes):
            array = np.asarray(points[-1].numpy)
            if array.ndim == 2 and array.shape[1] >= 2 and array.dtype.kind in "fiu":
                found.setdefault(run, {})[tag] = array.astype(float)
            else:
                notes.append(f"{run}: the curve {tag} has the shape {array.shape}, not [N, 3].")
        return found

    def _tags(self, kind: str, runs: Collection[str] | None, suffix: str) -> tuple[dict[str, list[str]], list[str]]:
        found: dict[str, list[str]] = {}
        notes = []
        wanted = None if runs is None else set(runs)
        for run, tags in self.tensors().items():
            if wanted is not None and run not in wanted:
                continue
            for tag, series in tags.items():
                own, schema = kind_and_schema(series)
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

    def _reader(self, method: str, plugin: str, points: int) -> Any:
        return partial(getattr(self._data, method), **self._where, plugin_name=plugin, downsample=points)

    def _read_scalars(
        self, tags: dict[str, list[str]], points: int, notes: list[str]
    ) -> dict[str, dict[str, tuple[Series, list[Restart]]]]:
        """Series by run and tag; what this store has read before isn't read again."""
        have = self.scalars()
        wanted = {run: [tag for tag in own if tag in have.get(run, ())] for run, own in tags.items()}
        none = (0, None, None)
        ask = min(CHOICE * points, MAX_POINTS)
        missing = {run: [t for t in own if self._kept.get((run, t), none)[0] < ask] for run, own in wanted.items()}
        for run, tag, data in read(self._reader("read_scalars", SCALARS, ask), missing, notes):
            self._kept[run, tag] = (ask, *newest(data))
        found: dict[str, dict[str, tuple[Series, list[Restart]]]] = {}
        for run, own in wanted.items():
            kept = [tag for tag in own if (run, tag) in self._kept]
            found[run] = {tag: (self._thinned(run, tag, points), self._kept[run, tag][2]) for tag in kept}
        return found

    def _thinned(self, run: str, tag: str, points: int) -> Series:
        """At most ``points`` of a series; a picture with one run less has the others' as they were."""
        read_points, series, _ = self._kept[run, tag]
        had = self._thin.get((run, tag))
        if had is None or had[:2] != (read_points, points):
            had = self._thin[run, tag] = (read_points, points, thin(series, points))
        return had[2]

    def _live(self, run: str, prefix: str) -> dict[str, Any]:
        tags = {name: f"{prefix}/{name}" for name in records.LIVE}
        own = self._read_scalars({run: list(tags.values())}, MAX_POINTS, []).get(run, {})
        return live_rows({name: own[tag][0] for name, tag in tags.items() if tag in own})


def _take_over(
    had: dict[Any, Any], before: dict[str, dict[str, Any]], have: dict[Any, Any], now: dict[str, dict[str, Any]]
) -> None:
    for (run, tag), value in had.items():
        ends = [
            (getattr(series, "max_step", None), getattr(series, "max_wall_time", None))
            for series in (before.get(run, {}).get(tag), now.get(run, {}).get(tag))
        ]
        if ends[0] == ends[1] and None not in ends[0]:
            have[run, tag] = value


def _valid(
    events: Collection[tuple[dict[str, Any], float]], lines: Collection[Series], restarts: Collection[Restart]
) -> list[dict[str, Any]]:
    """Events by step, without those that a resumed run overtook."""
    steps, times = [body["step"] for body, _ in events], [time for _, time in events]
    gone: Any = np.zeros(len(steps), dtype=bool)
    for line in lines:
        gone |= overtaken(steps, times, line, restarts)
    kept = [body for (body, _), lost in zip(events, gone, strict=True) if not lost]
    return sorted(kept, key=lambda body: body["step"])


def _is_epoch(tag: str) -> bool:
    return tag == "epoch" or tag.endswith("-epoch")


def _is_metric(tag: str) -> bool:
    """Whether a tag, less its logger's prefix, may stand beside an LR."""
    live = re.fullmatch(r".*/(lr|loss|loss_smoothed)", tag) and tag.startswith(records.RANGE_TEST)
    return not (live or is_lr(tag) or tag.startswith(("lr-", "final/")) or tag in ("epoch", "hp_metric"))


def _columns(array: Any) -> dict[str, list[float]]:
    keep = np.isfinite(array[:, 0]) & (array[:, 0] > 0)
    array = array[keep]
    smoothed = array[:, 2] if array.shape[1] > 2 else array[:0, 0]
    finite = np.flatnonzero(np.isfinite(smoothed))
    smoothed = smoothed[: finite[-1] + 1] if len(finite) else smoothed[:0]
    return {"lrs": array[:, 0].tolist(), "losses": array[:, 1].tolist(), "smoothed": smoothed.tolist()}
