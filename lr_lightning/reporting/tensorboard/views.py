"""One payload a view: the figure as plotly JSON, a table, and notes in words. The tab and the HTML export share it."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lr_lightning.reporting import figures
from lr_lightning.reporting.figures import search as _search
from lr_lightning.reporting.figures import style
from lr_lightning.reporting.tensorboard.store import Store

VIEWS = ("range_test", "training", "search")
LEGEND_RUNS = 12
"""Runs up to which a legend is drawn; beyond, the run picker has the colours."""
STALE_SECONDS = 120.0
"""A running test that hasn't written for so long is called cut off; a run that has is asked for again."""

Payload = dict[str, Any]


def overview(store: Store) -> Payload:
    """What there is: runs with their colours and views, metrics, and the metrics to show first."""
    views = store.views()
    names = sorted(views, key=natural)
    return {
        "runs": [
            {"name": name, "color": style.color(index), "views": sorted(views[name])}
            for index, name in enumerate(names)
        ],
        "metrics": sorted(store.metrics()),
        "chosen": default_metrics(store),
    }


def payload(store: Store, view: str, runs: Sequence[str], options: Mapping[str, Any]) -> Payload:
    """One view of ``runs``.

    Args:
        store: Where to read.
        view: One of :data:`VIEWS`.
        runs: Names of the runs to show.
        options: ``dark``, ``peers`` (flags), ``x`` (``step`` or ``epoch``), ``metrics`` (tags).

    Returns:
        ``figure`` (a plotly Figure), ``table`` (``head``, ``rows``), ``notes`` and ``live``: whether to ask again soon.

    Raises:
        ValueError: If ``view`` is unknown.
    """
    if view not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {view!r}")
    colors = {name: style.color(index) for index, name in enumerate(sorted(store.views(), key=natural))}
    build = {"range_test": _range_test, "training": _training, "search": _search_view}[view]
    result = build(store, runs, options, colors)
    figure = result["figure"]
    figure.update_layout(height=None, autosize=True, uirevision=view)
    if len(runs) > LEGEND_RUNS:
        figure.update_layout(showlegend=False)
    return result


def to_json(result: Payload) -> str:
    """The payload as JSON; what JSON has no word for becomes null."""
    rest = {key: value for key, value in result.items() if key != "figure"}
    return f'{{"figure":{result["figure"].to_json()},"rest":{json.dumps(rest, allow_nan=False)}}}'


def default_metrics(store: Store) -> list[str]:
    """The training loss and the validation loss, as far as their names tell; of several, what most runs have."""
    counts = store.metrics()
    losses = sorted((tag for tag in counts if "loss" in tag.lower()), key=lambda tag: (-counts[tag], tag))
    validation = [tag for tag in losses if tag.lower().startswith("val")]
    training = [tag for tag in losses if tag not in validation]
    return [*training[:1], *validation[:1]] or sorted(counts)[:1]


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts ``version_10`` after ``version_9``."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"[0-9]+|[^0-9]+", name)]


def _range_test(store: Store, runs: Sequence[str], options: Mapping[str, Any], colors: Mapping[str, str]) -> Payload:
    found = store.range_tests(runs)
    tests = {name: found.runs[name] for name in sorted(found.runs, key=natural)}
    own = {name: colors.get(test["run"], style.color(0)) for name, test in tests.items()}
    figure = figures.range_test_figure(tests, bool(options.get("peers")), dark=bool(options.get("dark")), colors=own)
    rows, live = [], False
    for name, test in tests.items():
        running = test.get("status") == "running"
        fresh = time.time() - test["last_write"] < STALE_SECONDS
        live = live or (running and fresh)
        status = ("running" if fresh else "cut off before its end") if running else str(test.get("status", ""))
        zone = (test.get("zones") or {}).get("descending")
        rows.append(
            {
                "color": own[name],
                "cells": [
                    name,
                    style.number(test.get("suggestion")),
                    _range(test.get("interval")),
                    _range(zone),
                    f"{len(test['lrs'])}",
                    status,
                    str(test.get("reason", "")),
                ],
            }
        )
    head = ["run", "suggested LR", "interval", "descending zone", "points", "status", "why"]
    return {"figure": figure, "table": {"head": head, "rows": rows}, "notes": found.notes, "live": live}


def _training(store: Store, runs: Sequence[str], options: Mapping[str, Any], colors: Mapping[str, str]) -> Payload:
    metrics = list(options.get("metrics") or ())
    found = store.trainings(sorted(runs, key=natural), metrics)
    x = "epoch" if options.get("x") == "epoch" else "step"
    notes = list(found.notes)
    unplaced = [name for name, run in found.runs.items() if run["lr"] and not run["epochs"]]
    if x == "epoch" and unplaced:
        notes.append(f"No epochs are logged for {', '.join(unplaced[:5])}: drawn over steps.")
    title = metrics[0] if len(metrics) == 1 else "loss"
    figure = figures.training_figure(found.runs, x=x, loss=title, dark=bool(options.get("dark")), colors=colors)
    rows = [
        {
            "color": colors.get(name, style.color(0)),
            "cells": [
                name,
                str(event.get("kind", "")),
                str(event.get("step", "")),
                str(event.get("epoch", "")),
                f"{style.number(event.get('old_lr'))} → {style.number(event.get('new_lr'))}",
                str(event.get("source", "")),
                str(event.get("reason", "")),
            ],
        }
        for name, run in found.runs.items()
        for event in run["events"][:200]
    ]
    head = ["run", "event", "step", "epoch", "LR", "by", "why"]
    live = any(time.time() - store.last_write(run) < STALE_SECONDS for run in runs)
    return {"figure": figure, "table": {"head": head, "rows": rows[:500]}, "notes": notes, "live": live}


def _search_view(store: Store, runs: Sequence[str], options: Mapping[str, Any], colors: Mapping[str, str]) -> Payload:
    found = store.searches(runs)
    names = sorted(found.runs, key=natural)
    notes = list(found.notes)
    if len(names) > 1:
        notes.append(f"Shown: {names[-1]}. Choose one search at a time; {len(names)} are chosen.")
    search = found.runs[names[-1]] if names else {}
    figure = figures.search_figure(search, dark=bool(options.get("dark")))
    winner = _search.best(search)
    rows = [
        {
            "color": style.ROUND_COLORS[int(trial["round"]) % len(style.ROUND_COLORS)],
            "cells": [
                str(trial["round"]),
                style.number(trial["lr"]),
                style.number(trial["score"]),
                str(trial["status"]) + (" · best" if trial is winner else ""),
            ],
        }
        for trial in search.get("trials", ())
    ]
    live = search.get("status") == "running"
    return {
        "figure": figure,
        "table": {"head": ["round", "LR", "score", "status"], "rows": rows},
        "notes": notes,
        "live": live,
    }


def _range(bounds: Sequence[float] | None) -> str:
    return "–" if not bounds else f"{style.number(bounds[0])} … {style.number(bounds[1])}"
