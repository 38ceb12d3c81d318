"""From a range test to the range that a search samples."""

from collections.abc import Mapping
from typing import Any

BELOW = 30.0
"""How far below the suggestion a search begins. Chosen: a range test reads the start of a training, and the best LR of
a long one lies up to a decade and a half lower."""
ABOVE = 10.0
"""How far above it a search ends, where nothing diverged earlier. Chosen."""
_SURVIVED = 3.0
"""How much higher than a whole training a ramp survives, that spends few steps at each LR. Chosen."""


def bracket(result: Mapping[str, Any], low: float, high: float) -> tuple[float, float, str]:
    """The part of ``low`` to ``high`` that a range test leaves for a search.

    From ``suggestion / 30`` to ``10 * suggestion``, but not beyond three times the LR at which the ramp diverged: a
    range test ramps through an LR in a few steps, so that it survives more than a training does. A minimum at a border
    widens the search again, so a wrong bracket costs a round, not the answer.

    Args:
        result: ``RangeTestResult.to_dict()``; without a suggestion the range stays as it is.
        low: Lower end of the range.
        high: Upper end of the range.

    Returns:
        Lower end, upper end and the reason in words.

    >>> bracket({"suggestion": 0.01, "zones": {"diverging": (0.02, 1.0)}}, 1e-6, 10.0)[:2]
    (0.0003333333333333333, 0.06)
    """
    suggestion = result.get("suggestion")
    if not suggestion:
        return low, high, f"no bracket from the range test ({result.get('reason', 'no suggestion')})"
    above = suggestion * ABOVE
    diverging = (result.get("zones") or {}).get("diverging")
    if diverging:
        above = min(above, _SURVIVED * max(diverging[0], suggestion))
    new_low, new_high = max(low, suggestion / BELOW), min(high, above)
    if new_low >= new_high:
        return low, high, f"the range test suggests {suggestion:g}, outside of the range: no bracket"
    return new_low, new_high, f"the range test suggests {suggestion:g}: {new_low:.3g} to {new_high:.3g}"
