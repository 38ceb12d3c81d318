"""What other tools would have said on the same curve: their published rules, re-stated as pure functions.

Each takes the raw losses over the LRs and does all that its tool does after measuring: smoothing with a lag, the stop,
the slice, the rule. (The tools also sweep differently: Lightning up to LR 1, all of them over fresh batches. The
benchmark in ``recipes/benchmarks/suggestion.py`` runs the tools themselves.)
"""

from collections.abc import Callable, Sequence

import numpy as np

from lr_lightning.rules.range_test.curve import falling_chains
from lr_lightning.rules.range_test.smoothing import Array

Peer = Callable[[Array, Array, int], float | None]


def debiased_average(losses: Array, beta: float = 0.98, ahead: int = 1) -> Array:
    """Exponential moving average over ``1 - beta**(i + ahead)``; ``ahead=1`` is unbiased, Lightning counts one more.

    >>> import numpy as np
    >>> debiased_average(np.array([2.0, 2.0, 2.0])).round(2)
    array([2., 2., 2.])
    """
    average, out = 0.0, np.empty_like(losses)
    for i, loss in enumerate(losses):
        average = beta * average + (1 - beta) * float(loss)
        out[i] = average / (1 - beta ** (i + ahead))
    return out


def running_average(losses: Array, share: float = 0.05) -> Array:
    """``share`` of the new loss and the rest of the last value, from the first loss on.

    >>> import numpy as np
    >>> running_average(np.array([2.0, 1.0])).round(2)
    array([2.  , 1.95])
    """
    out = losses.copy()
    for i in range(1, len(out)):
        out[i] = share * losses[i] + (1 - share) * out[i - 1]
    return out


def stopped(values: Array, factor: float, first: int = 0) -> Array:
    """Values up to and with the first one above ``factor`` times the best so far.

    >>> import numpy as np
    >>> len(stopped(np.array([2.0, 1.0, 9.0, 9.0]), factor=4.0))
    3
    """
    above = values > factor * np.minimum.accumulate(values)
    above[:first] = False
    return values[: int(np.argmax(above)) + 1] if above.any() else values


def lightning(lrs: Array, losses: Array, planned: int) -> float | None:
    """Lightning's ``Tuner.lr_find``: steepest gradient over linear LR, points 10 to -1 (2.6, lr_finder.py).

    >>> import math
    >>> import numpy as np
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> lr = lightning(np.array(lrs), np.array(losses), 51)
    >>> f"{lr:.2g}"
    '0.013'
    """
    values = stopped(debiased_average(losses, ahead=2), 4.0, first=1)
    kept, kept_lrs = values[10:-1], lrs[10 : len(values) - 1]
    if len(kept) < 2:
        return None
    return float(kept_lrs[int(np.argmin(np.gradient(kept, kept_lrs)))])


