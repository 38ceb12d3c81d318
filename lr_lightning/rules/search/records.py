"""What a search is asked for, what it has seen, and what it plans: settings, trials, plans."""

import math
from dataclasses import dataclass, field

from lr_lightning.rules.checks import check_choice, check_count, check_number, shown
from lr_lightning.rules.search.axes import Axis, Value

MODES: tuple[str, ...] = ("min", "max")
STATUSES: tuple[str, ...] = ("completed", "pruned", "diverged", "crashed")
MOST_POINTS = 10_000
"""Most points of a search: each decision takes time and memory that grow with the square of their number."""


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        values: One value for each axis.
        score: What it reached; None or non-finite counts as bad.
        round: In which round it ran, from 0.
        status: ``"completed"``, ``"pruned"`` (stopped early, its score counts), ``"diverged"`` or ``"crashed"``.

    >>> Trial((0.1,), None, status="crashed").bad
    True
    """

    values: tuple[Value, ...]
    score: float | None
    round: int = 0
    status: str = "completed"

    @property
    def bad(self) -> bool:
        """Whether it counts as worst: crashed, diverged or without a finite score."""
        return self.score is None or not math.isfinite(self.score) or self.status in ("crashed", "diverged")


@dataclass(frozen=True)
class SearchSettings:
    """What to search and how long.

    Attributes:
        axes: The LR first, then the parameters searched with it.
        mode: ``"min"`` or ``"max"`` the score.
        budget: Most different points to try; repeats of a point (seeds) come on top.
        first: Points of the first round, spread evenly over the whole range.
        later: Points of each later round, inside of the interval that the trials so far leave.
        tolerance: Done when the interval of the first axis is narrower than this: decades on a log axis, fractions of
            the range on a linear one.
        widen_by: How far a border moves when the minimum stands at it, in decades (log) or fractions of the range.
        confidence: Mass of the interval, between 0 and 1.
        seed: Of the random part: the placing in two and more dimensions, and the posterior's samples.

    Raises:
        ValueError: If a value is out of its bounds; the message quotes it.

    >>> from lr_lightning.rules.search.axes import Axis
    >>> SearchSettings((Axis("lr", 1e-4, 1.0),), budget=9).first
    5
    """

    axes: tuple[Axis, ...]
    mode: str = "min"
    budget: int = 15
    first: int = 5
    later: int = 5
    tolerance: float = 0.1
    widen_by: float = 1.0
    confidence: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        if not isinstance(self.axes, tuple) or not all(isinstance(axis, Axis) for axis in self.axes) or not self.axes:
            raise ValueError(f"axes must be a tuple of at least one parameter to search, got {shown(self.axes)}")
        names = [axis.name.lstrip("+") for axis in self.axes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"axes must be different parameters, got {twice[0]!r} more than once")
        check_count("first", self.first, 3, MOST_POINTS)
        check_count("later", self.later, 1, MOST_POINTS)
        check_count("budget", self.budget, self.first, MOST_POINTS)
        check_number("tolerance", self.tolerance, 0.0, open_low=True)
        check_number("widen_by", self.widen_by, 0.0, 10.0, open_low=True)
        check_number("confidence", self.confidence, 0.0, 1.0, open_low=True, open_high=True)
        check_count("seed", self.seed, 0)


@dataclass(frozen=True)
class Plan:
    """What to do next, and what is known.

    Attributes:
        points: The next round's points, empty when done.
        done: Whether the search is over.
        reason: Why these points, or why it is over; a sentence for logs.
        round: Number of the next round, from 0.
        best: The point with the lowest expected score, not always one that was tried; None before the first round.
        expected: Expected score there, in the score's own unit; None where unknown.
        interval: Where the best value of the first axis lies with ``confidence``, in its own unit.
        noise: Standard deviation of one trial's score near the best, in the score's own unit.
        widened: Names of the axes whose border moved, as ``"model.lr down"``.

    >>> from lr_lightning.rules.search.axes import Axis
    >>> from lr_lightning.rules.search.rounds import next_round
    >>> plan = next_round(SearchSettings((Axis("lr", 1e-4, 1.0),)), [])
    >>> plan.done, plan.reason
    (False, '5 points over the whole range')
    """

    points: tuple[tuple[Value, ...], ...]
    done: bool
    reason: str
    round: int
    best: tuple[Value, ...] | None = None
    expected: float | None = None
    interval: tuple[float, float] | None = None
    noise: float | None = None
    widened: tuple[str, ...] = field(default=())
