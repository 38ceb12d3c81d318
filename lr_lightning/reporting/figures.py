"""The pictures, one function each: the tab, notebooks and HTML export show the same plotly figures.

plotly is imported where it is used. Input is duck-typed plain data: figures are drawn from event files alike.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lr_lightning.reporting import _style as style

Series = tuple[Sequence[float], Sequence[float]]

CONFIG = {
    "displaylogo": False,
    "responsive": True,
    # No button may send data anywhere.
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "sendDataToCloud", "sendChartToCloud"],
    "showSendToCloud": False,
}
"""How plotly.js shows these figures."""


def range_test_figure(
    results: Any, peers: bool = False, *, dark: bool = False, colors: Mapping[str, str] | None = None
) -> Any:
    """Loss over log LR: raw and smoothed, with zones, suggestion and interval.

    Zones and interval are drawn for a single run; with several, each run's suggestion is a diamond on its curve.

    Args:
        results: A ``RangeTestResult`` (or its ``to_dict()``), or a mapping of run names to these. A running test's
            mapping has ``lrs``, ``losses`` and ``smoothed`` only.
        peers: Whether to draw the other libraries' suggestions as thin lines (single run).
        dark: Colours for a dark page.
        colors: Colour of each run, else by position.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go

    runs = {name: _record(result) for name, result in _named(results).items()}
    runs = {name: run for name, run in runs.items() if run.get("lrs")}
    figure = go.Figure()
    if not runs:
        return style.rows_or_note(figure, "No range test to show yet.", dark)
    for index, (name, run) in enumerate(runs.items()):
        chosen = (colors or {}).get(name, style.color(index))
        figure.add_traces(_range_traces(go, name, run, chosen, single=len(runs) == 1))
    if len(runs) == 1:
        _mark_single(figure, next(iter(runs.values())), peers)
    every_lr = [lr for run in runs.values() for lr in run["lrs"]]
    figure.update_layout(
        **style.layout(dark=dark, height=520, hovermode="closest", showlegend=True),
        xaxis=style.log_axis(dark, title={"text": "learning rate (log)"}, range=style.decades(every_lr)),
        yaxis=style.axis(dark, title={"text": "loss"}, range=_loss_range(runs.values())),
    )
    return figure


def training_figure(
    runs: Mapping[str, Mapping[str, Any]],
    *,
    x: str = "step",
    loss: str = "loss",
    dark: bool = False,
    colors: Mapping[str, str] | None = None,
) -> Any:
    """Loss above, LR (log) below, over a shared axis; each event is a mark on the LR with its reason on hover.

    Args:
        runs: For each run: ``lr`` and ``loss``, mappings of tags to ``(steps, values)``; optional ``events``, a list of
            mappings (or ``LREvent``); optional ``epochs``, ``(steps, epochs)``: the first step of each epoch.
        x: ``step`` or ``epoch``.
        loss: Title of the loss axis.
        dark: Colours for a dark page.
        colors: Colour of each run, else by position.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        ValueError: If ``x`` is neither.
    """
    from lr_lightning.reporting._training import draw

    if x not in ("step", "epoch"):
        raise ValueError(f"x must be 'step' or 'epoch', got {x!r}")
    return draw(runs, x=x, loss=loss, dark=dark, colors=colors or {})


def search_figure(searches: Any, *, dark: bool = False) -> Any:
    """Score over log LR, rounds by colour; below it the interval that each round sampled.

    Trials that diverged or crashed have no score: they are marks along the upper edge.

    Args:
        searches: What ``write_search`` recorded: ``trials``, ``rounds``, ``metric`` and ``mode``.
        dark: Colours for a dark page.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    from lr_lightning.reporting._search import draw

    return draw(searches, dark=dark)


def formula_figure(
    curves: Mapping[str, Series], *, x_title: str = "step", log: bool = False, dark: bool = False
) -> Any:
    """LR over step or epoch, one line a formula.

    Args:
        curves: For each name: ``(x, lr)``.
        x_title: Title of the horizontal axis.
        log: Whether the LR axis is logarithmic.
        dark: Colours for a dark page.

    Returns:
        A ``plotly.graph_objects.Figure``.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, (xs, lrs)) in enumerate(curves.items()):
        figure.add_scatter(
            x=list(xs),
            y=list(lrs),
            name=style.literal(style.short(name, 60)),
            mode="lines",
            line={"color": style.color(index), "width": 2},
            hovertemplate=f"{style.literal(x_title)} %{{x}}<br>LR %{{y:.4g}}",
        )
    vertical = style.log_axis(dark) if log else style.axis(dark, exponentformat="power", rangemode="tozero")
    figure.update_layout(
        **style.layout(dark=dark, height=420, showlegend=True, hovermode="x unified"),
        xaxis=style.axis(dark, title={"text": style.literal(x_title)}),
        yaxis={**vertical, "title": {"text": "learning rate"}},
    )
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    return figure


