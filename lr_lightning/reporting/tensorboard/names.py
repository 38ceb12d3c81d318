"""Names of runs and tags: what is shown of them, their order, and a colour that stays."""

import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from lr_lightning.reporting.figures import style


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts ``version_10`` after ``version_9``."""
    return [(0, int(part)) if len(part) < 19 and part.isdigit() else (1, part) for part in _digits(name)]


def _digits(name: str) -> list[str]:
    return re.findall(r"[0-9]+|[^0-9]+", name)


def labels(names: Collection[str]) -> dict[str, str]:
    """Each name without what all of them begin and end with, cut at slashes and commas.

    >>> labels(["logs/a/version_0", "logs/b/version_0"])
    {'logs/a/version_0': 'a', 'logs/b/version_0': 'b'}
    >>> labels(["lr=1,seed=0", "lr=2,seed=0"])
    {'lr=1,seed=0': 'lr=1', 'lr=2,seed=0': 'lr=2'}
    """
    if len(names) < 2:
        return {name: name for name in names}
    start = _common(names)
    rest = [name[start:] for name in names]
    end = _common([name[::-1] for name in rest])
    return {name: (part[: len(part) - end] if end else part) or name for name, part in zip(names, rest, strict=True)}


def _common(names: Collection[str]) -> int:
    """Length of the common beginning, up to the last slash or comma in it; no name may vanish."""
    low, high = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    same = min(same, min(map(len, names)) - 1)
    cut = max(low.rfind("/", 0, same), low.rfind(",", 0, same)) + 1
    return max(cut, 0)


def base(tag: str, prefixes: Iterable[str]) -> str:
    """A tag without its logger's prefix.

    >>> base("exp1-lr-SGD", ["exp1-"])
    'lr-SGD'
    """
    return next((tag[len(prefix) :] for prefix in prefixes if prefix and tag.startswith(prefix)), tag)


def prefixes(tags: Iterable[str]) -> list[str]:
    """Loggers' prefixes, with their hyphen: Lightning logs ``epoch`` with everything, so ``exp1-epoch`` has one.

    >>> prefixes(["exp1-epoch", "exp1-loss", "epoch"])
    ['exp1-']
    """
    return sorted({tag[: -len("epoch")] for tag in tags if tag.endswith("-epoch")}, key=len, reverse=True)


def is_lr(tag: str) -> bool:
    """Whether a scalar tag is an LR as ``LRCurves`` and ``LearningRateMonitor`` name it, a logger's prefix allowed.

    >>> [is_lr(tag) for tag in ("lr-SGD", "exp1-lr-SGD", "lr-SGD-momentum", "color-x")]
    [True, True, False, False]
    """
    return bool(re.match(r"(.*-)?lr-.", tag)) and not tag.endswith(("-momentum", "-weight_decay"))


class ColorBook:
    """Colours of runs: the same for a name whatever other runs come and go, and different ones for the first twenty.

    A name's hash gives the colour that it would have; where that is taken more often than another, the next free one.
    Runs choose in the order in which they began, so a new run displaces none before it, and keep their choice.
    """

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}

    def assign(self, begun: Mapping[str, float]) -> dict[str, int]:
        """A place in the palette for each run.

        Args:
            begun: When each run began.
        """
        count = len(style.COLORS)
        used = Counter(self._slots[run] for run in begun if run in self._slots)
        for run in sorted(set(begun) - set(self._slots), key=lambda name: (begun[name], name)):
            least = min(used[slot] for slot in range(count))
            wanted = zlib.crc32(run.encode("utf-8", "surrogateescape"))
            slot = next(s for i in range(count) if used[s := (wanted + i) % count] == least)
            self._slots[run] = slot
            used[slot] += 1
        return {run: self._slots[run] for run in begun}
