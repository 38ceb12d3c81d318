"""The classic rule: too many observations in a row that do not beat the best. Exactly torch's ReduceLROnPlateau."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from lr_lightning.rules.checks import check_choice, check_count, check_number
from lr_lightning.rules.plateau.decision import Decision, check_at, check_mode
from lr_lightning.rules.saved import Saved, load_fields

THRESHOLD_MODES: tuple[str, ...] = ("rel", "abs", "margin")


@dataclass(frozen=True)
class PatienceState:
    """What the patience rule remembers.

    ``best`` is ``None`` before the first value that beats nothing at all; the other fields are counts.
    """

    seen: int = 0
    at: float = 0.0
    best: float | None = None
    bad: int = 0
    cooldown: int = 0
    cuts: int = 0
    nonfinite: int = 0
    nonfinite_row: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain Python types."""
        return asdict(self)


@dataclass(frozen=True)
class PatienceRule:
    """Decay at the ``patience + 1``-th observation in a row without improvement, as torch's ReduceLROnPlateau does.

    (Keras acts one observation earlier: its ``patience=10`` is ``patience=9`` here.) An infinite value counts as any
    other; NaN counts as neither good nor bad, where torch counts it as bad.

    Attributes:
        mode: ``"min"`` or ``"max"``.
        patience: Observations without improvement that are put up with.
        threshold: How much better than the best counts as an improvement.
        threshold_mode: ``"rel"`` (``best * (1 - threshold)``, torch's; with a negative best it accepts values that are
            worse), ``"abs"`` (``best - threshold``) or ``"margin"`` (``best - threshold * |best|``, for any sign).
        cooldown: Observations after a decay in which bad ones are not counted.

    >>> rule = PatienceRule(patience=1)
    >>> state = rule.start()
    >>> for loss in (1.0, 1.0, 1.0):
    ...     state, decision = rule.observe(state, loss)
    >>> decision.action
    'decay'
    """

    name: ClassVar[str] = "patience"
    mode: str = "min"
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0

    def __post_init__(self) -> None:
        check_mode(self.mode)
        check_count("patience", self.patience, 0)
        check_count("cooldown", self.cooldown, 0)
        check_number("threshold", self.threshold, 0.0)
        check_choice("threshold_mode", self.threshold_mode, THRESHOLD_MODES)

    def start(self) -> PatienceState:
        """The state before the first observation."""
        return PatienceState()

    def load(self, state: Mapping[str, Any]) -> PatienceState:
        """The state that ``to_dict`` wrote.

        Raises:
            ValueError: If it is anything else.
        """
        fields = load_fields("patience rule", PatienceState, state, skip=("best",))
        saved = Saved("patience rule", state, ("best",))
        return PatienceState(**fields, best=saved.optional("best", saved.value))

    def restart(self, state: PatienceState) -> PatienceState:
        """Forget the best value and the bad ones."""
        return replace(state, best=None, bad=0)

    def improves(self, value: float, best: float | None) -> bool:
        """Whether ``value`` beats ``best`` by the threshold."""
        if best is None:
            return value > -math.inf if self.mode == "max" else value < math.inf
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            bar = best * (1.0 + sign * self.threshold)
        elif self.threshold_mode == "abs":
            bar = best + sign * self.threshold
        else:
            bar = best + sign * self.threshold * abs(best)
        return value > bar if self.mode == "max" else value < bar

    def observe(
        self, state: PatienceState, value: float, at: float | None = None, horizon: float | None = None
    ) -> tuple[PatienceState, Decision]:
        """Count one observation; ``at`` and ``horizon`` play no part in the decision."""
        seen = state.seen + 1
        state = replace(state, seen=seen, at=check_at(at, seen, state.at))
        row = 0 if math.isfinite(value) else state.nonfinite_row + 1
        state = replace(state, nonfinite=state.nonfinite + (row > 0), nonfinite_row=row)
        if math.isnan(value):
            return state, Decision("keep", f"{value} is no evidence ({row} in a row)", "non-finite")
        bad, best = state.bad + 1, state.best
        if self.improves(value, best):
            bad, best = 0, float(value)
        cooling = state.cooldown > 0
        if cooling:
            bad = 0
        state = replace(state, best=best, bad=bad, cooldown=max(0, state.cooldown - 1))
        if bad <= self.patience:
            return state, self._keep(state, cooling)
        return self._decay(state, float(value), best if best is not None else float(value))

    def _keep(self, state: PatienceState, cooling: bool) -> Decision:
        if cooling:
            return Decision("keep", f"cooling down, {state.cooldown} more observations", "cooldown")
        return Decision("keep", f"{state.bad} of {self.patience + 1} observations without improvement")

    def _decay(self, state: PatienceState, value: float, best: float) -> tuple[PatienceState, Decision]:
        reason = f"{state.bad} observations without improvement on the best {best:.6g} (now {value:.6g})"
        evidence = {"bad": float(state.bad), "best": best, "value": value}
        state = replace(state, bad=0, cooldown=self.cooldown, cuts=state.cuts + 1)
        return state, Decision("decay", reason, "plateau", evidence)
