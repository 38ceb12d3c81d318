"""The training picture: loss above, LR below, events marked."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from lr_lightning.reporting.figures import style

SYMBOLS = {
    "decay": "triangle-down",
    "range_test": "star",
    "formula": "circle",
    "restart": "triangle-up",
    "kick": "triangle-up",
    "restore": "triangle-left",
    "wait": "circle-open",
}
MANY = 20
"""Runs beyond which lines are thin."""
DASHES = ("solid", "dash", "dot", "dashdot")


def draw(runs: Mapping[str, Mapping[str, Any]], *, x: str, loss: str, dark: bool, colors: Mapping[str, str]) -> Any:
    """See :func:`lr_lightning.reporting.figures.training_figure`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    shown = {name: run for name, run in runs.items() if run.get("lr") or run.get("loss") or run.get("events")}
    if not shown:
        return style.rows_or_note(figure, "No learning rates to show yet: add LRCurves to the callbacks.", dark)
    order = list(dict.fromkeys(tag for run in shown.values() for tag in run.get("loss") or {}))
    traces, width = [], 1 if len(shown) > MANY else 2
    for index, (name, run) in enumerate(shown.items()):
        own = colors.get(name, style.color(index))
        traces += _run_traces(go, name, run, own, x, order, len(shown) == 1, width)
    figure.add_traces(traces)  # once: plotly walks all traces at each call
    if len(shown) == 1:
        _mark_events(figure, next(iter(shown.values())), x)
    else:
        _explain_dashes(figure, shown)
    figure.update_layout(
        **style.layout(dark=dark, height=640, showlegend=True, hovermode="closest"),
        xaxis=style.axis(dark, title=x, anchor="y2", domain=[0, 1], rangemode="tozero"),
        yaxis=style.axis(dark, title=style.literal(loss), domain=[0.42, 1]),
        yaxis2=style.log_axis(dark, title="learning rate (log)", domain=[0, 0.36], autorange=True),
    )
    figure.update_layout(yaxis2={"dtick": _tick(shown.values())})
    return figure


def positions(
    steps: Sequence[float], epochs: tuple[Sequence[float], Sequence[float]] | None, x: str
) -> Sequence[float]:
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


def _run_traces(
    go: Any, name: str, run: Mapping[str, Any], color: str, x: str, order: list[str], single: bool, width: int
) -> list[Any]:
    traces = []
    for panel, axis, tags in (("loss", "y", run.get("loss") or {}), ("lr", "y2", run.get("lr") or {})):
        for index, (tag, (steps, values)) in enumerate(tags.items()):
            dash = DASHES[(order.index(tag) if panel == "loss" else index) % len(DASHES)]
            own = style.color(index + (3 if panel == "lr" else 0)) if single else color
            traces.append(
                go.Scatter(
                    x=positions(steps, run.get("epochs"), x),
                    y=values,
                    yaxis=axis,
                    name=style.literal(style.short(tag if single else name)),
                    legendgroup=None if single else name,
                    showlegend=single or (panel == "loss" and index == 0),
                    mode="lines" if len(values) > 1 else "markers",
                    line={
                        "color": own,
                        "width": width,
                        "dash": "solid" if single else dash,
                        "shape": "hv" if panel == "lr" else "linear",
                    },
                    meta=style.literal(tag),
                    hovertemplate=f"{x} %{{x:.6~g}}<br>%{{meta}} %{{y:.4g}}<extra>%{{fullData.name}}</extra>",
                )
            )
    if traces and not any(trace.showlegend for trace in traces):
        traces[0].showlegend = True
    return [*traces, *_event_trace(go, name, run, color, x)]


def _event_trace(go: Any, name: str, run: Mapping[str, Any], color: str, x: str) -> list[Any]:
    events = [plain(event) for event in run.get("events") or ()]
    if not events:
        return []
    return [
        go.Scatter(
            x=positions([event["step"] for event in events], run.get("epochs"), x),
            y=[event["new_lr"] for event in events],
            yaxis="y2",
            name="events",
            legendgroup=name,
            showlegend=False,
            mode="markers",
            marker={
                "symbol": [SYMBOLS.get(event["kind"], "circle") for event in events],
                "size": 11,
                "color": color,
                "line": {"color": "#ffffff", "width": 1},
            },
            hovertext=[describe(event) for event in events],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    ]


def describe(event: Mapping[str, Any]) -> str:
    """An event for a hover label."""
    by = f" · {style.literal(event['source'])}" if event.get("source") else ""
    change = "stays" if event["kind"] == "wait" else f"→ {style.number(event['new_lr'])}"
    change = f"LR {style.number(event['old_lr'])} {change}"
    where = f"step {event['step']:,}, epoch {event['epoch']}"
    return f"<b>{style.literal(event['kind'])}</b>{by}<br>{where}<br>{change}<br>{style.wrapped(event['reason'])}"


def _mark_events(figure: Any, run: Mapping[str, Any], x: str) -> None:
    """Vertical lines through both panels where the LR changed, up to as many as stay readable."""
    events = [event for event in map(plain, run.get("events") or ()) if event["kind"] != "wait"]
    for at in positions([event["step"] for event in events], run.get("epochs"), x)[:100]:
        line = {"color": "#80868b", "width": 1, "dash": "dot"}
        figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, yref="paper", line=line, layer="below")


def _tick(runs: Iterable[Mapping[str, Any]]) -> float | str | None:
    """Ticks of the LR axis: decades alone, with 2 and 5 between, or plotly's choice, by how far the LRs reach."""
    values = [value for run in runs for _, lrs in (run.get("lr") or {}).values() for value in lrs if value > 0]
    reach = max(values) / min(values) if values else 1.0
    return 1 if reach >= 20 else "D2" if reach >= 3 else None


def _explain_dashes(figure: Any, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """With several runs the colour is the run's, so the tags differ by their dashes: say which."""
    for panel, at in (("loss", 1.0), ("lr", 0.36)):
        every = [[*(run.get(panel) or {})] for run in runs.values()]
        tags = max(every, key=len) if panel == "lr" else list(dict.fromkeys(tag for own in every for tag in own))
        if len(tags) > 1:
            words = zip(tags, ("—", "- -", "· ·", "- ·"), strict=False)
            text = "   ".join(f"{mark} {style.literal(style.short(tag, 24))}" for tag, mark in words)
            figure.add_annotation(
                text=text, x=1, y=at, xref="paper", yref="paper", xanchor="right", yanchor="bottom", showarrow=False,
                font={"size": 12},
            )  # fmt: skip


def plain(event: Any) -> dict[str, Any]:
    """An event as a mapping with every key, whatever its origin."""
    data = asdict(event) if is_dataclass(event) and not isinstance(event, type) else dict(event)
    blank = {"kind": "event", "step": 0, "epoch": 0, "old_lr": None, "new_lr": None, "reason": "", "source": ""}
    return {**blank, **data}
