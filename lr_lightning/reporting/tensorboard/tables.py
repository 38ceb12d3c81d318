"""The three views: which figure, which rows of the table, and what is to be said."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lr_lightning.reporting.figures import range_test as range_test_figure
from lr_lightning.reporting.figures import search as search_figure
from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures import training as training_figure
from lr_lightning.reporting.tensorboard.names import natural
from lr_lightning.reporting.tensorboard.store import Store

STALE_SECONDS = 120.0
"""A running test that hasn't written for so long is called cut off; a run that has is asked for again."""
LEGEND_RUNS = 1
"""Runs up to which a legend is drawn: the names of more stand at the left, with their colours."""
MOST_ROWS = 500
MOST_OF_A_RUN = 200
MOST_NOTES = 20
HEADS = {
    "range_test": ["run", "suggested LR", "interval", "descending zone", "points", "status", "why"],
    "training": ["run", "event", "step", "epoch", "LR", "by", "why"],
    "search": ["trial", "round", "LR", "score", "status", "took", "why"],
}

Colors = Mapping[str, str]
View = dict[str, Any]


def range_test(store: Store, runs: Sequence[str], options: Mapping[str, Any], colors: Colors) -> View:
    """Range tests: one row a test."""
    found = store.range_tests(runs)
    tests = {name: found.runs[name] for name in sorted(found.runs, key=natural)}
    own = {name: colors.get(test["run"], style.color(0)) for name, test in tests.items()}
    labels = {name: options["labels"].get(test["run"], name) + name[len(test["run"]) :] for name, test in tests.items()}
    figure = range_test_figure.draw(tests, options, own, labels)
    rows, live = [], False
    for name, test in tests.items():
        running = test["status"] == "running"
        fresh = time.time() - test["last_write"] < STALE_SECONDS
        live = live or (running and fresh)
        status = ("running" if fresh else "cut off before its end") if running else test["status"]
        cells = [
            name,
            style.number(test["suggestion"]),
            style.span(test["interval"]),
            style.span(test["zones"].get("descending")),
            f"{len(test['lrs'])}",
            status,
            test["reason"],
        ]
        rows.append({"color": own[name], "run": test["run"], "group": style.literal(name), "cells": cells})
    _quiet_legend(figure, len(tests))
    table, answer = (
        {"head": HEADS["range_test"], "rows": rows},
        _found(next(iter(tests.values()))) if len(tests) == 1 else "",
    )
    return {"figure": figure, "table": table, "notes": found.notes, "live": live, "answer": answer}


def _found(test: Mapping[str, Any]) -> str:
    if test["suggestion"] is None:
        return ""  # the picture says why
    inside = f" (interval {style.span(test['interval'])})" if test["interval"] else ""
    return f"LR {style.number(test['suggestion'])}{inside}: {test['reason']}"


def training(store: Store, runs: Sequence[str], options: Mapping[str, Any], colors: Colors) -> View:
    """Training: one row an event."""
    found = store.trainings(runs, options["metrics"], with_epochs=options["x"] == "epoch")
    notes = list(found.notes)
    drawn, options = _over_epochs(found.runs, options, notes) if options["x"] == "epoch" else (found.runs, options)
    figure = training_figure.draw(drawn, options, colors)
    notes += _said(figure["layout"].get("meta") or {})
    rows = [
        {
            "color": colors.get(name, style.color(0)),
            "run": name,
            "group": style.literal(name),
            "cells": _event_cells(name, event),
        }
        for name, run in found.runs.items()
        for event in run["events"][:MOST_OF_A_RUN]
    ]
    if len(rows[:MOST_ROWS]) < (count := sum(len(run["events"]) for run in found.runs.values())):
        notes.append(f"The table has {len(rows[:MOST_ROWS]):,} of {count:,} events, the first of each run.")
    _quiet_legend(figure, len([run for run in found.runs.values() if run["lr"] or run["loss"]]))
    live = any(_writes(store, name, run) for name, run in found.runs.items())
    table = {"head": HEADS["training"], "rows": rows[:MOST_ROWS]}
    return {"figure": figure, "table": table, "notes": notes, "live": live}


