"""The range-test picture: loss over log LR, with zones, suggestion and interval."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures.style import Spec
from lr_lightning.reporting.figures.zones import bars, explain_bars, mark, peer_lines
from lr_lightning.rules.range_test.curve import LIGHT_SHARE, SMOOTHING_SHARE
from lr_lightning.rules.range_test.smoothing import despike, smooth

MAX_BARS = 12
"""Runs up to which the zones of several runs are drawn as bars."""
MOST_POINTS = 3000
"""Points of a curve that are drawn; more can't be told apart on a screen."""


def draw(
    results: Any, options: Mapping[str, Any], colors: Mapping[str, str], labels: Mapping[str, str] | None = None
) -> Spec:
    """See :func:`lr_lightning.reporting.figures.range_test_figure`; ``options`` has ``peers`` and ``dark``.

    ``labels`` are what is shown of the runs' names.
    """
    peers, dark = bool(options["peers"]), bool(options["dark"])
    every = {name: record(result) for name, result in _named(results).items()}
    runs = {name: run for name, run in every.items() if len(run.get("lrs") or ())}
    if not runs:
        return style.empty(_without_points(every), dark)
    labels = {name: style.literal(style.short((labels or {}).get(name, name))) for name in runs}
    own = {name: colors.get(name) or style.color(index, dark) for index, name in enumerate(runs)}
    single, with_bars = len(runs) == 1, 1 < len(runs) <= MAX_BARS and any(run.get("zones") for run in runs.values())
    bottom = 0.1 + 0.025 * len(runs) if with_bars else 0.0
    shown = loss_range([*runs.values()])
    traces = [
        trace
        for name, run in runs.items()
        for trace in _traces((name, labels[name]), run, own[name], single, dark, shown)
    ]
    # A running test shows its whole ladder from the start, so that the picture fills instead of growing.
    span = style.decades([end for run in runs.values() for end in _ends(run)])
    loss_axis = style.axis(dark, title="training loss", domain=[bottom and bottom + 0.06, 1], automargin="left")
    layout = style.layout(dark=dark, height=520, hovermode="x" if single else "closest", showlegend=True)
    layout |= {
        "xaxis": style.log_axis(dark, title="learning rate (log)", range=span, anchor="y2" if with_bars else "y"),
        # Without a finite loss there are crosses alone, at no height.
        "yaxis": {
            **loss_axis,
            **({"range": [0, 1.05], "showticklabels": False} if shown is None else {"range": shown}),
        },
    }
    figure: Spec = {"data": traces, "layout": layout}
    if single:
        run = next(iter(runs.values()))
        mark(figure, run, own[next(iter(runs))], dark)
        figure["data"] += peer_lines(run, shown or [0.0, 1.0], dark) if peers else []
    elif with_bars:
        figure["data"] += bars(runs, own, labels, dark)
        explain_bars(figure, bottom)
        room = {"range": [len(runs) - 0.4, -0.6], "showgrid": False, "ticks": "", "showticklabels": False}
        layout["yaxis2"] = style.axis(dark, title="zones", domain=[0, bottom], fixedrange=True, **room)
    return figure


