"""dlib's rule: decay when too long a suffix of the values shows no probable decrease."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from lr_lightning.rules.checks import check_count, check_number
from lr_lightning.rules.plateau.decision import Decision, check_at, check_mode
from lr_lightning.rules.saved import Saved, load_fields

_CHUNK = 64
_CHECKS = 20  # a window is judged this often while it passes by: O(1) an observation
_WAIT = Decision("keep", "the window fills", "waiting")


@dataclass(frozen=True)
class DlibState:
    """What dlib's rule remembers: the newest values, in chunks, so that one more costs no copy of all."""

    seen: int = 0
    at: float = 0.0
    chunks: tuple[tuple[float, ...], ...] = ()
    tail: tuple[float, ...] = ()
    since_check: int = 0
    cooldown: int = 0
    cuts: int = 0
    nonfinite: int = 0
    nonfinite_row: int = 0

    @property
    def count(self) -> int:
        """Values held."""
        return _CHUNK * len(self.chunks) + len(self.tail)

    def values(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The values held, oldest first."""
        held: np.ndarray[Any, np.dtype[np.float64]] = np.array(
            [x for chunk in (*self.chunks, self.tail) for x in chunk], dtype=np.float64
        )
        return held

    def push(self, value: float) -> DlibState:
        """With one more value."""
        tail = (*self.tail, value)
        if len(tail) < _CHUNK:
            return replace(self, tail=tail)
        return replace(self, chunks=(*self.chunks, tail), tail=())

    def keep(self, values: Any) -> DlibState:
        """With these values only."""
        plain = [float(x) for x in values]
        full = len(plain) // _CHUNK
        chunks = tuple(tuple(plain[i * _CHUNK : (i + 1) * _CHUNK]) for i in range(full))
        return replace(self, chunks=chunks, tail=tuple(plain[full * _CHUNK :]))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types."""
        held = {"values": [x for chunk in (*self.chunks, self.tail) for x in chunk]}
        names = ("seen", "at", "since_check", "cooldown", "cuts", "nonfinite", "nonfinite_row")
        return {**{name: getattr(self, name) for name in names}, **held}


@dataclass(frozen=True)
class DlibRule:
    """Decay when the last ``window`` values show no probable decrease, with and without their largest tenth.

    The statistic of dlib's ``running_gradient`` (dlib.net, ``dlib/statistics/running_gradient.h``): the slope m of a
    line through n values has the standard error sqrt(12 s² / (n³ - n)), and P(slope < 0) = Φ(-m/se). "Steps without
    decrease" is the longest suffix in which that probability is below ``probability``. After a decay the oldest fifth
    of the window is dropped, as dlib's trainer does. Assumes independent noise.

    Attributes:
        mode: ``"min"`` or ``"max"``.
        window: An int is a number of observations (dlib's ``iterations_without_progress_threshold``, 2000 there), a
            float a share of the planned run.
        probability: A decrease less probable than this is none.
        cooldown: Observations after a decay that are ignored.

    >>> rule = DlibRule()
    >>> state, decision = rule.observe(rule.start(), 1.0)
    >>> decision.action
    'keep'
    """

    name: ClassVar[str] = "dlib"
    mode: str = "min"
    window: int | float = 2000
    probability: float = 0.51
    cooldown: int = 0

    def __post_init__(self) -> None:
        check_mode(self.mode)
        if isinstance(self.window, float):
            check_number("window", self.window, 0.0, 1.0, open_low=True)
        else:
            check_count("window", self.window, 4)
        check_number("probability", self.probability, 0.0, 1.0)
        check_count("cooldown", self.cooldown, 0)

    def start(self) -> DlibState:
        """The state before the first observation."""
        return DlibState()

    def load(self, state: Mapping[str, Any]) -> DlibState:
        """The state that ``to_dict`` wrote.

        Raises:
            ValueError: If it is anything else.
        """
        saved = Saved("dlib rule", state, ("values",))
        values = saved.floats("values")
        if not all(map(math.isfinite, values)):
            raise saved.refuse("values", "finite numbers", values)
        rest = {key: value for key, value in saved.state.items() if key != "values"}
        return DlibState(**load_fields("dlib rule", DlibState, rest, skip=("chunks", "tail"))).keep(values)

    def restart(self, state: DlibState) -> DlibState:
        """Forget the values."""
        return replace(state, chunks=(), tail=(), since_check=0)

    def size(self, state: DlibState, horizon: float | None) -> int | None:
        """The window in observations; ``None`` while the planned run's share isn't known."""
        if isinstance(self.window, int):
            return self.window
        if horizon is None or state.at <= 0:
            return None
        return max(4, round(self.window * horizon * state.seen / state.at))

    def observe(
        self, state: DlibState, value: float, at: float | None = None, horizon: float | None = None
    ) -> tuple[DlibState, Decision]:
        """Take one value in.

        Raises:
            ValueError: If ``window`` is a share and ``horizon`` is unknown.
        """
        seen = state.seen + 1
        state = replace(state, seen=seen, at=check_at(at, seen, state.at))
        if horizon is None and isinstance(self.window, float):
            raise ValueError(
                f"window={self.window!r} is a share of the planned run, whose end isn't known; give an int"
            )
        if not math.isfinite(value):
            row = state.nonfinite_row + 1
            state = replace(state, nonfinite=state.nonfinite + 1, nonfinite_row=row)
            return state, Decision("keep", f"{value} is no evidence ({row} in a row)", "non-finite")
        if state.cooldown:
            state = replace(state, cooldown=state.cooldown - 1, nonfinite_row=0)
            return state, Decision("keep", f"cooling down, {state.cooldown} more observations", "cooldown")
        state = replace(state.push(value if self.mode == "min" else -value), nonfinite_row=0)
        size = self.size(state, horizon)
        checks = state.since_check + 1
        if size is None or state.count < size or checks < max(1, size // _CHECKS):
            return replace(state, since_check=checks), _WAIT
        return self._judge(state.keep(state.values()[-size:]), size)

    def _judge(self, state: DlibState, size: int) -> tuple[DlibState, Decision]:
        values = state.values()
        steps = steps_without_decrease(values, self.probability)
        if steps >= size:
            bar = np.quantile(values, 0.9)
            steps = steps_without_decrease(values, self.probability, bar)
        state = replace(state, since_check=0)
        evidence = {"steps_without_decrease": float(steps), "window": float(size)}
        if steps < size:
            reason = f"a decrease within the last {size} observations is probable"
            return state, Decision("keep", reason, "progress", evidence)
        reason = f"no probable decrease over the last {size} observations (P < {self.probability:g})"
        state = replace(state.keep(values[max(1, size // 5) :]), cuts=state.cuts + 1, cooldown=self.cooldown)
        return state, Decision("decay", reason, "plateau", evidence)


def steps_without_decrease(
    values: np.ndarray[Any, np.dtype[np.float64]], probability: float = 0.51, ignore_above: float | None = None
) -> int:
    """Length of the longest suffix in which a decrease is less probable than ``probability``.

    Values above ``ignore_above`` take up their place but are no evidence.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a diverged loss of 1e200 is no error
        y = values[::-1] - values.mean()
        n = len(y)
        used = np.ones(n) if ignore_above is None else (values[::-1] <= ignore_above).astype(float)
        x = np.cumsum(used) - 1.0  # dlib counts the values that it takes in
        k = np.cumsum(used)
        sy, syy, sxy = np.cumsum(used * y), np.cumsum(used * y * y), np.cumsum(used * x * y)
        sxx = (k**3 - k) / 12.0
        mean_x = (k - 1) / 2.0
        slope = (sxy - mean_x * sy) / sxx  # over reversed time: positive = it decreases
        rest = np.maximum(syy - sy * sy / k - slope * slope * sxx, 0.0)
        z = slope / np.sqrt(rest / (k - 2) / sxx)
    z = np.where(np.isfinite(z), z, np.sign(slope) * 40.0)
    decrease = np.array([0.5 * math.erfc(-v / math.sqrt(2)) if math.isfinite(v) else 0.5 for v in z])
    hits = np.flatnonzero((k > 2) & (decrease < probability))
    return int(hits[-1]) + 1 if len(hits) else 0
