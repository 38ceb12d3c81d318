"""The sweep protocol: what a range test does to a model, in numbers.

Every driver follows it, so every driver gets the same curve. A driver (the Lightning callback,
:func:`lr_lightning.range_test`) does this:

1. Take a snapshot. Fetch the first ``min(CYCLED_BATCHES, len(loader))`` batches once and cycle them through the whole
   sweep: the weights' progress then shows over ``CYCLED_BATCHES`` steps, not over an epoch, and the losses of one cycle
   are comparable with those of the next. (One step is one optimizer step: with accumulation a "batch" is a window of
   micro-batches and its loss is their mean; over ranks it is the mean over ranks.)
2. At step ``i`` write ``ladder(...)[i]`` (one multiplier for all groups), do one optimizer step, record the training
   loss **before** the step.
3. Every :data:`WINDOW` steps (or every step; the answer is the same) ask ``diverged(losses, planned=num_steps)`` and
   stop if so. :func:`~lr_lightning.rules.range_test.analyze.analyze` cuts the curve where a driver that asks at each
   step would have stopped, so that the window's length never moves the answer.
4. Back to the starting weights. Optional: ``repeats`` more sweeps on the next batches each.
5. Read the curve: ``analyze(lrs, losses, planned=num_steps, cycle=<batches cycled>, ...)``.
6. Optional (``confirm="probes"``): drive :func:`lr_lightning.rules.range_test.probes.plan` around
   ``result.horizon["decay"]`` with the rest of the budget; step ``i`` of every trial uses batch ``i`` of the
   first ``PROBE_BATCHES``, cycled. Then :func:`lr_lightning.rules.range_test.analyze.confirm`.
7. Put everything back.

No extra forward is needed: the flat zone at the ladder's low end measures the starting weights on each cycled batch.
"""

MIN_LR = 1e-7
MAX_LR = 10.0
NUM_STEPS = 100

CYCLED_BATCHES = 8
"""Batches that a sweep cycles through: fewer are learnt by heart, more blur the curve."""

PROBE_BATCHES = 32
"""Batches that trials share; kept in memory for their time."""

BUDGET = 300
"""Optimizer steps of sweep and trials together with ``confirm="probes"``."""

WINDOW = 10
"""Steps between two looks at the losses: a host sync and, over ranks, a collective each."""

HEAD_SHARE = 0.1
"""Share of the planned steps whose losses stand for the start of the curve (fast.ai drops the same share)."""

STOP_RUN = 5
"""So many losses in a row beyond the bound end a sweep; fewer are spikes."""

MIN_POINTS = 8
"""Fewer finite losses than this are no curve."""


def head_length(planned: int) -> int:
    """How many of the first losses stand for the start of a curve of ``planned`` steps.

    At least ten, or a third of a very short ladder: the spread of fewer losses is luck.

    >>> head_length(100), head_length(300), head_length(40), head_length(20)
    (10, 30, 10, 6)
    """
    return max(round(HEAD_SHARE * planned), min(10, planned // 3), 1)
