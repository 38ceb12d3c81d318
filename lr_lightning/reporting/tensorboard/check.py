"""Records as the figures expect them: an event file may come from anywhere, so nothing in it is taken on trust."""

import math
from collections.abc import Mapping
from typing import Any


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


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


def range_test(body: Mapping[str, Any]) -> dict[str, Any]:
    """A range test's record."""
    zones = body.get("zones")
    return {
        "status": str(body.get("status", "")),
        "reason": str(body.get("reason") or ""),
        "rule": str(body.get("rule") or ""),
        "suggestion": positive(body.get("suggestion")),
        "interval": pair(body.get("interval")),
        "ladder": pair([body.get("min_lr"), body.get("max_lr")]),
        "zones": {str(name): pair(bounds) for name, bounds in zones.items()} if isinstance(zones, dict) else {},
        "num_steps": whole(body.get("num_steps")),
        "cycle": whole(body.get("cycle")),
    }


def event(body: Mapping[str, Any]) -> dict[str, Any]:
    """An LR event's record."""
    return {
        "kind": str(body.get("kind") or "event"),
        "step": whole(body.get("step")),
        "epoch": whole(body.get("epoch")),
        "old_lr": number(body.get("old_lr")),
        "new_lr": number(body.get("new_lr")),
        "reason": str(body.get("reason") or ""),
        "source": str(body.get("source") or ""),
    }


def search(body: Mapping[str, Any]) -> dict[str, Any]:
    """A search's record, without the trials and rounds that lack their LRs."""
    trials = [item for item in _dicts(body.get("trials")) if positive(item.get("lr"))]
    rounds = [(number(item.get("low")), number(item.get("high"))) for item in _dicts(body.get("rounds"))]
    return {
        "metric": str(body.get("metric") or ""),
        "mode": "max" if body.get("mode") == "max" else "min",
        "status": str(body.get("status") or ""),
        "trials": [
            {
                **{str(key): value for key, value in item.items()},
                "lr": positive(item["lr"]),
                "score": number(item.get("score")),
                "round": max(0, whole(item.get("round"))),
                "status": str(item.get("status") or "ok"),
            }
            for item in trials
        ],
        "rounds": [{"low": low, "high": high} for low, high in rounds if positive(low) and positive(high)],
    }


def curves(body: Mapping[str, Any]) -> dict[str, Any]:
    """What ``LRCurves`` says about its tags."""
    listed = body.get("lr")
    return {"lr": [str(tag) for tag in listed] if isinstance(listed, list) else []}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
