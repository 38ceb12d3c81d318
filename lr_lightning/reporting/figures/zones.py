"""What is marked on a range test: zones, interval, suggestion or why there is none, and other libraries' answers."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures.style import Spec
from lr_lightning.rules.range_test.peers import PEERS, peer_suggestions


def mark(figure: Spec, run: Mapping[str, Any], color: str, dark: bool) -> None:
    """Zones and interval, named in the legend, and the suggestion; a test without an answer says why."""
    shapes = []
    for zone, bounds in (run.get("zones") or {}).items():
        if bounds and zone in style.ZONES:
            fill = style.tint(zone, dark)
            name = f"{style.ZONES[zone][0]} ({style.span(bounds)})"
            shapes.append(_shape("rect", bounds, (0, 1), name=name, fillcolor=fill, line={"width": 0}, layer="below"))
    if run.get("interval"):
        name = f"interval {style.span(run['interval'])}"
        line = {"color": color, "width": 7}
        shapes.append(_shape("line", run["interval"], (0.012, 0.012), name=name, line=line))
    if run.get("suggestion"):
        lr = run["suggestion"]
        shapes.append({"type": "line", "x0": lr, "x1": lr, "y0": 0, "y1": 1, "yref": "paper",
                       "line": {"color": color, "dash": "dash", "width": 2}})  # fmt: skip
        _name_suggestion(figure, lr, color)
    elif run.get("status") not in ("running", None, ""):
        text = f"<b>No suggestion.</b> {style.wrapped(run.get('reason') or run['status'], 44, 6)}"
        style.note(
            figure, text, x=0.5, y=0.97, yanchor="top", font={"size": 14}, bgcolor=style.paper(dark), borderpad=6
        )
    figure["layout"]["shapes"] = shapes


def _shape(kind: str, xs: Sequence[float], ys: tuple[float, float], **more: Any) -> Spec:
    """A shape over the whole height of the paper, with an entry in the legend."""
    ends = {"x0": xs[0], "x1": xs[1], "y0": ys[0], "y1": ys[1], "yref": "paper"}
    return {"type": kind, **ends, "showlegend": True, **more}


def _name_suggestion(figure: Spec, lr: float, color: str) -> None:
    """The number beside its line, on the side that has room."""
    bounds = figure["layout"]["xaxis"].get("range") or [-8.0, 1.0]
    right = math.log10(lr) > bounds[0] + 0.85 * (bounds[1] - bounds[0])
    side = {"xanchor": "right", "xshift": -5} if right else {"xanchor": "left", "xshift": 5}
    text = f"<b>LR {style.number(lr)}</b>"
    style.note(figure, text, x=math.log10(lr), xref="x", y=0.96, font={"size": 15, "color": color}, **side)


def bars(
    runs: Mapping[str, Mapping[str, Any]], colors: Mapping[str, str], labels: Mapping[str, str], dark: bool
) -> list[Spec]:
    """One row a run: its zones as a band, its interval and suggestion on it."""
    traces = []
    for row, (name, run) in enumerate(runs.items()):
        label = labels[name]
        common: Spec = {
            "yaxis": "y2",
            "legendgroup": style.literal(name),
            "showlegend": False,
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
        for zone, bounds in (run.get("zones") or {}).items():
            if bounds and zone in style.ZONES:
                text = f"{label}<br>{style.ZONES[zone][0]}: {style.span(bounds)}"
                line = {"color": style.tint(zone, bold=True), "width": 9}
                traces.append(
                    style.scatter(list(bounds), [row] * 2, mode="lines", line=line, hovertext=[text] * 2, **common)
                )
        if run.get("interval"):
            line, text = {"color": colors[name], "width": 3}, f"{label}<br>interval {style.span(run['interval'])}"
            traces.append(
                style.scatter(list(run["interval"]), [row] * 2, mode="lines", line=line, hovertext=[text] * 2, **common)
            )
        if run.get("suggestion"):
            edge = {"color": style.paper(dark), "width": 1}
            marker = {"symbol": "diamond", "size": 9, "color": colors[name], "line": edge}
            text = f"{label}<br>suggestion {style.number(run['suggestion'])}"
            traces.append(
                style.scatter([run["suggestion"]], [row], mode="markers", marker=marker, hovertext=[text], **common)
            )
    return traces


def explain_bars(figure: Spec, top: float) -> None:
    """What the bars' colours mean, above them."""
    inks = {words: style.tint(zone, bold=True) for zone, (words, _) in style.ZONES.items()}
    zones = [f'<span style="color:{ink}">■</span> {words}' for words, ink in inks.items()]
    text = "   ".join([*zones, "<b>–</b> interval", "◆ suggestion"])
    style.note(figure, text, x=0, y=top, xanchor="left", yanchor="bottom")


def peer_lines(run: Mapping[str, Any], span: Sequence[float], dark: bool) -> list[Spec]:
    """Other libraries' suggestions on the same losses: thin lines, named in the legend, where a dozen has room.

    This package's own rules aren't among them. Computed here, on request: no training pays for it.
    """
    losses = [math.nan if value is None else float(value) for value in run["losses"]]
    said: Mapping[str, float | None] = {}
    with contextlib.suppress(Exception):  # they are an extra; a curve from anywhere that they choke on has none
        said = peer_suggestions(run["lrs"], losses, max(int(run.get("planned") or 0), len(losses)))
    others = sorted((lr, name) for name, lr in said.items() if lr and name in PEERS)
    return [
        style.scatter(
            [lr, lr],
            list(span),
            mode="lines",
            name=f"{style.literal(name)} {style.number(lr)}",
            line={"color": style.color(index + 1, dark), "width": 1.2, "dash": ("dot", "dashdot")[index % 2]},
            hovertemplate="%{fullData.name}<extra></extra>",
        )
        for index, (lr, name) in enumerate(others)
    ]
