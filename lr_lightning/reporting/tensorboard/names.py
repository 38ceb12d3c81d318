"""Names of runs and tags: what is shown of them, their order, and a colour that stays."""

import functools
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from lr_lightning.reporting.figures import style

LONG = 32
"""Characters that a row of the sidebar holds."""
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)")


@functools.lru_cache(maxsize=4096)  # every picture sorts all names
def natural(name: str) -> tuple[tuple[int, float | str], ...]:
    """Sort key that puts ``version_10`` after ``version_9``, and ``lr=0.1`` after ``lr=1e-3``."""
    return tuple((0, float(part)) if at % 2 else (1, part) for at, part in enumerate(_NUMBER.split(name)) if part)


@functools.lru_cache(maxsize=8)
def labels(names: tuple[str, ...]) -> dict[str, str]:
    """Each name without what all of them begin and end with, cut at slashes and commas.

    >>> labels(("logs/a/version_0", "logs/b/version_0"))
    {'logs/a/version_0': 'a', 'logs/b/version_0': 'b'}

    Of names made of overrides (``optimizer.lr=0.1,seed=0``) the overrides stay in which runs of a folder differ, each
    under the last part of its key.

    >>> labels(("a/model.lr=1,seed=0", "a/model.lr=2,seed=0", "b"))
    {'a/model.lr=1,seed=0': 'a/lr=1', 'a/model.lr=2,seed=0': 'a/lr=2', 'b': 'b'}

    Names that are long still are cut at hyphens, underscores, dots and blanks as well.

    >>> labels(("resnet50-imagenet_sgd-bs256-warmup_seed-1", "resnet50-imagenet_sgd-bs256-warmup_seed-2")).values()
    dict_values(['1', '2'])
    """
    if len(names) < 2:
        return {name: name for name in names}
    brief = _without_equal_overrides(names)
    parts = [brief[name] for name in names]
    if len(set(parts)) < len(parts):  # shorter must not mean the same
        parts = list(names)
    for cuts in ("/,", "/,-_. "):
        start = _common(parts, cuts)
        rest = [part[start:] for part in parts]
        end = _common([part[::-1] for part in rest], cuts)
        parts = [part[: len(part) - end] if end else part for part in rest]
        if max(map(len, parts)) <= LONG:
            break
    return {name: part or name for name, part in zip(names, parts, strict=True)}


def _without_equal_overrides(names: Collection[str]) -> dict[str, str]:
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    found = {}
    for folder, own in folders.items():
        overrides = [name.rpartition("/")[2].split(",") for name in own]
        counts = Counter(part for parts in overrides for part in set(parts))
        such = sum(any("=" in part for part in parts) for parts in overrides)
        for name, parts in zip(own, overrides, strict=True):
            kept = [part for part in parts if "=" not in part or counts[part] < such or such < 2] or parts
            last = ",".join(re.sub(r"^[^=]*\.(?=[^.=]+=)", "", part) for part in kept)
            found[name] = f"{folder}/{last}" if folder else last
    return found


def _common(names: Collection[str], cuts: str) -> int:
    """Length of the common beginning, up to the last of the ``cuts`` in it; no name may vanish."""
    low, high = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    same = min(same, min(map(len, names)) - 1)
    return max(low.rfind(cut, 0, same) for cut in cuts) + 1


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


def is_lr(tag: str, before: Iterable[str] = ()) -> bool:
    """Whether a scalar tag is an LR as ``LRCurves`` and ``LearningRateMonitor`` name it, a logger's prefix allowed.

    Args:
        tag: The tag.
        before: The run's prefixes as far as they are known: one may say ``lr-`` itself.

    >>> [is_lr(tag) for tag in ("lr-SGD", "exp1-lr-SGD", "lr-SGD-momentum", "color-x")]
    [True, True, False, False]
    >>> [is_lr(tag, ["lr-sweep-"]) for tag in ("lr-sweep-train_loss", "lr-sweep-lr-SGD")]
    [False, True]
    """
    return bool(re.match(r"(.*-)?lr-.", base(tag, before))) and not tag.endswith(("-momentum", "-weight_decay"))


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
