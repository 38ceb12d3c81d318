"""What kind of plateau it is, from what is at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lr_lightning.rules.plateau.gradients import Agreement, moving
from lr_lightning.rules.plateau.motion import BORDER, Drift
from lr_lightning.rules.plateau.stats import mann_kendall

WORDS: dict[str, str] = {
    "overfitting": "overfitting: the training loss falls and the metric gets no better; a lower LR may not help",
    "oscillation": "oscillation: better and worse in turn, as with too high an LR",
    "flat region": "a flat region: a lower LR hasn't helped or there was no progress yet; a higher one may",
    "noise floor": "a noise floor: a lower LR helps",
}


MOVING = 1.25
"""Drift above which the weights surely move on; a noise floor shows 1 and a little more while it settles."""


def diagnose(cause: str, evidence: Mapping[str, float], train_losses: Sequence[float] = ()) -> str:
    """Name a plateau.

    Args:
        cause: The decision's cause, ``"plateau"`` or ``"flat"``.
        evidence: Its evidence: over the window, ``p`` of a trend towards better values (``p_late`` in its later half),
            ``observations``, ``blocks`` that they were averaged into and ``swing``, these blocks' lag-1 correlation;
            ``drift`` how the weights moved and ``agreement`` with its error how much gradients agree, where these were
            followed.
        train_losses: The training loss between observations, oldest first; empty if it wasn't collected.

    Returns:
        A key of :data:`WORDS`. Where several fit, the first of overfitting that makes the metric worse, oscillation,
        overfitting that doesn't yet, flat region, noise floor.

    >>> diagnose("plateau", {"p_late": 0.99, "swing": 0.0}, [5.0, 4.0, 3.0, 2.0, 1.0])
    'overfitting'
    """
    # Within the window: before it both may have fallen.
    fell = mann_kendall(train_losses[-max(5, int(evidence.get("observations", 16.0))) :])[1]
    # The window that ends progress is half decrease: its later half tells what comes now.
    if len(train_losses) >= 4 and fell < 0.05 and evidence.get("p_late", 0.5) > 0.95:
        return "overfitting"
    if _swings(evidence):
        return "oscillation"
    if fell < 0.01 and evidence.get("p", 0.0) >= 0.3:
        return "overfitting"
    going = moving_on(evidence)
    if going is not None:  # how gradients or weights move tells more than what cuts have brought
        return "flat region" if going else "noise floor"
    return "flat region" if cause == "flat" else "noise floor"


def _swings(evidence: Mapping[str, float]) -> bool:
    """Whether values go up and down in turn; so do a few by chance, and where gradients agree it is chance."""
    swing, count = evidence.get("swing", 0.0), evidence.get("blocks", 0.0)
    errors = swing * max(1.0 - 4.0 / max(count, 1.0), 0.2) * math.sqrt(count)
    return swing < -0.6 and errors < -1.3 and not evidence.get("agreement", 0.0) > 0.0


def moving_on(evidence: Mapping[str, float]) -> bool | None:
    """Whether the weights go somewhere, by gradients that agree, else by the weights' drift; None: unknown.

    Gradients that turn back count only where the drift doesn't tell: on flat ground most directions may bounce while
    one slowly leads away.

    >>> moving_on({"drift": 1.8}), moving_on({"drift": 1.1}), moving_on({"drift": 0.5})
    (True, None, False)
    >>> agree = {"agreement": 0.2, "agreement_error": 0.05}
    >>> moving_on({**agree, "drift": 0.5}), moving_on({**agree, "agreement": -0.2, "drift": 1.1})
    (True, False)
    """
    told = moving(evidence.get("agreement", math.nan), evidence.get("agreement_error", math.nan))
    drift = evidence.get("drift", math.nan)
    if told or drift > MOVING:
        return True
    return False if 0.0 < drift <= BORDER else told  # weights that don't move at all tell nothing


@dataclass(frozen=True)
class Motion:
    """What is known of how the weights move, where somebody follows it.

    Attributes:
        drift: How they moved in this stage.
        gradients: How much their gradients agreed.

    >>> Motion(Drift(1.5)).evidence
    {'drift': 1.5}
    """

    drift: Drift | None = None
    gradients: Agreement | None = None

    @property
    def evidence(self) -> dict[str, float]:
        """For a decision."""
        found = {} if self.gradients is None else dict(self.gradients.evidence)
        if self.drift is not None and self.drift.ratio is not None:
            found["drift"] = self.drift.ratio
        return found
