"""Whether the scores of a search depend on what it varies."""

from collections.abc import Iterable, Sequence

_FEWEST = 3
"""Two equal scores can be chance, for a score of few digits such as an accuracy."""


def without_effect(names: Sequence[str], trials: Iterable[tuple[tuple[object, ...], object, float | None]]) -> str:
    """A sentence if all points scored alike, else ``""``: the app doesn't read what the search varies.

    Args:
        names: The searched parameters.
        trials: Point, repeat (a seed) and score of each trial. Repeats may differ from each other.

    >>> without_effect(["lr"], [((0.1,), 0, 2.5), ((0.2,), 0, 2.5), ((0.4,), 0, 2.5)])
    'all 3 points scored alike: the score does not depend on lr; does the app read it?'
    """
    scores: dict[object, set[float | None]] = {}
    points = set()
    for point, repeat, score in trials:
        points.add(point)
        scores.setdefault(repeat, set()).add(score)
    if len(points) < _FEWEST or any(len(seen) > 1 or None in seen for seen in scores.values()):
        return ""
    what = "it" if len(names) == 1 else "them"
    listed = ", ".join(names)
    return f"all {len(points)} points scored alike: the score does not depend on {listed}; does the app read {what}?"
