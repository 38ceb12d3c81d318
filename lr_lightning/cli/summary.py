"""The closing lines of the command: the LR before and found, the best score, and where to look."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L


class BestScore(L.Callback):
    """Notes the best value of the command's score, without asking for a checkpoint.

    Args:
        name: The metric, lower is better.

    Attributes:
        best: Lowest value so far, or None.
        epoch: Epoch (0-based) of that value.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.best: float | None = None
        self.epoch = 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the value of this validation."""
        value = trainer.callback_metrics.get(self.name)
        if trainer.sanity_checking or value is None or not math.isfinite(float(value)):
            return
        if self.best is None or float(value) < self.best:
            self.best, self.epoch = float(value), trainer.current_epoch


def summary(trainer: Any, callbacks: Sequence[Any], best: BestScore | None = None, changes: Iterable[str] = ()) -> str:
    """What happened, a fact a line.

    Args:
        trainer: The Trainer after its fit.
        callbacks: The callbacks that were built.
        best: Who noted the best score.
        changes: What the command did differently from what was given, in words.

    Returns:
        The lines, with an empty one in front.
    """
    from lr_lightning import LRRangeTest

    lines = [""]
    for callback in callbacks:
        if isinstance(callback, LRRangeTest) and callback.result is not None:
            lines += describe(callback)
    lines += list(changes)
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val")}
    for name, value in sorted(metrics.items()):
        at_best = f" (best {best.best:.4f}, epoch {best.epoch})" if best and best.best is not None else ""
        lines.append(f"{name.replace('_', ' ')}: {value:.4f}{at_best if best and name == best.name else ''}")
    return "\n".join([*lines, *_places(trainer)])


def describe(callback: Any) -> list[str]:
    """A range test's outcome, one fact a line."""
    result = callback.result
    before = f"LR before: {callback.previous_lr:.4g}"
    if result.suggestion is None:
        return [f"no LR suggested ({result.status}): {result.reason}", before]
    lines = [f"suggested LR: {result.suggestion:.4g}" + ("" if callback.apply else ", not applied (apply=false)")]
    if result.interval:
        lines[0] += (
            f" (interval {result.interval[0]:.2g} to {result.interval[1]:.2g}; {result.status}: {result.reason})"
        )
    zones = ((name, getattr(result.zones, name)) for name in ("flat", "descending", "diverging"))
    lines.append("zones: " + ", ".join(f"{name} {z[0]:.1e} to {z[1]:.1e}" for name, z in zones if z))
    return [*lines, before]


def _places(trainer: Any) -> list[str]:
    """Where the files are, of those that exist."""
    folder = getattr(trainer.logger, "log_dir", None)
    if not folder or not Path(folder).is_dir():
        return []
    shown = os.path.relpath(folder)
    pictures = [os.path.relpath(path) for path in sorted(Path(folder).glob("*.html"))]
    lines = ["", *(f"picture: {path}" for path in pictures)]
    if list(Path(folder).glob("events.out.tfevents.*")):
        return [*lines, f"look at it: lr-lightning review {shown}"]
    return [*lines, *(f"metrics: {os.path.relpath(path)}" for path in sorted(Path(folder).glob("metrics.csv")))]
