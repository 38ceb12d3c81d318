"""The search picture: score over log LR with the surrogate, the intervals of the rounds, and the history of trials."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures.scale import value_axis
from lr_lightning.reporting.figures.style import Spec

SYMBOLS = {"ok": "circle", "pruned": "circle-open", "diverged": "x", "crashed": "square-open"}
DONE = ("ok", "completed")
MOST_ROUNDS = 12
"""Rounds that have an entry in the legend each; more are one trace, and the newest intervals alone are drawn."""


def draw(search: Mapping[str, Any], *, dark: bool) -> Spec:
    """See :func:`lr_lightning.reporting.figures.search_figure`."""
    trials = [{"index": at, **trial} for at, trial in enumerate(search.get("trials") or ())]
    rounds = list(search.get("rounds") or ())
    if not trials and not rounds:
        return style.empty("No trials yet.", dark)
    figure: Spec = {"data": [], "layout": {}}
    scores = np.array([trial["score"] for trial in trials if scored(trial)], dtype=float)
    axis = _score_axis(scores, search.get("mode") == "max")
    figure["data"] += _surrogate(search.get("surrogate"), dark)
    figure["data"] += _rounds(trials, axis, dark)
    figure["data"] += _best(search, trials, dark)
    figure["data"] += _intervals(search, rounds)
    figure["data"] += _history(trials, search.get("mode") == "max", dark)
    figure["layout"] = _layout(search, trials, rounds, axis, dark)
    figure["data"] += _legend(trials, axis, dark)
    if trials and not len(scores):
        ends = Counter(trial["status"] for trial in trials)
        words = ", ".join(f"{count} {style.literal(style.short(end))}" for end, count in ends.items())
        text = f"<b>No trial has a score</b>: {words}."
        if search.get("reason"):
            text += f"<br>{style.wrapped(search['reason'], 70, 4)}"
        style.note(figure, text, x=0.5, y=0.74, font={"size": 14})
    return figure


def scored(trial: Mapping[str, Any]) -> bool:
    """Whether the trial has a score that can be drawn."""
    good = trial["status"] not in ("diverged", "crashed") and trial["score"] is not None
    return good and math.isfinite(trial["score"])


def best(search: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The best trial that ran to its end, or None."""
    done = [trial for trial in search.get("trials") or () if scored(trial) and trial["status"] in DONE]
    sign = -1 if search.get("mode") == "max" else 1
    return min(done, key=lambda trial: sign * trial["score"], default=None)


