"""The range-test picture: loss over log LR, with zones, suggestion and interval."""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lr_lightning.reporting.figures import style
from lr_lightning.rules.range_test.opinions import all_suggestions

MAX_BARS = 12
"""Runs up to which the zones of several runs are drawn as bars."""


def draw(results: Any, *, peers: bool, dark: bool, colors: Mapping[str, str]) -> Any:
    """See :func:`lr_lightning.reporting.figures.range_test_figure`."""
    import plotly.graph_objects as go

    runs = {name: record(result) for name, result in _named(results).items()}
    runs = {name: run for name, run in runs.items() if len(run.get("lrs") or ())}
    figure = go.Figure()
    if not runs:
        return style.rows_or_note(figure, "No range test to show yet.", dark)
    own = {name: colors.get(name, style.color(index)) for index, name in enumerate(runs)}
    bars = 1 < len(runs) <= MAX_BARS and any(run.get("zones") for run in runs.values())
    bottom = 0.12 + 0.025 * len(runs) if bars else 0.0
    traces = [t for name, run in runs.items() for t in _traces(go, name, run, own[name], len(runs), dark)]
    figure.add_traces(traces)  # once: plotly walks all traces at each call
    if len(runs) == 1:
        run = next(iter(runs.values()))
        _mark(figure, run, dark)
        figure.add_traces(_peers(go, run) if peers else [])
    elif bars:
        figure.add_traces(_bars(go, runs, own))
    # A running test shows its whole ladder from the start, so that the picture fills instead of growing.
    span = style.decades([lr for run in runs.values() for lr in (*run["lrs"], *(run.get("ladder") or ()))])
    figure.update_layout(
        **style.layout(dark=dark, height=520, hovermode="x" if len(runs) == 1 else "closest", showlegend=True),
        xaxis=style.log_axis(dark, title="learning rate (log)", range=span, anchor="y2" if bars else "y"),
        yaxis=style.axis(dark, title="loss", range=loss_range([*runs.values()]), domain=[bottom and bottom + 0.05, 1]),
    )
    if bars:
        figure.update_layout(
            yaxis2=style.axis(dark, title="zones", domain=[0, bottom], showticklabels=False, fixedrange=True)
        )
        figure.update_yaxes(range=[len(runs) - 0.4, -0.6], showgrid=False, ticks="", selector={"fixedrange": True})
    return figure


def record(result: Any) -> dict[str, Any]:
    """A range test as plain data."""
    return dict(result if isinstance(result, Mapping) else result.to_dict())


def _named(results: Any) -> dict[str, Any]:
    if hasattr(results, "lrs") or (isinstance(results, Mapping) and "lrs" in results):
        return {"range test": results}
    return dict(results)


def _traces(go: Any, name: str, run: Mapping[str, Any], color: str, among: int, dark: bool) -> list[Any]:
    single = among == 1
    lrs, losses, smoothed = run["lrs"], run["losses"], run.get("smoothed") or ()
    label, hover = style.literal(style.short(name)), "LR %{x:.3g}<br>%{meta} %{y:.4g}<extra>%{fullData.name}</extra>"
    raw = go.Scatter(
        x=lrs,
        y=losses,
        name="raw loss" if single else label,
        legendgroup=None if single else name,
        showlegend=single or not len(smoothed),
        mode="lines+markers" if single else "lines",
        line={"color": style.faded(color, (0.35 if single else 0.22) + (0.2 if dark else 0.0)), "width": 1},
        marker={"size": 4},
        meta="loss",
        hovertemplate=hover,
    )
    if not len(smoothed):
        return [raw]
    line = go.Scatter(
        x=lrs[: len(smoothed)],
        y=smoothed,
        name="smoothed loss" if single else label,
        legendgroup=None if single else name,
        mode="lines",
        line={"color": color, "width": 2.5 if single else 2 if among <= 20 else 1},
        meta="smoothed",
        hovertemplate=hover,
    )
    return [raw, line, *_suggestion_mark(go, name, run, color, single)]


def _suggestion_mark(go: Any, name: str, run: Mapping[str, Any], color: str, single: bool) -> list[Any]:
    suggestion = run.get("suggestion")
    if suggestion is None:
        return []
    smoothed = run["smoothed"]
    near = min(range(len(smoothed)), key=lambda i: abs(math.log(run["lrs"][i] / suggestion)))
    interval = run.get("interval")
    text = f"suggestion {style.number(suggestion)}"
    if interval:
        text += f" ({_range(interval)})"
    return [
        go.Scatter(
            x=[suggestion],
            y=[smoothed[near]],
            name="suggestion" if single else style.literal(style.short(name)),
            legendgroup=None if single else name,
            showlegend=single,
            mode="markers",
            marker={"symbol": "diamond", "size": 11, "color": color, "line": {"color": "#ffffff", "width": 1.5}},
            hovertext=f"{text}<br>{style.wrapped(run.get('reason', ''))}",
            hovertemplate="%{hovertext}<extra></extra>",
        )
    ]