def _over_epochs(
    runs: Mapping[str, Any], options: Mapping[str, Any], notes: list[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The runs that can be drawn over epochs; where none can, all of them over steps."""
    unplaced = [name for name, run in runs.items() if run["lr"] and not run["epochs"]]
    placed = {name: run for name, run in runs.items() if name not in set(unplaced)}
    if not unplaced:
        return runs, options
    if not any(run["lr"] for run in placed.values()):
        notes.append("No epochs are logged: drawn over steps.")
        return runs, {**options, "x": "step"}
    notes.append(f"Without {_some(unplaced)}, for which no epochs are logged.")
    return placed, options


def _said(meta: Mapping[str, Any]) -> list[str]:
    """What the training picture can't show, in words."""
    notes = [
        f"{name}: the loss is NaN or infinite from step {step:,.0f} on (cross)."
        for name, step in list((meta.get("lost") or {}).items())[:MOST_NOTES]
    ]
    if clipped := meta.get("clipped"):
        notes.append(f"{_some(clipped)} left the picture: switch “ignore outliers” off to see everything.")
    if linear := meta.get("linear"):
        notes.append(f"No logarithmic axis for {_some(linear)}: no value there is above 0.")
    if below := meta.get("below"):
        notes.append(f"{_some(below)}: values of 0 or below have no place on a logarithmic axis.")
    return notes


def _writes(store: Store, name: str, run: Mapping[str, Any]) -> bool:
    """Whether a run writes still: ``LRCurves`` says when it ends, of others the time of the last write tells."""
    return run["status"] not in ("done", "stopped") and time.time() - store.last_write(name) < STALE_SECONDS


def _event_cells(name: str, event: Mapping[str, Any]) -> list[str]:
    return [
        name,
        event["kind"],
        str(event["step"]),
        str(event["epoch"]),
        f"{style.number(event['old_lr'])} → {style.number(event['new_lr'])}",
        event["source"],
        event["reason"],
    ]


def search(store: Store, runs: Sequence[str], options: Mapping[str, Any], colors: Colors) -> View:
    """A search: one row a trial; the newest name where several are chosen."""
    found = store.searches(runs)
    names = sorted(found.runs, key=natural)
    notes = list(found.notes)
    if len(names) > 1:
        notes.append(f"Shown: {names[-1]}. Choose one search at a time; {len(names)} are chosen.")
    record = found.runs[names[-1]] if names else {}
    figure = search_figure.draw(record, dark=bool(options["dark"]))
    trials = record.get("trials", ())
    winner = search_figure.best(record)
    rows = []
    for number, trial in enumerate(trials[-MOST_ROWS:], max(0, len(trials) - MOST_ROWS)):
        index = trial.get("index")
        where = str(int(index)) if index is not None else str(number)
        status = trial["status"] + (" · best of the tried" if trial is winner else "")
        cells = [
            where,
            str(trial["round"]),
            style.number(trial["lr"]),
            style.number(trial["score"]),
            status,
            search_figure.duration(trial.get("seconds")),
            str(trial.get("reason") or ""),
        ]
        # The trial's own logs lie below the search's folder, under its number.
        rows.append({"color": search_figure.color_of(trial["round"]), "run": f"{names[-1]}/{where}", "cells": cells})
    if left_out := record.get("left_out"):
        notes.append(f"Shown: the last {len(trials):,} of {len(trials) + left_out:,} trials.")
    if len(trials) > MOST_ROWS:
        notes.append(f"The table has the last {MOST_ROWS} of {len(trials):,} trials.")
    answer = ""
    if record.get("best") and record["best"]["lr"]:
        best = f"LR {style.number(record['best']['lr'])}, expected score {style.number(record['best']['score'])}"
        answer = f"{best} (interval {style.span(record.get('interval'))}): {record['reason']}"
    live = record.get("status") == "running" and time.time() - store.last_write(names[-1]) < STALE_SECONDS
    table = {"head": HEADS["search"], "rows": rows}
    return {"figure": figure, "table": table, "notes": notes, "live": live, "answer": answer}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(style.short(name, 60) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _quiet_legend(figure: dict[str, Any], count: int) -> None:
    if count > LEGEND_RUNS:
        figure["layout"]["showlegend"] = False