def _score_axis(scores: Any, higher: bool) -> Spec:
    """Range that keeps the good ones apart: bad scores leave it, and stand as triangles at its edge."""
    if not len(scores):
        return {"type": "linear"}
    sign = -1.0 if higher else 1.0
    good = np.sort(sign * scores)
    middle = good[len(good) // 2] - good[0]
    fence = good[0] + 4 * max(float(middle), 1e-9 * abs(float(good[0])))
    return value_axis([scores[sign * scores <= fence]], clip=False, scale="auto")


def _outside(score: float, axis: Spec) -> bool:
    if "range" not in axis:
        return False
    low, high = (style.power_of_ten(end) if axis["type"] == "log" else end for end in axis["range"])
    return not low <= score <= high


def _layout(
    search: Mapping[str, Any], trials: Sequence[Any], rounds: Sequence[Any], axis: Spec, dark: bool
) -> dict[str, Any]:
    bounds = [end for item in rounds for end in (item["low"], item["high"])]
    span = style.decades([*bounds, *[trial["lr"] for trial in trials]])
    better = "higher" if search.get("mode") == "max" else "lower"
    title = f"{style.literal(style.short(search.get('metric') or 'score'))} ({better} is better)"
    log = style.log_ticks(axis["range"], 6) if axis["type"] == "log" else {}
    first = max(0, len(rounds) - 3 * MOST_ROUNDS)
    ticks = list(range(first, len(rounds), max(1, (len(rounds) - first) // 8)))
    quiet: Spec = {"visible": False, "fixedrange": True}
    return {
        **style.layout(dark=dark, height=720, showlegend=True, hovermode="closest"),
        "xaxis": style.log_axis(dark, title="learning rate (log)", anchor="y2", range=span),
        "xaxis2": style.axis(dark, title="trial", anchor="y4", rangemode="tozero", nticks=12),
        "yaxis": style.axis(dark, title=title, domain=[0.52, 0.95], automargin="left", **axis, **log),
        "yaxis2": style.axis(dark, title="round", domain=[0.33, 0.48], tickmode="array", tickvals=ticks,
                             range=[len(rounds) - 0.4, first - 0.6]),
        "yaxis3": style.axis(dark, domain=[0.96, 1], range=[-1, 1], **quiet),
        "yaxis4": style.axis(dark, title="score", domain=[0, 0.2], anchor="x2", **{"nticks": 4, **axis, **log}),
    }  # fmt: skip


def _surrogate(curve: Mapping[str, Sequence[float]] | None, dark: bool) -> list[Spec]:
    """What the search believes: the expected score at every LR, and the band of its samples."""
    if not curve:
        return []
    grey = "#bdc1c6" if dark else "#5f6368"
    common: Spec = {"mode": "lines", "hoverinfo": "skip"}
    edge = {"width": 0, "color": grey}
    return [
        style.scatter(curve["lr"], curve["high"], line=edge, showlegend=False, name="band", **common),
        style.scatter(
            curve["lr"], curve["low"], line=edge, fill="tonexty", fillcolor=style.faded(grey, 0.18), name="80 % band",
            **common,
        ),
        style.scatter(
            curve["lr"], curve["mean"], mode="lines", line={"color": grey, "width": 1.5},
            name="surrogate's mean", hovertemplate="LR %{x:.3g}<br>expected %{y:.4g}<extra></extra>",
        ),
    ]  # fmt: skip


def _rounds(trials: Sequence[Mapping[str, Any]], axis: Spec, dark: bool) -> list[Spec]:
    numbers = sorted({int(trial["round"]) for trial in trials})
    if len(numbers) > MOST_ROUNDS:
        return _points(f"{len(numbers)} rounds", trials, axis, dark)
    own = {number: [trial for trial in trials if int(trial["round"]) == number] for number in numbers}
    return [trace for number in numbers for trace in _points(f"round {number}", own[number], axis, dark)]


def _points(name: str, trials: Sequence[Mapping[str, Any]], axis: Spec, dark: bool) -> list[Spec]:
    """Scores at their LRs; what has none, or lies far off, stands at the upper edge."""
    inside = [trial for trial in trials if scored(trial) and not _outside(trial["score"], axis)]
    off = [trial for trial in trials if not (scored(trial) and not _outside(trial["score"], axis))]
    edge = {"color": style.paper(dark), "width": 1}
    traces = []
    for part, strip in ((inside, False), (off, True)):
        if part or not strip:
            symbols = [SYMBOLS.get(trial["status"], "circle") for trial in part]
            if strip:
                symbols = ["triangle-up" if scored(trial) else SYMBOLS.get(trial["status"], "x") for trial in part]
            colors = [color_of(int(trial["round"])) for trial in part]
            traces.append(
                style.scatter(
                    [trial["lr"] for trial in part],
                    [0] * len(part) if strip else [trial["score"] for trial in part],
                    **({"yaxis": "y3"} if strip else {}),
                    name=f"{name}: no score, or far off" if strip else name,
                    mode="markers",
                    legendgroup=name,
                    showlegend=False,
                    marker={"color": colors, "size": 10, "symbol": symbols, "line": edge},
                    hovertext=[describe(trial) for trial in part],
                    hovertemplate="%{hovertext}<extra></extra>",
                )
            )
    return traces


def _legend(trials: Sequence[Mapping[str, Any]], axis: Spec, dark: bool) -> list[Spec]:
    """Entries of the legend without points of their own: colours are rounds, symbols say how a trial ended."""
    numbers = sorted({int(trial["round"]) for trial in trials})
    entries = [(f"round {n}", color_of(n), "circle", f"round {n}") for n in numbers[: MOST_ROUNDS + 1]]
    if len(numbers) > MOST_ROUNDS:
        entries = []
    ends = {trial["status"] for trial in trials if trial["status"] in SYMBOLS and trial["status"] not in DONE}
    entries += [(end, style.ink(dark), SYMBOLS[end], end) for end in SYMBOLS if end in ends]
    if any(scored(trial) and _outside(trial["score"], axis) for trial in trials):
        entries.append(("score far off", style.ink(dark), "triangle-up", "far"))
    return [
        style.scatter(
            [None], [None], mode="markers", name=name, legendgroup=group, hoverinfo="skip",
            marker={"color": color, "symbol": symbol, "size": 10},
        )
        for name, color, symbol, group in entries
    ]  # fmt: skip


def color_of(number: int) -> str:
    """The colour of a round."""
    return style.ROUND_COLORS[number % len(style.ROUND_COLORS)]


def describe(trial: Mapping[str, Any]) -> str:
    """A trial for a hover label."""
    lines = [f"<b>trial {_whole(trial.get('index'))}: LR {style.number(trial['lr'])}</b>"]
    if trial["status"] not in DONE:
        lines.append(f"<b>{style.literal(style.short(trial['status']))}</b>")
    lines.append(f"score {style.number(trial['score'])} · round {trial['round']}")
    if trial.get("seconds") is not None:
        lines.append(duration(trial["seconds"]))
    known = {"lr", "score", "round", "status", "index", "seconds"}
    more = [(key, value) for key, value in trial.items() if key not in known and value not in (None, "")]
    lines += [style.wrapped(f"{key}: {value}", lines=3) for key, value in more[:8]]
    return "<br>".join(lines)


def _whole(value: Any) -> str:
    return "" if value is None else f"{value:.0f}" if isinstance(value, float) else style.literal(value)


def duration(seconds: float | None) -> str:
    """A duration for people.

    >>> duration(4.2), duration(100), duration(None)
    ('4.2 s', '1 min 40 s', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {seconds % 60:.0f} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _best(search: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], dark: bool) -> list[Spec]:
    """The search's answer, from all trials together; without one, the best trial that ran to its end."""
    winner = best({**search, "trials": trials})
    answer = search.get("best") or {}
    lr = answer.get("lr") or (winner["lr"] if winner else None)
    score = answer.get("score") if answer.get("score") is not None else winner["score"] if winner else None
    if lr is None or score is None:
        return []
    words = "expected" if answer.get("lr") else "score"
    return [
        style.scatter(
            [lr],
            [score],
            name=f"best: LR {style.number(lr)}",
            mode="markers",
            marker={"symbol": "star", "size": 18, "color": "#F0C808", "line": {"color": style.ink(dark), "width": 1}},
            hovertext=[f"<b>best: LR {lr:.4g}</b><br>{words} {style.number(score)}"],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    ]


def _intervals(search: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> list[Spec]:
    """For each round the LRs that it tried (thin) and the interval of the best LR that it left (thick)."""
    traces: list[Spec] = []
    last = search.get("interval")
    for index in range(max(0, len(rounds) - 3 * MOST_ROUNDS), len(rounds)):
        item, color = rounds[index], color_of(index)
        left = (last if index == len(rounds) - 1 else None) or item.get("interval")
        tried = f"round {index} tried {style.span((item['low'], item['high']))}"
        common: Spec = {"yaxis": "y2", "legendgroup": f"round {index}", "showlegend": False}
        for name, bounds, width, text in (
            (f"tried {index}", (item["low"], item["high"]), 1.5, tried),
            (f"interval {index}", left, 8, f"{tried}<br>and left {style.span(left)}"),
        ):
            if bounds:
                line = {"color": color, "width": width}
                traces.append(
                    style.scatter(
                        list(bounds), [index, index], name=name, mode="lines+markers", line=line,
                        marker={"symbol": "line-ns-open", "size": 12, "color": color}, hovertext=[text, text],
                        hovertemplate="%{hovertext}<extra></extra>", **common,
                    )
                )  # fmt: skip
    return traces


def _history(trials: Sequence[Mapping[str, Any]], higher: bool, dark: bool) -> list[Spec]:
    """Scores in the order of the trials, and the best so far."""
    good = [trial for trial in trials if scored(trial)]
    if not good:
        return []
    at, scores = [trial["index"] for trial in good], np.array([trial["score"] for trial in good], dtype=float)
    order = np.argsort(np.asarray(at, dtype=float), kind="stable")
    running = (np.maximum if higher else np.minimum).accumulate(scores[order])
    axes: Spec = {"xaxis": "x2", "yaxis": "y4", "showlegend": False}
    marker = {"color": [color_of(int(trial["round"])) for trial in good], "size": 7}
    return [
        style.scatter(
            [at[i] for i in order], running, mode="lines", name="record so far", hoverinfo="skip",
            line={"color": style.ink(dark), "width": 1.2, "shape": "hv"}, **axes,
        ),
        style.scatter(
            at, scores, mode="markers", name="trials", marker=marker, hovertext=[describe(trial) for trial in good],
            hovertemplate="%{hovertext}<extra></extra>", **axes,
        ),
    ]  # fmt: skip
