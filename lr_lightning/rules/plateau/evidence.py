"""What the trend rule saw, as numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lr_lightning.rules.plateau import stats
from lr_lightning.rules.plateau.motion import Drift
from lr_lightning.rules.plateau.stats import Block
from lr_lightning.rules.plateau.trend_state import Stage


def evidence_of(stage: Stage, window: Sequence[Block], p: float, sign: float) -> dict[str, float]:
    """The numbers behind a decision.

    Args:
        stage: The values since the last cut.
        window: Those that were looked at.
        p: Of a trend towards better values.
        sign: -1 where greater values are better.

    >>> evidence_of(Stage(top=5.0), [(2.0, 1, 1.0), (4.0, 1, 2.0)], 0.01, -1.0)["level"]
    -3.0
    """
    means = stats.means_of(window)
    level = sum(means) / len(means)
    return {
        "p": p,
        "observations": float(sum(block[1] for block in window)),
        "blocks": float(len(window)),
        "level": sign * level,
        "noise": stats.spread(means),
        "drop": stage.top - level,
        # A bent decline looks like correlated noise.
        "correlation": stats.lasting(stage.swings, stage.blocks, window) if p >= 0.05 else 0.0,
    }


def of_plateau(window: Sequence[Block], drift: Drift | None) -> dict[str, float]:
    """What only the diagnosis of a plateau asks for.

    >>> sorted(of_plateau([(2.0, 1, 1.0), (4.0, 1, 2.0)], Drift(0.6)))
    ['drift', 'p_late', 'rise', 'swing']
    """
    means = stats.means_of(window)
    late = means[len(means) // 2 :]
    found = {"swing": stats.lag_one([block[0] for block in window])}
    found |= {"p_late": stats.mann_kendall(late)[1], "rise": stats.rise(late)}
    return found if drift is None or drift.ratio is None else {**found, "drift": drift.ratio}


def words_of(evidence: Mapping[str, float], mode: str, useless: bool, flat: bool) -> str:
    """A plateau in words.

    >>> words_of({"observations": 12.0, "p": 0.61, "noise": 0.004}, "min", False, True)
    'no downward trend over the last 12 observations (p = 0.61), noise ±0.004; no progress since the start'
    """
    count, way = int(evidence["observations"]), "downward" if mode == "min" else "upward"
    text = (
        f"no {way} trend over the last {count} observations (p = {evidence['p']:.2g}), noise ±{evidence['noise']:.2g}"
    )
    if useless:
        return text + "; the last cut brought nothing"
    return text + ("; no progress since the start" if flat else "")
