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
    "too high an LR": "it gets worse and the training loss doesn't fall: too high an LR",
    "rising": "it gets worse: overfitting, where the training loss falls, else too high an LR",
    "flat region": "a flat region: a lower LR hasn't helped or there was no progress yet; a higher one may",
    "noise floor": "a noise floor: a lower LR helps",
}


SURE = 0.05
"""Of a trend, to be told: the usual level of significance (Fisher)."""
_WORSE = 0.99
"""p of a trend towards worse values that is told by itself: asked of the window and of its later half, at .95 it tells
15 % of white noise's plateaus as getting worse, at .99 5 %, and of rising metrics nearly as many (measured)."""
_LIKELY = 0.84
"""p of a trend towards worse values that speaks against flat ground: three that rise have .85. A choice."""
_CLEAR_RISE = 4.0
"""And by how many standard deviations they rise: three values of white noise do so in one case of ten."""


def diagnose(cause: str, evidence: Mapping[str, float], train_losses: Sequence[float] = ()) -> str:
    """Name a plateau.

    Args:
        cause: The decision's cause, ``"plateau"`` or ``"flat"``.
        evidence: Its evidence: over the window, ``p`` of a trend towards better values (``p_late`` in its later half),
            ``rise`` of that half in units of its noise, ``observations``, ``blocks`` that they were averaged into and
            ``swing``, these blocks' lag-1 correlation;
            ``drift`` how the weights moved, where that was followed.
        train_losses: The training loss between observations, oldest first; empty if it wasn't collected.

    Returns:
        A key of :data:`WORDS`. Where several fit, the first of a metric that gets worse (overfitting if the training
        loss falls, too high an LR if it doesn't, ``"rising"`` if nobody knows), oscillation, overfitting that makes it
        no worse yet, flat region, noise floor.

    >>> diagnose("plateau", {"p_late": 0.995, "swing": 0.0}, [5.0, 4.0, 3.0, 2.0, 1.0])
    'overfitting'
    """
    # Within the window: before it both may have fallen.
    fell = mann_kendall(train_losses[-max(5, int(evidence.get("observations", 16.0))) :])[1]
    rises = evidence.get("rise", 0.0) > _CLEAR_RISE and _worsens(evidence, _LIKELY)
    if rises or _worsens(evidence, _WORSE):  # never "a higher LR may help" to what gets worse with this one
        return _why_worse(train_losses, fell)
    if _swings(evidence):
        return "oscillation"
    if fell < 0.01 and evidence.get("p", 0.0) >= 0.3:
        return "overfitting"
    going = moving_on(evidence)
    if going is not None:  # how the weights move tells more than what cuts have brought
        return "flat region" if going else "noise floor"
    return "flat region" if cause == "flat" else "noise floor"


def _worsens(evidence: Mapping[str, float], sure: float) -> bool:
    """Whether the metric gets worse over the window or its later half: one that ends progress is half decrease."""
    return max(evidence.get("p", 0.5), evidence.get("p_late", 0.5)) > sure


def _why_worse(train_losses: Sequence[float], fell: float) -> str:
    if len(train_losses) < 4:
        return "rising"
    return "overfitting" if fell < SURE else "too high an LR"


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
    if changed or sure or decision.cause == "kick":
        return ()
    return (*before, decision.waits) if decision.waits and decision.waits not in before else before
