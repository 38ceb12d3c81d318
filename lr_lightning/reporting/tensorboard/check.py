"""Records as the figures expect them: an event file may come from anywhere, so nothing in it is taken on trust."""

import math
from collections.abc import Mapping
from typing import Any

MOST_TEXT = 2000
MOST_ITEMS = 20_000
"""Trials and rounds of a search that are shown: the newest."""


def number(value: Any) -> float | None:
    """A finite number, or None; a whole number of 400 digits is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def positive(value: Any) -> float | None:
    """A finite number above 0 (a log axis has no other), or None."""
    found = number(value)
    return found if found is not None and found > 0 else None


def pair(value: Any) -> list[float] | None:
    """Two LRs, or None."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    low, high = positive(value[0]), positive(value[1])
    return None if low is None or high is None else [low, high]


def whole(value: Any) -> int:
    """A whole number; 0 where there is none."""
    return int(number(value) or 0)


def text(value: Any) -> str:
    """Words of some length; half a surrogate pair, which no page can hold, becomes a question mark."""
    return str("" if value is None else value)[:MOST_TEXT].encode("utf-8", "replace").decode("utf-8")


def range_test(body: Mapping[str, Any]) -> dict[str, Any]:
    """A range test's record."""
    zones = body.get("zones")
    coverage = body.get("coverage")
    planned = coverage.get("planned") if isinstance(coverage, dict) else body.get("num_steps")
    return {
        "status": text(body.get("status")),
        "reason": text(body.get("reason") or ""),
        "rule": text(body.get("rule") or ""),
        "suggestion": positive(body.get("suggestion")),
        "interval": pair(body.get("interval")),
        "ladder": pair([body.get("min_lr"), body.get("max_lr")]),
        "zones": {text(name): pair(bounds) for name, bounds in zones.items()} if isinstance(zones, dict) else {},
        "planned": whole(planned),
        "cycle": max(1, whole(body.get("cycle"))),
        "live": text(body.get("live") or ""),
    }


def event(body: Mapping[str, Any]) -> dict[str, Any]:
    """An LR event's record."""
    return {
        "kind": text(body.get("kind") or "event"),
        "step": whole(body.get("step")),
        "epoch": whole(body.get("epoch")),
        "old_lr": number(body.get("old_lr")),
        "new_lr": number(body.get("new_lr")),
        "reason": text(body.get("reason") or ""),
        "source": text(body.get("source") or ""),
    }


def search(body: Mapping[str, Any]) -> dict[str, Any]:
    """A search's record, without the trials and rounds that lack their LRs."""
    rounds = [
        {"low": positive(item.get("low")), "high": positive(item.get("high")), "interval": pair(item.get("interval"))}
        for item in _dicts(body.get("rounds"))
    ]
    best = body.get("best") if isinstance(body.get("best"), dict) else {}
    return {
        "metric": text(body.get("metric") or ""),
        "mode": "max" if body.get("mode") == "max" else "min",
        "status": text(body.get("status") or ""),
        "reason": text(body.get("reason") or ""),
        "left_out": max(0, len(body["trials"]) - MOST_ITEMS) if isinstance(body.get("trials"), list) else 0,
        "trials": [_trial(item) for item in _dicts(body.get("trials")) if positive(item.get("lr"))],
        "rounds": [item for item in rounds if item["low"] and item["high"]],
        "best": {"lr": positive(best.get("lr")), "score": number(best.get("score"))} if best else None,
        "interval": pair(body.get("interval")),
        "surrogate": _surrogate(body.get("surrogate")),
    }


def _trial(item: Mapping[str, Any]) -> dict[str, Any]:
    known = ("lr", "score", "round", "status", "index", "seconds")
    return {
        **{text(key): value if number(value) is not None else text(value) for key, value in item.items()},
        "lr": positive(item["lr"]),
        "score": number(item.get("score")),
        "round": max(0, whole(item.get("round"))),
        "status": text(item.get("status") or "ok"),
        **{key: number(item.get(key)) for key in known[4:] if key in item},
    }


def _surrogate(value: Any) -> dict[str, list[float]] | None:
    """Mean and band over LRs; nothing unless all columns are numbers of one length."""
    if not isinstance(value, dict):
        return None
    columns = {}
    for name in ("lr", "mean", "low", "high"):
        given = value.get(name)
        found = [number(item) for item in given[:MOST_ITEMS]] if isinstance(given, list) else []
        columns[name] = [item for item in found if item is not None]
        if len(columns[name]) != len(found):
            return None
    whole_one = len(set(map(len, columns.values()))) == 1 and min(columns["lr"], default=0.0) > 0
    return columns if whole_one else None


def curves(body: Mapping[str, Any]) -> dict[str, Any]:
    """What ``LRCurves`` says about its tags and its run."""
    listed = body.get("lr")
    return {
        "lr": [text(tag) for tag in listed[:MOST_ITEMS]] if isinstance(listed, list) else [],
        "status": text(body.get("status") or ""),
    }


def _dicts(value: Any) -> list[dict[str, Any]]:
    listed = value[-MOST_ITEMS:] if isinstance(value, list) else []
    return [item for item in listed if isinstance(item, dict)]
