"""What kind of plateau it is, from what is at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lr_lightning.rules.plateau_drift import BORDER, Drift
from lr_lightning.rules.plateau_gradients import Agreement, moving
from lr_lightning.rules.plateau_stats import mann_kendall

WORDS: dict[str, str] = {
    "overfitting": "overfitting: the metric gets worse while the training loss falls; a lower LR may not help",
    "oscillation": "oscillation: better and worse in turn, as with too high an LR",
    "flat region": "a flat region: a lower LR hasn't helped or there was no progress yet; a higher one may",
    "noise floor": "a noise floor: a lower LR helps",
}


def diagnose(cause: str, evidence: Mapping[str, float], train_losses: Sequence[float] = ()) -> str:
    """Name a plateau.

    Args:
        cause: The decision's cause, ``"plateau"`` or ``"flat"``.
        evidence: Its evidence: ``p_late`` of a trend towards better values in the window's later half, ``swing``
            its lag-1 correlation, ``drift`` how the weights moved and ``agreement`` with its error how much gradients
            agree, where these were followed.
        train_losses: The training loss between observations, oldest first; empty if it wasn't collected.

    Returns:
        A key of :data:`WORDS`. Where several fit, the first of overfitting, oscillation, flat region, noise floor.

    >>> diagnose("plateau", {"p_late": 0.99, "swing": 0.0}, [5.0, 4.0, 3.0, 2.0, 1.0])
    'overfitting'
    """
    # The window that ends progress is half decrease: its later half tells what comes now.
    worsening = evidence.get("p_late", 0.5) > 0.95
    if worsening and len(train_losses) >= 4 and mann_kendall(train_losses)[1] < 0.05:
        return "overfitting"
    if evidence.get("swing", 0.0) < -0.6 and evidence.get("observations", 0.0) >= 6:
        return "oscillation"
    going = moving_on(evidence)
    if going is not None:  # how gradients or weights move tells more than what cuts have brought
        return "flat region" if going else "noise floor"
    return "flat region" if cause == "flat" else "noise floor"


def moving_on(evidence: Mapping[str, float]) -> bool | None:
    """Whether the weights go somewhere, by their gradients, or by their drift where those don't tell; None: unknown.

    >>> moving_on({"drift": 1.8}), moving_on({"agreement": -0.2, "agreement_error": 0.05, "drift": 1.8}), moving_on({})
    (True, False, None)
    """
    told = moving(evidence.get("agreement", math.nan), evidence.get("agreement_error", math.nan))
    if told is not None:
        return told
    drift = evidence.get("drift", math.nan)
    return None if math.isnan(drift) else drift > BORDER


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
