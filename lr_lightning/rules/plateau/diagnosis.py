"""What kind of plateau it is, from what is at hand, and when to tell that a cut is put off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.plateau.motion import moving_on
from lr_lightning.rules.plateau.stats import mann_kendall

WORDS: dict[str, str] = {
    "overfitting": "overfitting: the training loss falls and the metric gets no better; a lower LR may not help",
    "oscillation": "oscillation: better and worse in turn, as with too high an LR",
    "flat region": "a flat region: a lower LR hasn't helped or there was no progress yet; a higher one may",
    "noise floor": "a noise floor: a lower LR helps",
}


SURE = 0.05
"""Of a trend, to be told: the usual level of significance (Fisher)."""


def diagnose(cause: str, evidence: Mapping[str, float], train_losses: Sequence[float] = ()) -> str:
    """Name a plateau.

    Args:
        cause: The decision's cause, ``"plateau"`` or ``"flat"``.
        evidence: Its evidence: over the window, ``p`` of a trend towards better values (``p_late`` in its later half),
            ``observations``, ``blocks`` that they were averaged into and ``swing``, these blocks' lag-1 correlation;
            ``drift`` how the weights moved, where that was followed.
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
    if going is not None:  # how the weights move tells more than what cuts have brought
        return "flat region" if going else "noise floor"
    return "flat region" if cause == "flat" else "noise floor"


def _swings(evidence: Mapping[str, float]) -> bool:
    """Whether values go up and down in turn; so do a few by chance."""
    swing, count = evidence.get("swing", 0.0), evidence.get("blocks", 0.0)
    errors = swing * max(1.0 - 4.0 / max(count, 1.0), 0.2) * math.sqrt(count)
    return swing < -0.6 and errors < -1.3


def told(before: tuple[str, ...], decision: Decision) -> tuple[str, ...]:
    """What was told of this plateau, with what this decision tells.

    The plateau is over where the LR is changed for its sake or progress is sure; a p-value that wavers ends nothing,
    nor do the endgame's cuts.

    Args:
        before: What was told up to now; () at first.
        decision: The next decision. If the result is longer than ``before``, it is to be told.

    >>> waits = Decision("keep", "", "flat", waits="weights")
    >>> told((), waits), told(("weights",), waits), told(("weights",), Decision("decay", "", "plateau"))
    (('weights',), ('weights',), ())
    """
    sure = decision.cause == "progress" and decision.evidence.get("p", 1.0) < SURE
    changed = decision.action != "keep" and decision.cause != "endgame"
    if changed or sure or decision.cause in ("restart", "kick"):
        return ()
    return (*before, decision.waits) if decision.waits and decision.waits not in before else before
