"""The record of a range test: frozen, plain, and the same after a round trip through JSON or a checkpoint."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from lr_lightning.rules.saved import Saved

Bounds = tuple[float, float] | None
_WORDS: tuple[str, ...] = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class Zones:
    """LR bounds of the three zones; None where a zone is missing.

    Attributes:
        flat: LRs too low to move the loss.
        descending: LRs at which it falls: the right ones.
        diverging: LRs too high.

    >>> Zones(descending=(1e-4, 1e-2)).diverging is None
    True
    """

    flat: Bounds = None
    descending: Bounds = None
    diverging: Bounds = None


@dataclass(frozen=True)
class Coverage:
    """How much of the ladder was walked.

    Attributes:
        visited: Steps taken before the sweep stopped.
        planned: Steps in the whole ladder.

    >>> Coverage(visited=40, planned=100).share
    0.4
    """

    visited: int
    planned: int

    @property
    def share(self) -> float:
        """``visited / planned``."""
        return self.visited / self.planned if self.planned else 0.0


@dataclass(frozen=True)
class RangeTestResult:
    """What a range test saw and says.

    Attributes:
        lrs: LRs visited, in order.
        losses: Training loss before the step at each LR; NaN and infinity as they came.
        smoothed: The curve that was read, in the loss's unit; shorter than ``losses`` where the end was cut.
        zones: LR bounds of the flat, descending and diverging zones.
        suggestion: The LR to use, or None if there is none: then the user's LR stays. Without a descent
            (``no_descent``, ``non_finite``) it is the order of magnitude that the explosion tells.
        interval: LRs that the evidence can't tell apart from the suggestion, or None.
        status: ``ok``, ``no_descent``, ``no_divergence``, ``non_finite``, ``too_few_points`` or
            ``overruled`` (somebody else writes the LR).
        reason: Why, in words, with what to change.
        coverage: Steps visited of steps planned.
        rule: Name of the rule that spoke.
        num_steps: Steps of the ladder.
        spacing: Spacing of the ladder.
        batch_size: Samples per optimizer step (ranks and accumulation included), or None if unknown.
        momentum: Largest momentum (or first beta) of the optimizer, or None if unknown.
        schedules: Suggestions by the training's schedule: ``decay`` (something lowers the LR) and, if its length is
            known, ``constant``.
        trials: Short trials under a decaying LR: ``lr``, ``steps`` and ``loss`` of each (infinity: it diverged).
        steps: Optimizer steps spent, sweeps and trials together.
        cycle: How many batches the sweep cycled through.
        group_factors: What the ratio of each param group's LR to the first one's is to be multiplied by, over all
            optimizers in order; empty: the ratios stay.
        second_fall: LRs at which the first of two falls ends and the second one begins, at whose end units are dead;
            None without a second one.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> result = analyze([1e-3, 1e-2], [1.0, 0.9])
    >>> result.status, result.ok
    ('too_few_points', False)
    >>> RangeTestResult.from_dict(result.to_dict()) == result
    True
    >>> print(result)
    suggestion: none
    too_few_points: 2 losses are too few to read; raise num_steps to at least 20
    2 of 2 LRs visited; 2 optimizer steps, rule share
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    zones: Zones
    suggestion: float | None
    interval: Bounds
    status: str
    reason: str
    coverage: Coverage
    rule: str
    num_steps: int
    spacing: str = "exponential"
    batch_size: int | None = None
    momentum: float | None = None
    schedules: Mapping[str, float] = field(default_factory=dict)
    trials: tuple[Mapping[str, float], ...] = ()
    steps: int = 0
    cycle: int = 1
    second_fall: Bounds = None
    group_factors: tuple[float, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a suggestion."""
        return self.suggestion is not None

    def __str__(self) -> str:
        """The answer in a few lines; ``repr`` has every number."""
        found = "none" if self.suggestion is None else f"{self.suggestion:.4g}"
        if self.interval is not None:
            found += f" (interval {self.interval[0]:.2g} to {self.interval[1]:.2g})"
        zones = [
            f"{name} {bounds[0]:.2g} to {bounds[1]:.2g}"
            for name in ("flat", "descending", "diverging")
            if (bounds := getattr(self.zones, name)) is not None
        ]
        lines = [f"suggestion: {found}", f"{self.status}: {self.reason}"]
        lines += [f"zones: {', '.join(zones)}"] if zones else []
        trials = f", {len(self.trials)} trials" if self.trials else ""
        covered = f"{self.coverage.visited} of {self.coverage.planned} LRs"
        return "\n".join([*lines, f"{covered} visited{trials}; {self.steps} optimizer steps, rule {self.rule}"])

    def suggestions(self) -> dict[str, float | None]:
        """What every rule here and every other tool's rule would have said on the same curve; None if nothing.

        Keys: this result's own ``rule``, the other ``RULES``, and the ``PEERS`` of
        :mod:`lr_lightning.rules.range_test.peers`.
        """
        from lr_lightning.rules.range_test.opinions import all_suggestions

        every = all_suggestions(self.lrs, self.losses, planned=self.coverage.planned, cycle=self.cycle)
        return {self.rule: self.suggestion, **{name: lr for name, lr in every.items() if name != self.rule}}

    def batch_size_warning(self, batch_size: int | None) -> str | None:
        """Why this suggestion may not hold for another effective batch size; None if it holds or nothing is known."""
        if self.suggestion is None or None in (batch_size, self.batch_size) or batch_size == self.batch_size:
            return None
        return (
            f"LR {self.suggestion:.2g} was found with {self.batch_size} samples per optimizer step (ranks and "
            f"accumulation included), training uses {batch_size}: run the range test again with this batch size"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types only (a checkpoint with ``weights_only=True`` takes it); NaN and infinity stay floats."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RangeTestResult":
        """Inverse of :meth:`to_dict`; keys of a newer version are ignored, what this one added may be missing.

        Raises:
            ValueError: If a value is missing or isn't what :meth:`to_dict` gives; the message names it.
        """
        newer = {item.name: item.default for item in fields(cls) if item.default is not MISSING}
        saved = Saved("RangeTestResult", data, later={**newer, "schedules": {}})
        zones, coverage = saved.child("zones"), saved.child("coverage")
        bounds = {name: zones.optional(name, partial(_pair, zones)) for name in ("flat", "descending", "diverging")}
        values: dict[str, Any] = {name: tuple(_floats(saved, name)) for name in ("lrs", "losses", "smoothed")}
        values.update({name: saved.text(name) for name in ("status", "reason", "rule", "spacing")})
        values.update({name: saved.count(name) for name in ("num_steps", "steps", "cycle")})
        return cls(
            **values,
            zones=Zones(**bounds),
            suggestion=saved.optional("suggestion", saved.number),
            interval=saved.optional("interval", partial(_pair, saved)),
            coverage=Coverage(coverage.count("visited"), coverage.count("planned")),
            batch_size=saved.optional("batch_size", saved.count),
            momentum=saved.optional("momentum", saved.number),
            schedules=saved.named_floats("schedules"),
            trials=tuple(_trial(saved, trial) for trial in saved.items("trials")),
            second_fall=saved.optional("second_fall", partial(_pair, saved)),
            group_factors=tuple(saved.floats("group_factors")),
        )

    def save(self, path: str | Path) -> None:
        """Write JSON. NaN and infinity are written as strings, so that any JSON reader takes the file."""
        text = json.dumps(_encode(self.to_dict()), indent=1, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "RangeTestResult":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds something else; the message names the file.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_bytes().decode("utf-8")))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no range test's record: {error}") from None

    def figure(self, peers: bool = False) -> Any:
        """The interactive picture (a plotly Figure): losses, smoothed curve, zones, suggestion and interval."""
        from lr_lightning.reporting.figures import range_test_figure

        return range_test_figure(self, peers=peers)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows of it: the picture and a short table."""
        from lr_lightning.reporting.notebook import mimebundle

        return mimebundle(self)


def _floats(saved: Saved, key: str) -> list[float]:
    """Numbers, and the words that :func:`_encode` writes for those that JSON lacks."""
    return Saved(saved.owner, {key: [_float(item) for item in saved.items(key)]}).floats(key)


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, str) and value in _WORDS else value


def _pair(saved: Saved, key: str) -> tuple[float, float]:
    found = _floats(saved, key)
    if len(found) != 2:
        raise saved.refuse(key, "two LRs", found)
    return found[0], found[1]


def _trial(saved: Saved, trial: Any) -> dict[str, float]:
    if isinstance(trial, Mapping):
        trial = {key: _float(value) for key, value in trial.items()}
    return Saved(saved.owner, {"trials": trial}).named_floats("trials")


def _plain(value: Any) -> Any:
    if isinstance(value, (Zones, Coverage)):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return repr(value)
    return value
