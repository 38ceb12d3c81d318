"""Which trials to stop early: successive halving as trials come in, and divergence.

(Li et al., "A System for Massively Parallel Hyperparameter Tuning" (ASHA), 2020, algorithm 2: a trial goes on past a
rung if it is among the best ``1 / eta`` of those that reached the rung. Jamieson & Talwalkar 2016 for the rungs.)
"""

import math
from collections.abc import Sequence

from lr_lightning.rules.checks import check_count, check_number

LEAST_ETA = 1.1
"""Nearer to 1 there would be a rung at nearly every observation."""


def rungs(first: int, eta: float, last: int) -> tuple[int, ...]:
    """Counts of observations at which a trial is judged: ``first * eta ** k`` below ``last``.

    Args:
        first: Observations before the first judgement, at least 1.
        eta: Factor between rungs, at least 1.1.
        last: Observations of a whole trial.

    Returns:
        Increasing counts, none of them ``last`` itself: a finished trial isn't judged.

    Raises:
        ValueError: If ``first`` or ``eta`` is out of its bounds.

    >>> rungs(1, 3, 30)
    (1, 3, 9, 27)
    """
    check_count("first", first, 1)
    check_number("eta", eta, LEAST_ETA)
    found: list[int] = []
    at = float(first)
    while round(at) < last:
        if not found or round(at) > found[-1]:
            found.append(round(at))
        at *= eta
    return tuple(found)


def planned_validations(
    batches: float, epochs: int | None, every: float, every_epochs: int | None, most: float = math.inf
) -> int | None:
    """How many validations a whole training has.

    Args:
        batches: Training batches of an epoch; infinite if unknown.
        epochs: Epochs; None if unknown.
        every: Batches between two validations; infinite: at the end of an epoch.
        every_epochs: Only every so many epochs; None: ``every`` counts on over epochs.
        most: Batches at which the training ends at the latest.

    Returns:
        The number, or None if the length isn't known.

    >>> planned_validations(64, 1, 8, 1), planned_validations(8, 8, 8, 2), planned_validations(8, None, 8, 1, 20)
    (8, 4, 2)
    """
    total = min(most, batches * epochs if epochs is not None else math.inf)
    if not math.isfinite(total):
        return None
    if every_epochs is None:
        return int(total // every)
    if not math.isfinite(batches):
        return int(total // every) if math.isfinite(every) else None
    within = int(batches // every) if math.isfinite(every) else 1
    whole, rest = divmod(total, batches)
    begun = int(rest // every) if (whole + 1) % every_epochs == 0 else 0
    return int(whole // every_epochs) * within + begun


def judge(value: float, peers: Sequence[float], eta: float, mode: str = "min", least: int = 3) -> str:
    """Why a trial should stop at a rung, or an empty string: it may go on.

    Args:
        value: Its metric at the rung.
        peers: What the other trials had at the same rung; NaN counts as worst.
        eta: It goes on if it is among the best ``1 / eta`` of all.
        mode: ``"min"`` or ``"max"``.
        least: With fewer peers than this nobody is stopped but for a non-finite metric.

    Returns:
        The reason to stop in words, or ``""``.

    >>> judge(2.0, [1.0, 1.1, 1.2], eta=2)
    '4th of 4 at this point, the best 2 go on'
    """
    if not math.isfinite(value):
        return f"the metric is {value}"
    if len(peers) < least:
        return ""
    sign = 1.0 if mode == "min" else -1.0
    rank = 1 + sum(math.isfinite(p) and sign * p < sign * value for p in peers)
    keep = max(math.ceil((len(peers) + 1) / eta), 1)
    return f"{_ordinal(rank)} of {len(peers) + 1} at this point, the best {keep} go on" if rank > keep else ""


def finished(value: float, others: Sequence[tuple[float, float]]) -> float:
    """What a trial that was stopped at a rung would have scored: its metric there plus what others gained after it.

    The metric of a stopped trial is that of a shorter training; beside whole trials it would look far worse than it is
    and pull the surface of scores up around it.

    Args:
        value: Its metric at the rung.
        others: Metric at that rung and final score of trials that went on to their end.

    Returns:
        The estimate; ``value`` if there is nobody to compare with.

    >>> finished(1.5, [(1.0, 0.5), (1.2, 0.6), (1.1, 0.1)])
    0.9
    """
    gains = sorted(final - at for at, final in others if math.isfinite(final) and math.isfinite(at))
    return value + gains[len(gains) // 2] if gains else value


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def diverged(value: float, first: float, best: float, mode: str = "min", factor: float = 1.0) -> bool:
    """Whether a metric left the range in which it learned: below the start by more than ``factor`` times the gain.

    ``value - first > factor * max(first - best, |first| / 2)``: the second term keeps a trial that gained nothing yet
    from being stopped by noise. Negative metrics work as well: only differences count.

    Args:
        value: The metric now.
        first: Its first value.
        best: Its best value so far.
        mode: ``"min"`` or ``"max"``.
        factor: How much of the gain may be lost below the start.

    >>> diverged(5.0, first=2.3, best=1.0), diverged(2.4, first=2.3, best=2.2)
    (True, False)
    """
    if not math.isfinite(value):
        return True
    sign = 1.0 if mode == "min" else -1.0
    # Half of the start is a choice: losses of a healthy start vary by a tenth, a diverging one doubles within steps.
    return sign * (value - first) > factor * max(sign * (first - best), 0.5 * abs(first))