def _without_points(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Why there is nothing to draw: a test that ended before its first point says so."""
    for run in runs.values():
        if run.get("status") not in ("running", None, ""):
            return f"No points: {run['status']}. {run.get('reason') or ''}".strip()
    return "No range test to show yet."


def record(result: Any) -> dict[str, Any]:
    """A range test as plain data: ``to_dict()``; the peers' suggestions come on request, see ``peer_lines``."""
    if isinstance(result, Mapping):
        return dict(result)
    data: dict[str, Any] = result.to_dict()
    return {**data, "planned": data.get("coverage", {}).get("planned", 0)}


def _named(results: Any) -> dict[str, Any]:
    if hasattr(results, "lrs") or (isinstance(results, Mapping) and "lrs" in results):
        return {"range test": results}
    return dict(results)


def _ends(run: Mapping[str, Any]) -> tuple[Any, ...]:
    return (min(run["lrs"]), max(run["lrs"]), *(run.get("ladder") or ()))


def _traces(
    names: tuple[str, str], run: Mapping[str, Any], color: str, single: bool, dark: bool, shown: Sequence[float] | None
) -> list[Spec]:
    """``names``: the run's own, which groups its traces, and what is shown of it."""
    lrs, losses = np.asarray(run["lrs"], dtype=float), _floats(run["losses"])
    kept = _thinned(len(lrs))
    (name, label), hover = names, "LR %{x:.3g}<br>%{meta} %{y:.4g}<extra>%{fullData.name}</extra>"
    group = {} if single else {"legendgroup": style.literal(name)}
    common: Spec = {"hovertemplate": hover, **group}
    pale = style.faded(color, (0.4 if single else 0.25) + (0.2 if dark else 0.0))
    raw = style.scatter(
        lrs[kept],
        losses[kept],
        name="loss" if single else label,
        showlegend=single,
        mode="lines+markers" if single and len(kept) < 400 else "lines",
        line={"color": pale, "width": 1},
        marker={"size": 4, "color": pale},
        meta="loss",
        **common,
    )
    calm_lrs, calm = _light(run, lrs, losses, shown)
    line = style.scatter(
        calm_lrs,
        calm,
        name="smoothed lightly" if single else label,
        mode="lines",
        line={"color": color, "width": 2.5 if single else 2},
        meta="smoothed",
        **common,
    )
    traces = [raw, line] if len(calm) else [{**raw, "showlegend": True}]
    traces += _bad(lrs, losses, color, label, group, shown)
    rule = _read_by_the_rule(run, lrs, dark) if single else []
    return [*traces, *rule, *_suggestion(label, run, calm_lrs, calm, color, group, dark)]


def _light(run: Mapping[str, Any], lrs: Any, losses: Any, shown: Sequence[float] | None) -> tuple[Any, Any]:
    """The raw losses, lone spikes out and smoothed over a fiftieth of the ladder: it follows what one sees."""
    good = np.isfinite(losses)
    x, y = np.log(lrs[good]), losses[good]
    if len(x) < 8:
        return lrs[:0], losses[:0]
    cap = 2 * shown[1] - shown[0] if shown else math.inf  # an explosion would lift its neighbours into the picture
    planned = max(int(run.get("planned") or 0), len(lrs))
    spacing = (x[-1] - x[0]) / (len(x) - 1)
    calm = smooth(x, np.minimum(despike(y), cap), max(1.0, LIGHT_SHARE * planned) * spacing)
    kept = _thinned(len(x))
    return lrs[good][kept], calm[kept]


def _read_by_the_rule(run: Mapping[str, Any], lrs: Any, dark: bool) -> list[Spec]:
    """The curve that the rule reads, with the reason why it isn't the one that the eye follows."""
    wide = _floats(run.get("smoothed") or ())
    if not len(wide):
        return []
    kept = _thinned(len(wide))
    why = (
        f"What the rule reads: averaged over {SMOOTHING_SHARE:.0%} of the ladder, so that no single batch decides, and "
        "capped where the loss explodes"
    )
    return [
        style.scatter(
            lrs[: len(wide)][kept],
            wide[kept],
            name="what the rule reads",
            legendgroup="rule",
            mode="lines",
            line={"color": style.ink(dark), "width": 1.2, "dash": "dash"},
            hovertemplate=f"%{{y:.4g}}<extra>{style.wrapped(why)}</extra>",
        )
    ]


def _bad(lrs: Any, losses: Any, color: str, label: str, group: Spec, shown: Sequence[float] | None) -> list[Spec]:
    """Crosses at the upper edge where the loss is NaN or infinite: a line can't show them."""
    at = np.flatnonzero(~np.isfinite(losses))[:200]
    if not len(at):
        return []
    top = shown[1] - 0.03 * (shown[1] - shown[0]) if shown else 1.0
    return [
        style.scatter(
            lrs[at],
            np.full(len(at), top),
            name="loss is NaN or infinite",
            **(group or {"legendgroup": "bad"}),
            showlegend=not group,
            mode="markers",
            marker={"symbol": "x", "size": 9, "color": color},
            hovertemplate=f"{label}: loss is NaN or infinite at LR %{{x:.3g}}<extra></extra>",
        )
    ]


def _suggestion(
    label: str, run: Mapping[str, Any], lrs: Any, calm: Any, color: str, group: Spec, dark: bool
) -> list[Spec]:
    suggestion = run.get("suggestion")
    if suggestion is None or not len(calm):
        return []
    near = int(np.argmin(np.abs(np.log(lrs / suggestion))))
    text = f"suggestion {style.number(suggestion)}"
    if run.get("interval"):
        text += f" ({style.span(run['interval'])})"
    return [
        style.scatter(
            [suggestion],
            [float(calm[near])],
            name=label if group else f"suggestion {style.number(suggestion)}",
            **(group or {"legendgroup": "suggestion"}),
            showlegend=not group,
            mode="markers",
            marker={
                "symbol": "diamond",
                "size": 11,
                "color": color,
                "line": {"color": style.paper(dark), "width": 1.5},
            },
            hovertext=[f"{text}<br>{style.wrapped(run.get('reason', ''))}"],
            hovertemplate="%{hovertext}<extra></extra>",
        )
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
            _, seen = _light(run, np.asarray(run["lrs"], dtype=float), _floats(run["losses"]), None)
            lows.append(min(min(curve), *own[: own.index(min(own)) + 1], *seen[np.isfinite(seen)].tolist()))
            tops.append(max([curve[0], *own[: max(1, len(own) // 5)]]))
    if not lows:
        return None
    low, top = min(lows), max(tops)
    level = max(abs(top), abs(low))
    height = max(top - low, (1e-3 if top > low else 0.1) * level, 1e-12)
    return [low - 0.08 * height, top + 0.35 * height]


def _thinned(count: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))


def _floats(values: Iterable[Any]) -> Any:
    return np.asarray([np.nan if value is None else value for value in values], dtype=float)


def _finite(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None and math.isfinite(value)]
