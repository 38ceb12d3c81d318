"""The training picture: a panel for the losses, one for each other kind of metric, one for the LR; events marked."""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures.marks import event_trace, lost_trace, mark_events
from lr_lightning.reporting.figures.panels import Panel, panels_of
from lr_lightning.reporting.figures.scale import beyond, value_axis
from lr_lightning.reporting.figures.style import Spec

MANY = 20
"""Runs beyond which lines are thin and have no raw line behind the smoothed one."""
DASHES = ("solid", "dash", "dot", "dashdot")
PANEL_HEIGHT = 210
GAP = 0.055
LEGEND_ROW = 29
"""Pixels of a row of the legend; on a narrow page it has three entries, and two rows have room anyway."""
_UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))


def draw(runs: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], colors: Mapping[str, str]) -> Spec:
    """See :func:`lr_lightning.reporting.figures.training_figure`; ``options`` has its keyword arguments."""
    dark, x = bool(options["dark"]), options["x"]
    shown = {name: run for name, run in runs.items() if run.get("lr") or run.get("loss") or run.get("events")}
    if not shown:
        return style.empty("No learning rates to show yet: add LRCurves to the callbacks.", dark)
    unit = _time_unit(shown) if x == "time" else ("", 1.0)
    tags = list(dict.fromkeys(tag for run in shown.values() for tag in run.get("loss") or {}))
    panels = panels_of(tags, options.get("loss") or "loss")
    painter = _Painter(shown, options, colors, panels, unit[1])
    layout = style.layout(dark=dark, height=PANEL_HEIGHT * (len(panels) + 1) + 110, hovermode="closest")
    layout |= {"xaxis": _x_axis(painter, dark, x, unit[0]), **_y_axes(painter, panels, dark)}
    figure: Spec = {"data": painter.traces, "layout": layout}
    layout["meta"] = {"clipped": painter.clipped(layout), "lost": painter.lost, **painter.without_log(layout)}
    # The axes' titles name a single run's lines where each panel has one.
    alone = len(shown) == 1 and len(tags) == len(panels) and len(next(iter(shown.values())).get("lr") or ()) < 2
    layout["showlegend"] = not alone
    if len(shown) == 1:
        layout["height"] += LEGEND_ROW * max(0, math.ceil(len(painter.named) / 3) - 2)
        mark_events(figure, next(iter(shown.values())), painter.place)
    else:
        _explain_dashes(figure, panels, shown)
    return figure