def _named(results: Any) -> dict[str, Any]:
    if hasattr(results, "lrs") or (isinstance(results, Mapping) and "lrs" in results):
        return {"range test": results}
    return dict(results)


def _record(result: Any) -> dict[str, Any]:
    """A range test as plain data: ``to_dict()`` plus the peers' suggestions where there are any."""
    if isinstance(result, Mapping):
        return dict(result)
    data = dict(result.to_dict())
    suggestions = getattr(result, "suggestions", None)
    if suggestions is not None and len(data.get("lrs", ())) > 1:
        data["suggestions"] = suggestions()
    return data


def _range_traces(go: Any, name: str, run: Mapping[str, Any], color: str, *, single: bool) -> list[Any]:
    lrs, losses, smoothed = run["lrs"], run["losses"], run.get("smoothed") or ()
    label, hover = style.literal(style.short(name)), "LR %{x:.3g}<br>%{meta} %{y:.4g}<extra>%{fullData.name}</extra>"
    raw = go.Scatter(
        x=lrs,
        y=losses,
        name="raw loss" if single else label,
        legendgroup=None if single else name,
        showlegend=single or not len(smoothed),
        mode="lines+markers" if single else "lines",
        line={"color": style.faded(color, 0.35 if single else 0.22), "width": 1},
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
        line={"color": color, "width": 2.5 if single else 2},
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
        text += f" ({style.number(interval[0])} … {style.number(interval[1])})"
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


def _mark_single(figure: Any, run: Mapping[str, Any], peers: bool) -> None:
    for zone, bounds in (run.get("zones") or {}).items():
        if bounds and zone in style.ZONES:
            title, fill = style.ZONES[zone]
            label = {"text": title, "textposition": "top left", "font": {"size": 12}}
            figure.add_vrect(x0=bounds[0], x1=bounds[1], fillcolor=fill, line_width=0, layer="below", label=label)
    if run.get("interval"):
        low, high = run["interval"]
        figure.add_shape(
            type="line", x0=low, x1=high, y0=0.012, y1=0.012, yref="paper", line={"color": style.COLORS[0], "width": 7}
        )
    if run.get("suggestion"):
        _vertical(figure, run["suggestion"], f"<b>{style.number(run['suggestion'])}</b>", style.COLORS[0], "dash", 2, 0)
    if peers:
        for row, (rule, lr) in enumerate((run.get("suggestions") or {}).items()):
            if lr:
                text = f"{style.literal(rule)} {style.number(lr)}"
                _vertical(figure, lr, text, "#80868b", "dot", 1, row + 1)


def _vertical(figure: Any, lr: float, text: str, color: str, dash: str, width: int, row: int) -> None:
    """A vertical line at ``lr``; labels go down in rows, so that close lines stay readable."""
    figure.add_vline(x=lr, line={"color": color, "dash": dash, "width": width})
    figure.add_annotation(
        x=math.log10(lr),
        y=0.93 - 0.055 * row,
        yref="paper",
        text=text,
        showarrow=False,
        xanchor="left",
        xshift=4,
        font={"size": 14 if row == 0 else 11, "color": color},
    )


def _loss_range(runs: Iterable[Mapping[str, Any]]) -> list[float] | None:
    """Range of the loss axis: the descent fills it, the explosion leaves through the top."""
    lows, tops = [], []
    for run in runs:
        curve = _finite(run.get("smoothed") or run["losses"])
        raw = _finite(run["losses"])
        if curve:
            low, start = min(curve), curve[0]
            lows.append(min(low, *raw[: raw.index(min(raw)) + 1]) if raw else low)
            tops.append(max([start, *raw[: max(1, len(raw) // 5)]]))
    if not lows:
        return None
    low, top = min(lows), max(tops)
    height = max(top - low, 1e-3 * max(abs(top), abs(low)), 1e-12)
    return [low - 0.08 * height, top + 0.35 * height]


def _finite(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]
