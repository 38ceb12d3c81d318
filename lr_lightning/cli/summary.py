"""The closing lines of the command: the LR before and found, the best score, and where to look."""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from lr_lightning.callbacks._search_metric import Watch
from lr_lightning.cli.given import DEFAULT_SCORE, Refused
from lr_lightning.rules.checks import likely_meant
from lr_lightning.sweeper.errors import TrialRefused
from lr_lightning.sweeper.trial import here


class ScoreRefused(Refused, TrialRefused):
    """The score isn't logged: no trial of a search has one, and a training that was asked for it ends early."""


class BestScore(L.Callback):
    """Notes the best value of the command's score, without asking for a checkpoint, and whether it is logged at all.

    Args:
        name: The metric, lower is better.
        needed: Whether a score that isn't logged is an error: somebody chose it, or a search goes by it.

    Attributes:
        best: Lowest value so far, or None.
        epoch: Epoch (0-based) of that value.
    """

    def __init__(self, name: str, needed: bool = False) -> None:
        self.name, self.needed = name, needed
        self.best: float | None = None
        self.epoch = 0
        self._watch = Watch("score", name)
        self._told = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the value of this validation.

        Raises:
            ScoreRefused: In the sanity check, if the name is misspelt without doubt.
        """
        value = trainer.callback_metrics.get(self.name)
        if trainer.sanity_checking:
            self._watch.seen = value is not None
            logged = [str(name) for name in trainer.callback_metrics]
            meant, surely = likely_meant(self.name, logged) or ("", False)
            if value is None and self.needed and surely:  # another metric of nearly this name may come later
                raise ScoreRefused(f"score: {self.name!r} is not logged, but {meant!r} is: score={meant}")
            return
        self._watch.look(trainer)
        if value is None or not math.isfinite(float(value)):
            return
        if self.best is None or float(value) < self.best:
            self.best, self.epoch = float(value), trainer.current_epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell of a score that the epoch before didn't log, with the module's own ``on_train_epoch_end``.

        Raises:
            ScoreRefused: If it is needed.
        """
        missing = self._watch.missing(trainer)
        if missing and self.needed:
            raise ScoreRefused(missing)
        if missing and not self._told:
            self._told = True
            rank_zero_info(f"{missing}: the command will return no score")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell of it after the only epoch, too."""
        self.on_train_epoch_start(trainer, pl_module)


def is_needed(name: str, callbacks: Sequence[Any]) -> bool:
    """Whether somebody chose this score, or a search goes by it; its range test ends before there can be any."""
    from lr_lightning.callbacks.search_bracket import SearchBracket

    searched = here() is not None and not any(isinstance(callback, SearchBracket) for callback in callbacks)
    return name != DEFAULT_SCORE or searched


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