def _bars(go: Any, runs: Mapping[str, Mapping[str, Any]], colors: Mapping[str, str]) -> list[Any]:
    """One row a run: its zones as a band, its interval and suggestion on it."""
    traces = []
    for row, (name, run) in enumerate(runs.items()):
        common = {
            "yaxis": "y2",
            "legendgroup": name,
            "showlegend": False,
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
        for zone, bounds in (run.get("zones") or {}).items():
            if bounds and zone in style.ZONES:
                tint, text = style.ZONE_INK[zone], f"{style.ZONES[zone][0]}: {_range(bounds)}"
                line = {"color": tint, "width": 9}
                traces.append(
                    go.Scatter(x=bounds, y=[row] * 2, mode="lines", line=line, hovertext=[text] * 2, **common)
                )
        if run.get("interval"):
            line, text = {"color": colors[name], "width": 3}, f"interval {_range(run['interval'])}"
            traces.append(
                go.Scatter(x=run["interval"], y=[row] * 2, mode="lines", line=line, hovertext=[text] * 2, **common)
            )
        if run.get("suggestion"):
            marker = {"symbol": "diamond", "size": 9, "color": colors[name], "line": {"color": "#ffffff", "width": 1}}
            text = f"{style.literal(style.short(name))}: suggestion {style.number(run['suggestion'])}"
            traces.append(
                go.Scatter(x=[run["suggestion"]], y=[row], mode="markers", marker=marker, hovertext=[text], **common)
            )
    return traces


def _range(bounds: Sequence[float]) -> str:
    return f"{style.number(bounds[0])} … {style.number(bounds[1])}"


def _mark(figure: Any, run: Mapping[str, Any], dark: bool) -> None:
    accent = "#7CC4FF" if dark else style.COLORS[0]
    for zone, bounds in (run.get("zones") or {}).items():
        if bounds and zone in style.ZONES:
            title, fill = style.ZONES[zone]
            label = {"text": title, "textposition": "top left", "font": {"size": 12}}
            figure.add_vrect(x0=bounds[0], x1=bounds[1], fillcolor=fill, line_width=0, layer="below", label=label)
    if run.get("interval"):
        low, high = run["interval"]
        figure.add_shape(
            type="line", x0=low, x1=high, y0=0.012, y1=0.012, yref="paper", line={"color": accent, "width": 7}
        )
    if run.get("suggestion"):
        figure.add_vline(x=run["suggestion"], line={"color": accent, "dash": "dash", "width": 2})
        figure.add_annotation(
            x=math.log10(run["suggestion"]),
            y=0.93,
            yref="paper",
            text=f"<b>{style.number(run['suggestion'])}</b>",
            showarrow=False,
            xanchor="left",
            xshift=4,
            font={"size": 14, "color": accent},
        )


def _suggestions(run: Mapping[str, Any]) -> Mapping[str, float | None]:
    """Asked of the curve when they are to be drawn: records don't hold them."""
    planned, cycle = int(run.get("num_steps") or len(run["lrs"])), int(run.get("cycle") or 1)
    with contextlib.suppress(Exception):  # they are an extra; a record whose curve they choke on has none
        return all_suggestions(run["lrs"], run["losses"], planned=planned, cycle=cycle)
    return {}


def _peers(go: Any, run: Mapping[str, Any]) -> list[Any]:
    """The other rules' and libraries' suggestions: thin lines, named in the legend, where a dozen has room."""
    span = loss_range([run]) or [0.0, 1.0]
    others = {rule: lr for rule, lr in _suggestions(run).items() if lr and rule != run.get("rule")}
    return [
        go.Scatter(
            x=[lr, lr],
            y=span,
            mode="lines",
            name=f"{style.literal(rule)} {style.number(lr)}",
            line={"color": style.color(index + 1), "width": 1, "dash": "dot" if index < len(style.COLORS) else "dash"},
            hovertemplate="%{fullData.name}<extra></extra>",
        )
        for index, (rule, lr) in enumerate(sorted(others.items(), key=lambda item: float(item[1])))
    ]


def loss_range(runs: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """Range of the loss axis: the descent fills it, the explosion leaves through the top.

    One run's noise has room; beside others the smoothed curves alone count.
    """
    lows, tops = [], []
    for run in runs:
        raw = _finite(run["losses"])
        curve = _finite(run.get("smoothed") or ()) or raw
        if curve:
            own = raw if len(runs) == 1 and raw else curve
            lows.append(min(min(curve), *own[: own.index(min(own)) + 1]))
            tops.append(max([curve[0], *own[: max(1, len(own) // 5)]]))
    if not lows:
        return None
    low, top = min(lows), max(tops)
    height = max(top - low, 1e-3 * max(abs(top), abs(low)), 1e-12)
    return [low - 0.08 * height, top + 0.35 * height]


def _finite(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]
