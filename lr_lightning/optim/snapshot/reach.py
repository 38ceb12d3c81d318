"""A walk over all that is reachable from some objects, each once, however deep."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lr_lightning.optim.snapshot.keeper import Keeper

# How an object was come to; passed on to what it holds.
OWNED, WEAK, DATA, SHARED = 1, 2, 4, 8
"""Parameters, buffers and optimizer state; optimizer state; data of loaders; what is come to by a class or a global
variable alone: a network among it needn't be one that trains."""

_LATE = (
    100_000  # objects in large containers that are followed at most: beyond, a walk would take longer than the steps
)

Place = tuple[Any, str, Any] | None  # (place of the holder, kind of step, name or key)
Visitor = Callable[["Walk", Any, Place, int], None]


class Walk:
    """One walk.

    Args:
        visitor_of: Which visitor takes objects of a type; None: they are left alone.
        machinery: Types whose objects aren't followed, such as a trainer's and its callbacks'.

    Attributes:
        keepers: Of all that was found, but tensors and arrays.
        tensors: Tensors and arrays found, with place and how they were come to.
        failed: Places that couldn't be read, with the reason.
        names: Variables that were come to: id of their namespace, and name.
    """

    def __init__(self, visitor_of: Callable[[type], Visitor | None], machinery: tuple[type, ...] = ()) -> None:
        self.keepers: list[Keeper] = []
        self.tensors: dict[int, list[Any]] = {}
        self.failed: list[tuple[Place, str]] = []
        self.names: set[tuple[int, str]] = set()
        self._visitor_of, self._machinery = visitor_of, machinery
        self._visitors: dict[type, Visitor | None] = {}
        self._plain: set[type] = set()
        self._seen: dict[int, Any] = {}  # holds the objects, so that no id is given away twice
        self._queue: deque[tuple[Any, Place, int]] = deque()
        self._late: deque[tuple[Any, Place, int]] = deque()

    def run(self, roots: Mapping[str, Any], mode: int = 0, default: Visitor | None = None) -> None:
        """Follow each root in turn.

        Args:
            roots: What to start from, by name.
            mode: How they were come to.
            default: Takes roots that would be left alone.
        """
        for name, root in roots.items():
            place: Place = (None, "", name)
            self._queue.append((root, place, mode))
            self._empty(self._queue, default)
        late = _LATE
        while self._late and late > 0:
            late -= 1
            self._queue.append(self._late.popleft())
            self._empty(self._queue)

    def _empty(self, queue: deque[tuple[Any, Place, int]], default: Visitor | None = None) -> None:
        while queue:
            value, place, mode = queue.popleft()
            visitor = self._visitor(type(value)) or (default if place and place[0] is None else None)
            if visitor is None:
                continue
            if self.is_new(value):
                if type(value) not in self._plain and id(type(value)) not in self._seen:
                    self._late.append((type(value), (place, ".", "__class__"), mode))
                try:
                    visitor(self, value, place, mode)
                except Exception as error:
                    self.failed.append((place, f"can't be copied: {type(error).__name__}: {error}"))
            elif id(value) in self.tensors:
                self._again(self.tensors[id(value)], mode)

    @staticmethod
    def _again(found: list[Any], mode: int) -> None:
        """Owned by any way is owned; weak is what only an optimizer's state holds."""
        found[2] = (found[2] | mode & OWNED) & (mode | ~(WEAK | DATA))

    def is_new(self, value: Any) -> bool:
        """Whether an object is come to for the first time; from now on it isn't."""
        if id(value) in self._seen:
            return False
        self._seen[id(value)] = value
        return True

    def _visitor(self, cls: type) -> Visitor | None:
        if cls not in self._visitors:
            found = None if issubclass(cls, self._machinery) else self._visitor_of(cls)
            self._visitors[cls] = found
            if found is None:
                self._plain.add(cls)
        return self._visitors[cls]

    def add(self, keeper: Keeper, place: Place) -> None:
        """Take in an object's keeper."""
        keeper.place = place
        self.keepers.append(keeper)

    def follow(self, place: Place, step: str, items: Iterable[tuple[Any, Any]], mode: int, late: bool = False) -> None:
        """Go on to what an object holds: names or keys, and values."""
        plain, queue = self._plain, self._late if late else self._queue
        for key, value in items:
            if type(value) not in plain:
                queue.append((value, (place, step, key), mode))

    def found(self) -> list[Any]:
        """All that was come to."""
        return list(self._seen.values())

    def has_state(self, value: Any) -> bool:
        """Whether a value isn't a plain one."""
        return type(value) not in self._plain and self._visitor(type(value)) is not None


def path(place: Place) -> str:
    """A place in words that are Python where possible.

    >>> path((((None, "", "module"), ".", "teacher"), "[", 0))
    'module.teacher[0]'
    """
    parts = []
    while place is not None:
        place, step, key = place
        if step == "[":
            parts.append(f"[{key!r}]" if isinstance(key, (str, int)) else f"[a {type(key).__name__}]")
        elif step == "(":
            parts.append(f" ({key})")
        else:
            parts.append(f"{step}{key}")
    return "".join(reversed(parts))