class _Painter:
    """Traces of all runs, and what the axes have to hold."""

    def __init__(
        self,
        runs: Mapping[str, Mapping[str, Any]],
        options: Mapping[str, Any],
        colors: Mapping[str, str],
        panels: Sequence[Panel],
        unit: float,
    ) -> None:
        self.options, self.unit, self.panels = options, unit, panels
        self.dark, self.single, self.many = bool(options["dark"]), len(runs) == 1, len(runs) > MANY
        self.labels: Mapping[str, str] = options.get("labels") or {}
        self.values: dict[str, list[tuple[str, Any]]] = {}
        self.ends: list[float] = []
        self.starts: list[float] = []
        self.lost: dict[str, float] = {}
        self.named: set[str] = set()
        self.traces: list[Spec] = []
        for index, (name, run) in enumerate(runs.items()):
            self._run(name, run, colors.get(name) or style.color(index, self.dark))

    def place(self, run: Mapping[str, Any], steps: Sequence[float], times: Any = None) -> Any:
        """Steps of a run as positions on the horizontal axis."""
        if self.options["x"] != "time":
            return positions(steps, run.get("epochs"), self.options["x"])
        return (_times(run, steps) if times is None else np.asarray(times) - _began(run)) / self.unit

    def _run(self, name: str, run: Mapping[str, Any], color: str) -> None:
        first = True
        for panel in self.panels:
            for index, tag in enumerate(tag for tag in panel.tags if tag in (run.get("loss") or {})):
                own = color if not self.single or index == 0 else self._other(color, index)
                dash = "solid" if self.single else DASHES[panel.tags.index(tag) % len(DASHES)]
                self._line(name, run, tag, run["loss"][tag], panel.axis, own, dash, first)
                first = False
        for index, (tag, series) in enumerate((run.get("lr") or {}).items()):
            own = color if not self.single or index == 0 else self._other(color, index)
            self._line(name, run, tag, series, "y2", own, "solid" if self.single else DASHES[index % 4], first)
            first = False
        self.traces += event_trace(name, run, color, self.place, self.dark)

    def _other(self, color: str, index: int) -> str:
        """A colour for a single run's further lines, from the first of the palette on: they are the furthest apart."""
        palette = [style.color(n, self.dark) for n in range(len(style.COLORS))]
        others = [other for other in palette if other != color]
        return others[(index - 1) % len(others)]

    def _line(
        self, name: str, run: Mapping[str, Any], tag: str, series: Any, axis: str, color: str, dash: str, first: bool
    ) -> None:
        steps, values, *times = _columns(series)
        lr, raw = axis == "y2", np.asarray(values, dtype=float)
        at = np.asarray(self.place(run, steps, *times[:1]), dtype=float)
        if len(at):
            self.starts.append(float(at[0]))
            self.ends.append(float(at[-1]))
        if not lr and (gone := lost_trace(tag, steps, at, raw, axis, color)):
            self.lost[name] = min(gone["customdata"][0], self.lost.get(name, np.inf))
            self.traces.append(gone)
        smooth = 0.0 if lr else float(self.options["smooth"])
        drawn = smoothed(raw, smooth) if smooth else raw
        label = style.literal(style.short(tag if self.single else self.labels.get(name, name)))
        group = label if self.single else style.literal(name)  # two names may be shortened to one label
        common = {"yaxis": axis, "legendgroup": group, "mode": "lines" if len(raw) > 1 else "markers"}
        line = {"color": color, "width": 1 if self.many else 2, "dash": dash, "shape": "hv" if lr else "linear"}
        if smooth and not self.many:
            pale = {"color": style.faded(color, 0.35), "width": 1}
            self.traces.append(
                style.scatter(at, _small(raw), **common, name=label, showlegend=False, line=pale, hoverinfo="skip")
            )
        hover = f"{self.options['x']} %{{x:.6~g}}<br>%{{meta}} %{{y:.4g}}<extra>%{{fullData.name}}</extra>"
        self.values.setdefault(axis, []).append((name, drawn))
        self.named.add(label)
        self.traces.append(
            style.scatter(
                at,
                _small(drawn),
                **common,
                name=label,
                showlegend=self.single or first,
                line=line,
                meta=style.literal(tag),
                hovertemplate=hover,
            )
        )

    def clipped(self, layout: Spec) -> list[str]:
        """Runs of which a line ends outside of its panel."""
        names = {
            name
            for axis, lines in self.values.items()
            if axis != "y2"
            for name, values in lines
            if beyond(values, layout[f"yaxis{axis[1:]}"])
        }
        return sorted(names - set(self.lost) - set(self.without_log(layout)["below"]))

    def without_log(self, layout: Spec) -> dict[str, list[str]]:
        """What has no log axis: ``linear``, panels without a positive value; ``below``, runs that end at 0 or below."""
        own = {panel.title: layout[f"yaxis{panel.axis[1:]}"]["type"] for panel in self.panels if not panel.scale}
        below = {
            name
            for panel in self.panels
            if layout[f"yaxis{panel.axis[1:]}"]["type"] == "log"
            for name, values in self.values.get(panel.axis, ())
            if len(values) and values[-1] <= 0
        }
        asked = self.options["scale"] == "log"
        return {"linear": [title for title, kind in own.items() if asked and kind != "log"], "below": sorted(below)}


def _columns(series: Any) -> tuple[Any, ...]:
    """``(steps, values)`` or ``(steps, values, times)``, or an object with these names."""
    if hasattr(series, "steps"):
        return series.steps, series.values, series.times
    return tuple(series)


