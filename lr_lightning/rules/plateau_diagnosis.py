"""What kind of plateau it is, from what is at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lr_lightning.rules.plateau_drift import BORDER
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
            its lag-1 correlation, ``drift`` how the weights moved, if that was followed.
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
    drift = evidence.get("drift", math.nan)
    if not math.isnan(drift):  # how the weights move tells more than what cuts have brought
        return "flat region" if drift > BORDER else "noise floor"
    return "flat region" if cause == "flat" else "noise floor"
