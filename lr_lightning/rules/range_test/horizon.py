"""What a suggestion means for a longer run: the best constant LR falls with its length, a decayed one hardly does.

A range test sees a few dozen steps and its rules are calibrated on runs of a few hundred. Trained eight times longer at
constant LR, the best LR of small tasks fell by .5 to 1 decade in one study and by 0 to .5 (median .2) in another
(``recipes/benchmarks/suggestion_horizon.py``); under cosine decay it moved by -.5 to +.75, without a clear sign. So a
decaying run keeps the suggestion and a constant one gets ``(steps / CALIBRATED_STEPS) ** -EXPONENT``, the weak end of
what was measured, and never more than a decade: beyond it the evidence is thin.
"""

CALIBRATED_STEPS = 300
"""Length of the runs that the rules are calibrated on; shorter runs get no correction."""

EXPONENT = 0.25
"""Eight times longer: a factor of .6 (.23 decades)."""

MOST = 0.1
"""The correction never exceeds a decade."""


def constant_factor(train_steps: int | None) -> float:
    """Factor on the suggestion for constant LR over ``train_steps`` optimizer steps.

    >>> constant_factor(None), constant_factor(300), round(constant_factor(4800), 6), constant_factor(10**9)
    (1.0, 1.0, 0.5, 0.1)
    """
    if train_steps is None or train_steps <= CALIBRATED_STEPS:
        return 1.0
    return max(MOST, float((train_steps / CALIBRATED_STEPS) ** -EXPONENT))
