"""The search picture: score over log LR, the intervals of the rounds below it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lr_lightning.reporting.figures import style

_FAILED = {"diverged": "x", "crashed": "square-open"}


def draw(search: Mapping[str, Any], *, dark: bool) -> Any:
    """See :func:`lr_lightning.reporting.figures.search_figure`."""
    import plotly.graph_objects as go

    figure = go.Figure()
    trials, rounds = list(search.get("trials") or ()), list(search.get("rounds") or ())
    if not trials and not rounds:
        return style.rows_or_note(figure, "No trials yet.", dark)
    for number in sorted({int(trial["round"]) for trial in trials}):
        own = [trial for trial in trials if int(trial["round"]) == number]
        figure.add_traces(_round_traces(go, number, own, dark))
    _mark_best(figure, go, search, trials)
    _draw_intervals(figure, rounds)
    bounds = [value for item in rounds for value in (item["low"], item["high"])]
    score = search.get("metric") or "score"
    better = "higher" if search.get("mode") == "max" else "lower"
    span = style.decades([*bounds, *[trial["lr"] for trial in trials]])
    figure.update_layout(
        **style.layout(dark=dark, height=600, showlegend=True, hovermode="closest"),
        xaxis=style.log_axis(dark, title="learning rate (log)", anchor="y2", range=span),
        yaxis=style.axis(dark, title=f"{style.literal(score)} ({better} is better)", domain=[0.3, 0.9]),
        yaxis2=style.axis(
            dark,
            title="round",
            domain=[0, 0.24],
            tickmode="array",
            tickvals=list(range(len(rounds))),
            range=[len(rounds) - 0.5, -0.5],
        ),
        yaxis3=style.axis(dark, domain=[0.92, 1], visible=False, range=[-1, 1], fixedrange=True),
    )
    return figure


def finished(trial: Mapping[str, Any]) -> bool:
    """Whether the trial has a score that can be drawn."""
    return trial["status"] == "ok" and trial["score"] is not None and math.isfinite(trial["score"])


def best(search: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The best finished trial, or None."""
    done = [trial for trial in search.get("trials") or () if finished(trial)]
    sign = -1 if search.get("mode") == "max" else 1
    return min(done, key=lambda trial: sign * trial["score"], default=None)


def _round_traces(go: Any, number: int, trials: Sequence[Mapping[str, Any]], dark: bool) -> list[Any]:
    color = style.ROUND_COLORS[number % len(style.ROUND_COLORS)]
    edge = "#303030" if dark else "#ffffff"
    good = [trial for trial in trials if finished(trial)]
    bad = [trial for trial in trials if not finished(trial)]
    common = {"mode": "markers", "legendgroup": f"round {number}", "hovertemplate": "%{hovertext}<extra></extra>"}
    traces = [
        go.Scatter(
            x=[trial["lr"] for trial in good],
            y=[trial["score"] for trial in good],
            name=f"round {number}",
            marker={"color": color, "size": 10, "line": {"color": edge, "width": 1}},
            hovertext=[_describe(trial) for trial in good],
            showlegend=True,
            **common,
        )
    ]
    if bad:
        traces.append(
            go.Scatter(
                x=[trial["lr"] for trial in bad],
                y=[0] * len(bad),
                yaxis="y3",
                name=f"round {number}: diverged or crashed",
                marker={"color": color, "size": 10, "symbol": [_FAILED.get(trial["status"], "x") for trial in bad]},
                hovertext=[_describe(trial) for trial in bad],
                showlegend=False,
                **common,
            )
        )
    return traces


def _describe(trial: Mapping[str, Any]) -> str:
    lines = [f"<b>LR {style.number(trial['lr'])}</b>", f"score {style.number(trial['score'])} · round {trial['round']}"]
    if trial["status"] != "ok":
        lines.insert(1, f"<b>{style.literal(trial['status'])}</b>")
    known = {"lr", "score", "round", "status"}
    lines += [f"{style.literal(key)}: {style.wrapped(value)}" for key, value in trial.items() if key not in known]
    return "<br>".join(lines)


def _mark_best(figure: Any, go: Any, search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> None:
    winner = best(search)
    failed = [trial for trial in trials if not finished(trial)]
    if failed:
        text = "diverged ×  crashed □"
        figure.add_annotation(
            text=text, x=0, y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
            font={"size": 12},
        )  # fmt: skip
    if winner is None:
        return
    figure.add_trace(
        go.Scatter(
            x=[winner["lr"]],
            y=[winner["score"]],
            name=f"best: LR {style.number(winner['lr'])}",
            mode="markers",
            marker={"symbol": "star", "size": 18, "color": "#F0C808", "line": {"color": "#3c4043", "width": 1}},
            hovertext=[_describe(winner)],
            hovertemplate="best<br>%{hovertext}<extra></extra>",
        )
    )


def _draw_intervals(figure: Any, rounds: Sequence[Mapping[str, Any]]) -> None:
    for index, item in enumerate(rounds):
        color = style.ROUND_COLORS[index % len(style.ROUND_COLORS)]
        text = f"round {index}: {style.number(item['low'])} … {style.number(item['high'])}"
        figure.add_scatter(
            x=[item["low"], item["high"]],
            y=[index, index],
            yaxis="y2",
            mode="lines+markers",
            line={"color": color, "width": 8},
            marker={"symbol": "line-ns-open", "size": 14, "color": color},
            name=f"interval {index}",
            legendgroup=f"round {index}",
            showlegend=False,
            hovertext=[text, text],
            hovertemplate="%{hovertext}<extra></extra>",
        )
