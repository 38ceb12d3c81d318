"""What is marked in the training picture: events with their reasons, and losses that became NaN."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures.style import Spec

SYMBOLS = {
    "decay": "triangle-down",
    "range_test": "star",
    "search": "star",
    "formula": "circle",
    "restart": "triangle-up",
    "kick": "triangle-up",
    "restore": "triangle-left",
    "wait": "circle-open",
}
MOST_LINES = 100
"""Vertical lines that stay readable."""

Place = Callable[..., Any]


def event_trace(name: str, run: Mapping[str, Any], color: str, place: Place, dark: bool) -> list[Spec]:
    """The events of a run as marks on its LR, with their reasons on hover; nothing without events."""
    events = [plain(event) for event in run.get("events") or ()]
    if not events:
        return []
    return [
        style.scatter(
            np.asarray(place(run, [event["step"] for event in events]), dtype=float),
            [event["new_lr"] for event in events],
            yaxis="y2",
            name="events",
            legendgroup=style.literal(name),
            showlegend=False,
            mode="markers",
            marker={
                "symbol": [SYMBOLS.get(event["kind"], "circle") for event in events],
                "size": 11,
                "color": color,
                "line": {"color": style.paper(dark), "width": 1},
            },
            hovertext=[describe(event) for event in events],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    ]


def lost_trace(tag: str, steps: Any, at: Any, values: Any, axis: str, color: str) -> Spec | None:
    """A mark at the last finite value before a series becomes NaN or infinite for good; None where it doesn't."""
    finite = np.isfinite(values)
    if not len(values) or finite[-1]:
        return None
    last = int(np.flatnonzero(finite)[-1]) if finite.any() else -1
    step, word = float(steps[last + 1]), "NaN" if np.isnan(values[last + 1]) else "infinite"
    shown = max(last, 0)
    return style.scatter(
        at[shown : shown + 1],
        [float(values[last]) if last >= 0 else 0.0],
        yaxis=axis,
        mode="markers",
        name=f"{word} from here on",
        showlegend=False,
        marker={"symbol": "x", "size": 11, "color": color},
        customdata=[step],
        hovertext=[f"<b>{word}</b> from step {step:,.0f} on<br>{style.wrapped(tag)}"],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def describe(event: Mapping[str, Any]) -> str:
    """An event for a hover label."""
    by = f" · {style.literal(style.short(event['source']))}" if event.get("source") else ""
    change = "stays" if event["kind"] == "wait" else f"→ {style.number(event['new_lr'])}"
    change = f"LR {style.number(event['old_lr'])} {change}"
    where = f"step {event['step']:,}, epoch {event['epoch']}"
    kind = style.literal(style.short(event["kind"]))
    return f"<b>{kind}</b>{by}<br>{where}<br>{change}<br>{style.wrapped(event['reason'])}"


def mark_events(figure: Spec, run: Mapping[str, Any], place: Place) -> None:
    """Vertical lines through all panels where the LR changed, up to as many as stay readable."""
    events = [event for event in map(plain, run.get("events") or ()) if event["kind"] != "wait"][:MOST_LINES]
    line = {"color": "#80868b", "width": 1, "dash": "dot"}
    found: Sequence[float] = place(run, [event["step"] for event in events]) if events else ()
    figure["layout"]["shapes"] = [
        {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}
        for at in map(float, found)
        if np.isfinite(at)
    ]


def plain(event: Any) -> dict[str, Any]:
    """An event as a mapping with every key, whatever its origin."""
    data = asdict(event) if is_dataclass(event) and not isinstance(event, type) else dict(event)
    blank = {"kind": "event", "step": 0, "epoch": 0, "old_lr": None, "new_lr": None, "reason": "", "source": ""}
    return {**blank, **data}
