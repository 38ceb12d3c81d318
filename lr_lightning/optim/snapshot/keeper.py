"""What a keeper is: it remembers what one object itself holds (not what its parts hold) and puts it back in place.

Whoever refers to a list, a module or a generator goes on referring to it, and sees its old content. Content is written
below the level of ``__setattr__`` and ``__setitem__``: a frozen dataclass, a property or a module's own bookkeeping
neither stands in the way nor notices.
"""

from collections.abc import Iterable, Mapping
from typing import Any

ABSENT: Any = object()


class Keeper:
    """One object's own state.

    Attributes:
        place: Where it was found; see :mod:`lr_lightning.optim.reach`.
        what: What kind of thing it is, for words to the user.
    """

    place: Any = None
    what = ""

    def restore(self) -> None:
        """Put the object's state back."""

    def left(self) -> str | None:
        """Why the object isn't as it was, in words; None: it is."""
        return None

    def stand_in(self, stand_ins: Mapping[int, "StandIn"]) -> None:
        """Let go of values that are to be asked for at the time of restoring."""


class StandIn(Keeper):
    """A value that its holders get anew at each restoring."""

    def current(self) -> Any:
        """The value to hold now."""
        raise NotImplementedError


def same(first: Iterable[Any], second: Iterable[Any]) -> bool:
    """The same objects in the same order; ``==`` would ask tensors and arrays for their elements."""
    return [*map(id, first)] == [*map(id, second)]