def _fastai(lrs: Array, losses: Array, planned: int) -> tuple[Array, Array] | None:
    values = stopped(debiased_average(losses), 4.0)
    kept = slice(planned // 10, len(values) - 5)
    return (lrs[kept], values[kept]) if len(values[kept]) >= 2 else None


def fastai_valley(lrs: Array, losses: Array, planned: int) -> float | None:
    """fast.ai's "valley": about the middle of the longest decreasing subsequence (fastai 2, callback/schedule.py).

    The subsequence is taken to end where it ends and to be as wide as it has members, as there.

    >>> import math
    >>> import numpy as np
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> lr = fastai_valley(np.array(lrs), np.array(losses), 51)
    >>> f"{lr:.2g}"
    '0.002'
    """
    kept = _fastai(lrs, losses, planned)
    if kept is None:
        return None
    longest, _ = falling_chains([float(v) for v in kept[1]])
    end = longest.index(max(longest))
    start = end - longest[end] if end else 0
    third = (end - start) / 3
    return float(kept[0][start + int(third) + int(third / 2)])


def fastai_steep(lrs: Array, losses: Array, planned: int) -> float | None:
    """fast.ai's "steep": steepest descent per log LR.

    >>> import math
    >>> import numpy as np
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> lr = fastai_steep(np.array(lrs), np.array(losses), 51)
    >>> f"{lr:.2g}"
    '0.016'
    """
    kept = _fastai(lrs, losses, planned)
    return None if kept is None else float(kept[0][int(np.argmin(np.diff(kept[1]) / np.diff(np.log(kept[0]))))])


def fastai_minimum(lrs: Array, losses: Array, planned: int) -> float | None:
    """fast.ai's "minimum": a tenth of the LR at the smallest smoothed loss.

    >>> import math
    >>> import numpy as np
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> lr = fastai_minimum(np.array(lrs), np.array(losses), 51)
    >>> f"{lr:.2g}"
    '0.032'
    """
    kept = _fastai(lrs, losses, planned)
    return None if kept is None else float(kept[0][int(np.argmin(kept[1]))]) / 10


def fastai_slide(lrs: Array, losses: Array, planned: int) -> float | None:
    """fast.ai's "slide": from the right, as long as slopes 15 points apart differ by more than .005.

    >>> import math
    >>> import numpy as np
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> lr = fastai_slide(np.array(lrs), np.array(losses), 51)
    >>> f"{lr:.2g}"
    '0.01'
    """
    kept = _fastai(lrs, losses, planned)
    if kept is None or len(kept[0]) < 16:
        return None
    slopes = np.gradient(kept[1])
    right, left = len(slopes) - 1, len(slopes) - 16
    found = float(kept[0][left])
    while left >= 0 and abs(slopes[right] - slopes[left]) > 0.005:
        found = float(kept[0][left])
        right, left = right - 1, left - 1
    return found


def torch_lr_finder(lrs: Array, losses: Array, planned: int) -> float | None:
    """torch-lr-finder's "steepest": steepest descent per step, points 10 to -5 (torch-lr-finder 0.2, lr_finder.py).

    >>> import math
    >>> import numpy as np
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> lr = torch_lr_finder(np.array(lrs), np.array(losses), 51)
    >>> f"{lr:.2g}"
    '0.02'
    """
    values = stopped(running_average(losses), 5.0, first=1)
    kept = values[10:-5]
    return None if len(kept) < 2 else float(lrs[10 + int(np.argmin(np.gradient(kept)))])


def ignite(lrs: Array, losses: Array, planned: int) -> float | None:
    """Ignite's ``FastaiLRFinder.lr_suggestion``: steepest descent per step left of the minimum (ignite 0.5).

    >>> import math
    >>> import numpy as np
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> lr = ignite(np.array(lrs), np.array(losses), 51)
    >>> f"{lr:.2g}"
    '0.02'
    """
    values = stopped(running_average(losses), 5.0)
    kept = values[: int(np.argmin(values)) + 1]
    return None if len(kept) < 3 else float(lrs[1 + int(np.argmin(kept[2:] - kept[:-2]))])


PEERS: dict[str, Peer] = {
    "lightning": lightning,
    "fastai_valley": fastai_valley,
    "fastai_steep": fastai_steep,
    "fastai_slide": fastai_slide,
    "fastai_minimum": fastai_minimum,
    "torch_lr_finder": torch_lr_finder,
    "ignite": ignite,
}


def peer_suggestions(lrs: Sequence[float], losses: Sequence[float], planned: int) -> dict[str, float | None]:
    """Every peer's answer on one curve; None where its rule has none (too few points).

    >>> import math
    >>> lrs = [10 ** (-5 + i / 10) for i in range(51)]
    >>> losses = [2 - 1.5 / (1 + math.exp(-8 * (math.log10(x) + 2))) + x ** 2 / 10 for x in lrs]
    >>> for tool, lr in peer_suggestions(lrs, losses, 51).items():
    ...     print(tool, f"{lr:.1g}")
    lightning 0.01
    fastai_valley 0.002
    fastai_steep 0.02
    fastai_slide 0.01
    fastai_minimum 0.03
    torch_lr_finder 0.02
    ignite 0.02
    """
    y = np.asarray(losses, dtype=np.float64)
    n = int(np.argmin(np.isfinite(y))) if not np.isfinite(y).all() else len(y)
    x = np.asarray(lrs, dtype=np.float64)[:n]
    if n < 2:
        return dict.fromkeys(PEERS)
    return {name: rule(x, y[:n], planned) for name, rule in PEERS.items()}