def _small(values: Any) -> Any:
    """Half of the bytes: TensorBoard's scalars are float32 to begin with."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


def smoothed(values: Any, weight: float) -> Any:
    """Exponential moving average without the bias of its start, as in TensorBoard's Time Series; gaps stay gaps.

    >>> smoothed([1.0, 3.0], 0.5).round(3).tolist()
    [1.0, 2.333]
    """
    last, share, found = 0.0, 0.0, []
    for value in np.asarray(values, dtype=float).tolist():
        if not np.isfinite(value):
            found.append(value)
            continue
        last = last * weight + (1 - weight) * value
        share = share * weight + (1 - weight)
        found.append(last / share)
    return np.array(found)


def positions(steps: Sequence[float], epochs: tuple[Sequence[float], Sequence[float]] | None, x: str) -> Any:
    """Steps as positions on the horizontal axis: themselves, or fractional epochs by the first step of each epoch.

    Steps after the last known epoch start are placed with the length of the epoch before; without any known epoch the
    steps stay steps.
    """
    if x == "step" or not epochs or len(epochs[0]) == 0:
        return steps
    starts, numbers = list(epochs[0]), list(epochs[1])
    if len(starts) == 1:
        length = float(max(max(steps, default=0) - starts[0] + 1, 1))
    else:
        length = (starts[-1] - starts[-2]) / max(numbers[-1] - numbers[-2], 1)
    starts.append(starts[-1] + max(length, 1))
    numbers.append(numbers[-1] + 1)
    found = []
    for step in steps:
        at = min(max(bisect.bisect_right(starts, step) - 1, 0), len(starts) - 2)
        share = (step - starts[at]) / (starts[at + 1] - starts[at])
        found.append(numbers[at] + share * (numbers[at + 1] - numbers[at]))
    return found


def _every(run: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    series = [*(run.get("lr") or {}).values(), *(run.get("loss") or {}).values()]
    return [columns for columns in map(_columns, series) if len(columns) > 2 and len(columns[0])]


def _began(run: Mapping[str, Any]) -> float:
    return min((float(columns[2][0]) for columns in _every(run)), default=0.0)


def _times(run: Mapping[str, Any], steps: Sequence[float]) -> Any:
    """When a run took steps, in seconds since its first point, from the series with most points."""
    best = max(_every(run), key=lambda columns: len(columns[0]), default=None)
    if best is None:
        return np.asarray(steps, dtype=float) * np.nan
    return np.interp(np.asarray(steps, dtype=float), best[0], best[2]) - _began(run)


def _time_unit(runs: Mapping[str, Mapping[str, Any]]) -> tuple[str, float]:
    longest = max(
        (float(columns[2][-1]) - _began(run) for run in runs.values() for columns in _every(run)), default=0.0
    )
    return next((unit for unit in _UNITS if longest >= 2 * unit[1]), _UNITS[-1])


def _x_axis(painter: _Painter, dark: bool, x: str, unit: str) -> Spec:
    low, high = min(painter.starts, default=0.0), max(painter.ends, default=1.0)
    low = 0.0 if 0 <= low < 0.3 * high else low
    margin = 0.02 * (high - low) or 0.5
    title = {"time": f"{unit} since the run's first point", "epoch": "epoch (from 0)"}.get(x, x)
    bounds = [low - margin, high + margin]
    ticks: Spec = {"dtick": 1} if x == "epoch" and high - low <= 12 else {"nticks": 12}
    return style.axis(dark, title=title, anchor="y2", domain=[0, 1], range=bounds, **ticks)


def _y_axes(painter: _Painter, panels: Sequence[Panel], dark: bool) -> Spec:
    """The panels from top to bottom, all of one height, the LR below."""
    gap = min(GAP, 0.25 / (len(panels) + 1))
    height = (1 + gap) / (len(panels) + 1) - gap
    found: Spec = {}
    for index, panel in enumerate(panels):
        top = 1 - index * (height + gap)
        lines = [values for _, values in painter.values.get(panel.axis, [])]
        own = value_axis(lines, clip=bool(painter.options["clip"]), scale=panel.scale or painter.options["scale"])
        title, domain = style.literal(style.short(panel.title, 32)), [max(top - height, 0.0), top]
        log = style.log_ticks(own["range"], 6) if own["type"] == "log" else {}
        found[f"yaxis{panel.axis[1:]}"] = style.axis(
            dark, title=title, domain=domain, **{"automargin": "left", "nticks": 6, **own, **log}
        )
    lrs = [values for _, values in painter.values.get("y2", [])]
    reach = style.decades(np.concatenate([np.asarray(one, dtype=float) for one in lrs]) if lrs else (), 0.08)
    bounds = {} if reach is None else {"range": reach, **style.log_ticks(reach, 6)}
    found["yaxis2"] = style.log_axis(dark, title="learning rate", domain=[0, height], **bounds)
    return found


def _explain_dashes(figure: Spec, panels: Sequence[Panel], runs: Mapping[str, Mapping[str, Any]]) -> None:
    """With several runs the colour is the run's, so the tags differ by their dashes: say which."""
    most = max(([*(run.get("lr") or {})] for run in runs.values()), key=len, default=[])
    for axis, tags in (*((panel.axis, panel.tags) for panel in panels), ("y2", most)):
        if len(tags) > 1:
            words = zip(tags, ("—", "- -", "· ·", "- ·"), strict=False)
            text = "   ".join(f"{mark} {style.literal(style.short(tag, 24))}" for tag, mark in words)
            top = figure["layout"][f"yaxis{axis[1:]}"]["domain"][1]
            style.note(figure, text, x=0, y=top, xanchor="left", yanchor="bottom")  # the buttons are at the right
