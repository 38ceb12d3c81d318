"""The journal of a search, ``trials.jsonl``: what was planned, launched and found, in order, one JSON object a line.

Kinds of lines: ``begin``, ``range_test_launch`` and ``range_test`` (the bracket), ``search`` (the settings), ``round``
(a plan), ``launch`` (jobs about to start), ``trial`` (an outcome) and ``done``. Killed at any byte, the whole lines are
the truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lr_lightning.rules.checks import shown
from lr_lightning.rules.search.halving import finished
from lr_lightning.rules.search.records import Plan, SearchSettings, Trial
from lr_lightning.sweeper.errors import SearchRefused
from lr_lightning.sweeper.files import append_line, plain, read_json, read_lines
from lr_lightning.sweeper.job import outcome_file, started_file
from lr_lightning.sweeper.trial import Here

SHARED = ".search"
"""Folder in the sweep's, shared by its trials."""

_NUMBER = (int, float)
_KEYS: dict[str, dict[str, Any]] = {
    "range_test_launch": {"job": int},
    "range_test": {"low": _NUMBER, "high": _NUMBER, "reason": str},
    "search": {"settings": dict},
    "round": {"round": int, "points": list},
    "launch": {"jobs": list},
    "trial": {"job": int, "round": int, "values": list, "repeat": list, "status": str, "score": (*_NUMBER, type(None))},
}


class Journal:
    """Reads and extends ``trials.jsonl``.

    Args:
        path: The journal; its folder is the sweep's.

    Raises:
        ValueError: If it holds lines that no search wrote; the message names the first one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = checked_lines(path)

    @property
    def folder(self) -> Path:
        """Shared by the trials: outcomes, curves and verdicts."""
        return self.path.parent / SHARED

    def write(self, kind: str, data: Mapping[str, Any]) -> None:
        """Append a line; it is on disk when this returns."""
        line = {"kind": kind, **plain(data)}
        append_line(self.path, line)
        self.lines.append(line)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All lines of a kind."""
        return [line for line in self.lines if line["kind"] == kind]

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write the settings, or compare them with those of the search that is resumed.

        Raises:
            SearchRefused: If a setting differs that would make another search of it; ``budget`` and ``tolerance`` may.
        """
        now = plain(settings)
        started = self.of("search")
        if not started:
            self.write("search", {"version": 1, "settings": now})
            return
        before = started[-1]["settings"]
        for key in sorted(set(now) | set(before)):
            if now.get(key) != before.get(key) and key not in ("budget", "tolerance"):
                raise SearchRefused(
                    f"cannot resume {self.path}: {key} was {before.get(key)!r} and is now {now.get(key)!r}"
                )

    def take_outcomes(self) -> int:
        """Write trials for launched jobs that left an outcome which the journal lacks; their number."""
        known = {line["job"] for line in self.of("trial")}
        taken = 0
        for job in (job for line in self.of("launch") for job in line["jobs"]):
            if job["job"] in known:
                continue
            result = read_json(outcome_file(self.folder, job["job"]))
            if result is not None:
                self.write("trial", {**job, **result})
                taken += 1
        return taken

    def give_up(self, most: int = 3) -> None:
        """Write off trials whose process died ``most`` times: one that takes the search down would always do so."""
        have = {_key(line) for line in self.of("trial")}
        died: dict[Any, list[dict[str, Any]]] = {}
        for job in (job for line in self.of("launch") for job in line["jobs"]):
            if _key(job) not in have and started_file(self.folder, job["job"]).exists():
                died.setdefault(_key(job), []).append(job)
        for jobs in died.values():
            if len(jobs) >= most:
                reason = f"its process died {len(jobs)} times without an outcome"
                self.write("trial", {**jobs[-1], "score": None, "status": "crashed", "reason": reason})

    def next_job(self) -> int:
        """The first job number that was never used: a folder is never written twice."""
        used = [job["job"] for line in self.of("launch") for job in line["jobs"]]
        used += [line["job"] for line in self.of("range_test_launch")]
        return max(used, default=-1) + 1

    def open_round(self) -> dict[str, Any] | None:
        """The last planned round."""
        rounds = self.of("round")
        return rounds[-1] if rounds else None

    def missing(self, plan: Mapping[str, Any], repeats: Sequence[Sequence[str]]) -> list[tuple[list[Any], list[str]]]:
        """Point and repeat of every trial of a round that has no outcome."""
        have = {_key(line) for line in self.of("trial")}
        return [
            (list(point), list(repeat))
            for point in plan["points"]
            for repeat in repeats
            if (plan["round"], tuple(point), tuple(repeat)) not in have
        ]

    def trials(self) -> list[Trial]:
        """All outcomes, as the rules take them: a trial that was stopped early at what it would have scored."""
        lines = self.of("trial")
        curves = {line["job"]: self._curve(line["job"]) for line in lines}
        whole = [(curves[line["job"]], line["score"]) for line in lines if line["status"] == "completed"]
        found = []
        for line in lines:
            score, curve = line["score"], curves[line["job"]]
            if line["status"] == "pruned" and curve:
                rung = max(curve)
                others = [(other[rung], final) for other, final in whole if rung in other and final is not None]
                score = finished(curve[rung], others)
            found.append(Trial(tuple(line["values"]), score, line["round"], line["status"]))
        return found

    def _curve(self, job: int) -> dict[int, float]:
        """What a trial reported, by rung."""
        lines = read_lines(Here(self.folder, job).curve)
        return {int(line["rung"]): float(line["value"]) for line in lines if line["value"] is not None}


def checked_lines(path: Path) -> list[dict[str, Any]]:
    """The journal's lines, each with the keys that its kind has.

    Raises:
        ValueError: If one isn't what a search writes.
    """
    try:
        lines: list[Any] = read_lines(path)
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
            raise ValueError(f"{path}, line {number}: no line of a search's journal: {shown(line)}")
        for key, kind in _KEYS.get(line["kind"], {}).items():
            if not isinstance(line.get(key), kind):
                raise ValueError(f"{path}, line {number}: {line['kind']!r} lacks a proper {key!r}: {shown(line)}")
    return lines


def _key(line: Mapping[str, Any]) -> tuple[int, tuple[Any, ...], tuple[str, ...]]:
    """What a trial is, whichever job runs it."""
    return (line["round"], tuple(line["values"]), tuple(line["repeat"]))


def settings_record(settings: SearchSettings, repeats: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What makes this search this search."""
    return {**asdict(settings), "repeats": [list(repeat) for repeat in repeats]}


def plan_record(plan: Plan) -> dict[str, Any]:
    """A plan as a journal line."""
    return {**asdict(plan), "points": [list(point) for point in plan.points]}
