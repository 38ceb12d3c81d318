"""When to tell that a cut is put off: once, not at every observation that says so."""

from __future__ import annotations

from lr_lightning.rules.plateau.decision import Decision

SURE = 0.05


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
