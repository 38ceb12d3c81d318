"""Keepers of containers and of attributes in a ``__dict__``."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any

from lr_lightning.optim.snapshot.keeper import ABSENT, Keeper, StandIn, same
from lr_lightning.optim.snapshot.kinds import is_wrappers_hook


def refill(value: dict[Any, Any], wanted: Mapping[Any, Any], raw: Any = dict) -> None:
    """Give a dictionary other items. What differs alone is touched: a thread of somebody else's may be reading."""
    if same(raw.values(value), wanted.values()) and same(raw.keys(value), wanted):
        return
    for key in [key for key in raw.keys(value) if key not in wanted]:
        raw.__delitem__(value, key)
    for key, item in wanted.items():
        if raw.get(value, key, ABSENT) is not item:
            raw.__setitem__(value, key, item)
    if not same(raw.keys(value), wanted):  # another order
        raw.clear(value)
        for key, item in wanted.items():
            raw.__setitem__(value, key, item)


class Items(Keeper):
    """A dictionary's keys, values and their order."""

    def __init__(self, value: dict[Any, Any]) -> None:
        self.value = value
        # A subclass may do more than it says in its own methods, or less.
        self._raw: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        self.saved: dict[Any, Any] = dict(self._raw.items(value))
        self._stand_ins: dict[Any, StandIn] = {}

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        self._stand_ins = {key: stand_ins[id(item)] for key, item in self.saved.items() if id(item) in stand_ins}
        self.saved.update(dict.fromkeys(self._stand_ins))

    def restore(self) -> None:
        """See :class:`Keeper`."""
        refill(self.value, self.wanted(), self._raw)

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        saved = self.wanted()
        back = same(self._raw.values(self.value), saved.values()) and same(self._raw.keys(self.value), saved)
        return None if back else "its items didn't come back"

    def wanted(self) -> dict[Any, Any]:
        """The items to come back."""
        if not self._stand_ins:
            return self.saved
        return {**self.saved, **{key: one.current() for key, one in self._stand_ins.items()}}


class Attributes(Items):
    """An object's ``__dict__``, and its class: lazy and parametrized modules change theirs."""

    def __init__(self, owner: Any, space: dict[str, Any]) -> None:
        super().__init__(space)
        self.owner, self._class = owner, type(owner)

    def restore(self) -> None:
        """See :class:`Keeper`."""
        if type(self.owner) is not self._class:
            object.__setattr__(self.owner, "__class__", self._class)
        if object.__getattribute__(self.owner, "__dict__") is not self.value:
            object.__setattr__(self.owner, "__dict__", self.value)
        super().restore()

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return super().left() and "its attributes didn't come back"


class Hooks(Items):
    """A module's registry of hooks, or of a property of them.

    Hooks that a strategy has put there meanwhile stay: it notes elsewhere that it has, and won't do so again. FSDP2
    registers in its first forward those that gather and free parameters for a state dict.

    Args:
        value: The registry.
        hooks: The hooks by the registry's keys.
    """

    def __init__(self, value: dict[Any, Any], hooks: Mapping[Any, Any]) -> None:
        super().__init__(value)
        self._hooks = hooks

    def wanted(self) -> dict[Any, Any]:
        """See :class:`Items`."""
        saved = super().wanted()
        added = {key: item for key, item in self._raw.items(self.value) if key not in saved}
        return {**saved, **{key: item for key, item in added.items() if is_wrappers_hook(self._hooks.get(key))}}


class Some(Keeper):
    """A few attributes of an object whose others are machinery."""

    def __init__(self, owner: Any, names: Iterable[str]) -> None:
        self.owner = owner
        self._saved = {name: vars(owner)[name] for name in names if name in vars(owner)}

    def restore(self) -> None:
        """See :class:`Keeper`."""
        vars(self.owner).update(self._saved)


class States(Keeper):
    """An optimizer's state: of each parameter a dictionary, which isn't held while another state is in use."""

    def __init__(self, value: dict[Any, Any]) -> None:
        self.value = value
        self._saved = {key: Items(dict(held)) if isinstance(held, dict) else held for key, held in value.items()}

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        for items in self._saved.values():
            if isinstance(items, Items):
                items.stand_in(stand_ins)
                items.value = {}

    def restore(self) -> None:
        """See :class:`Keeper`."""
        wanted = {}
        for key, saved in self._saved.items():
            held = self.value.get(key)
            if isinstance(saved, Items):
                held = held if isinstance(held, dict) else {}
                refill(held, saved.wanted())
                wanted[key] = held
            else:
                wanted[key] = saved
        refill(self.value, wanted)


class Elements(Keeper):
    """A list's or deque's elements."""

    def __init__(self, value: Any) -> None:
        self.value, self._raw = value, list if isinstance(value, list) else deque
        self.saved: list[Any] = list(self._raw.__iter__(value))
        self._stand_ins: dict[int, StandIn] = {}

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        for index, item in enumerate(self.saved):
            if id(item) in stand_ins:
                self._stand_ins[index] = stand_ins[id(item)]
                self.saved[index] = None

    def restore(self) -> None:
        """See :class:`Keeper`."""
        wanted = self._wanted()
        if same(self._raw.__iter__(self.value), wanted):
            return
        if self._raw is list:
            list.__setitem__(self.value, slice(None), wanted)
        else:
            deque.clear(self.value)
            deque.extend(self.value, wanted)

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return None if same(self._raw.__iter__(self.value), self._wanted()) else "its elements didn't come back"

    def _wanted(self) -> list[Any]:
        if not self._stand_ins:
            return self.saved
        return [self._stand_ins[i].current() if i in self._stand_ins else item for i, item in enumerate(self.saved)]


class Members(Keeper):
    """A set's members."""

    def __init__(self, value: set[Any]) -> None:
        self.value, self.saved = value, list(set.__iter__(value))

    def restore(self) -> None:
        """An untouched set keeps its order of iteration."""
        if set(map(id, set.__iter__(self.value))) != set(map(id, self.saved)):
            set.clear(self.value)
            set.update(self.value, self.saved)
