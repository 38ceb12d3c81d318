"""What every rule here, and every other tool's rule, would say on one curve."""

from collections.abc import Sequence

from lr_lightning.rules.range_test.curve import read_curve
from lr_lightning.rules.range_test.peers import peer_suggestions
from lr_lightning.rules.range_test.readings import RULES, read


def all_suggestions(
    lrs: Sequence[float], losses: Sequence[float], *, planned: int, cycle: int = 1
) -> dict[str, float | None]:
    """Every rule's answer on a curve; see :meth:`RangeTestResult.suggestions`.

    Args:
        lrs: LRs visited.
        losses: Loss before the step at each.
        planned: Steps in the whole ladder.
        cycle: How many batches the sweep cycled through.

    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> said = all_suggestions(lrs, losses, planned=51)
    >>> [f"{said[name]:.1e}" for name in ("share", "valley", "ignite")]
    ['1.9e-02', '1.0e-03', '2.0e-02']
    """
    curve = read_curve(lrs, losses, planned=planned, cycle=cycle)
    own: dict[str, float | None] = {
        name: read(curve, name) if curve is not None and curve.descends else None for name in RULES
    }
    return {**own, **peer_suggestions(lrs, losses, planned)}
