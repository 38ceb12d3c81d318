"""What a search leaves for people: ``optimization_results.yaml`` and the TensorBoard record, as it goes."""

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from lr_lightning.reporting.files import replace_file
from lr_lightning.rules.search.records import Plan, SearchSettings
from lr_lightning.rules.search.rounds import surrogate
from lr_lightning.sweeper.engine import effect
from lr_lightning.sweeper.hparams import write_rows
from lr_lightning.sweeper.journal import Journal

log = logging.getLogger(__name__)


def summary(settings: SearchSettings, plan: Plan, journal: Journal, status: str) -> dict[str, Any]:
    """The results as they stand.

    Returns:
        ``best_params`` (from all trials together, not always a point that was tried), ``best_value`` (the score to
        expect there), ``interval`` of the first parameter, ``best_trial`` (the best point that was tried, averaged
        over its repeats), counts, the reason of the end, and a note if the scores depend on nothing that was searched.
    """
    names = [axis.name.lstrip("+") for axis in settings.axes]
    lines = journal.of("trial")
    counts = {kind: sum(line["status"] == kind for line in lines) for kind in ("pruned", "diverged", "crashed")}
    return {
        "name": "lr_coarse_to_fine",
        "status": status,
        "reason": plan.reason,
        "best_params": dict(zip(names, plan.best, strict=True)) if plan.best is not None else None,
        "best_value": plan.expected,
        "interval": list(plan.interval) if plan.interval else None,
        "noise": plan.noise,
        "best_trial": best_trial(names, lines, settings.mode),
        "rounds": len(journal.of("round")),
        "trials": len(lines),
        **counts,
        **({"note": note} if (note := effect(settings, journal)) else {}),
    }


def best_trial(names: Sequence[str], lines: Sequence[dict[str, Any]], mode: str) -> dict[str, Any] | None:
    """The tried point with the best mean score over its repeats; a point with a bad repeat is out."""
    points: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        points[tuple(line["values"])].append(line)
    good = [(values, group) for values, group in points.items() if all(line["score"] is not None for line in group)]
    if not good:
        return None
    sign = 1.0 if mode == "min" else -1.0
    values, group = min(good, key=lambda item: sign * fmean(line["score"] for line in item[1]))
    return {
        "params": dict(zip(names, values, strict=True)),
        "value": fmean(line["score"] for line in group),
        "jobs": [line["job"] for line in group],
    }


def write_results(settings: SearchSettings, plan: Plan, journal: Journal, status: str, *, rows: bool = True) -> None:
    """Write the YAML and the TensorBoard record beside the journal; with ``rows`` each trial's in its own folder."""
    from omegaconf import OmegaConf

    folder = journal.path.parent
    found = OmegaConf.create(summary(settings, plan, journal, status))
    replace_file(folder / "optimization_results.yaml", partial(OmegaConf.save, found))
    write_tensorboard(settings, plan, journal, status, rows)


def write_tensorboard(settings: SearchSettings, plan: Plan, journal: Journal, status: str, rows: bool) -> None:
    """Write the search record and the rows of the HParams tab as event files; trouble there is logged, no more."""
    try:
        if rows:
            names = [axis.name.lstrip("+") for axis in settings.axes]
            write_rows(journal.path.parent, names, journal.of("trial"))
        from lr_lightning.reporting.events import write_search

        write_search(
            journal.path.parent,
            tensorboard_trials(settings, journal),
            tensorboard_rounds(plan, journal),
            mode=settings.mode,
            status=status,
            answer=_answer(settings, plan, journal),
        )
    except (ImportError, OSError, ValueError) as error:
        log.warning("no TensorBoard record of the search: %s", error)


def tensorboard_trials(settings: SearchSettings, journal: Journal) -> list[dict[str, Any]]:
    """The trials as ``reporting.events.write_search`` takes them."""
    names = [axis.name.lstrip("+") for axis in settings.axes]
    return [
        {
            "lr": line["values"][0],
            "score": line["score"] if line["score"] is not None else math.nan,
            "round": line["round"],
            "status": "ok" if line["status"] == "completed" else line["status"],
            "index": line["job"],
            "seconds": line.get("seconds"),
            "dir": str(line.get("output", "")),
            "reason": line.get("reason", ""),
            "repeat": " ".join(line["repeat"]),
            **dict(zip(names[1:], line["values"][1:], strict=True)),
        }
        for line in journal.of("trial")
    ]


def tensorboard_rounds(plan: Plan, journal: Journal) -> list[dict[str, Any]]:
    """For each round the first values that it tried, and the interval of the best one that it left.

    A round's line has what was known before it, so what it left is in the next one's, and in the present plan.
    """
    lines = journal.of("round")
    left = [*(line.get("interval") for line in lines[1:]), plan.interval]
    firsts = [[point[0] for point in line["points"]] for line in lines]
    return [
        {"low": min(first), "high": max(first), "interval": interval}
        for first, interval in zip(firsts, left, strict=False)
        if first
    ]


def _answer(settings: SearchSettings, plan: Plan, journal: Journal) -> dict[str, Any]:
    """What the results' YAML says, for the tab: best point, interval, reason, and the curve that they come from."""
    curve = surrogate(settings, journal.trials())
    return {
        "best": {"lr": plan.best[0], "score": plan.expected} if plan.best is not None else None,
        "interval": plan.interval,
        "reason": plan.reason,
        "surrogate": None
        if curve is None
        else {"lr": curve.values, "mean": curve.mean, "low": curve.low, "high": curve.high},
    }


def folder_of(config: Any) -> Path:
    """The sweep's folder, absolute: jobs may run elsewhere."""
    return Path(str(config.hydra.sweep.dir)).absolute()
