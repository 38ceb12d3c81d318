"""What isn't one object's: class attributes, global variables, those of a function around, caches, the environment.

Followed for a user's own code alone, that is for files outside of ``site-packages`` and the standard library. Of a
file's variables those are looked at whose names its functions mention (as text too: ``globals()["total"]``), and the
environment where they mention that.
"""

import functools
import os
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from lr_lightning.optim.snapshot import kinds
from lr_lightning.optim.snapshot.containers import Items
from lr_lightning.optim.snapshot.keeper import ABSENT, Keeper, StandIn
from lr_lightning.optim.snapshot.reach import DATA, SHARED, Place, Walk
from lr_lightning.optim.snapshot.values import Part


class Names(Keeper):
    """What some names stand for.

    Args:
        saved: The names with their values, :data:`ABSENT` where there is none.
    """

    def __init__(self, saved: Mapping[str, Any]) -> None:
        self.saved = dict(saved)
        self._stand_ins: dict[str, StandIn] = {}

    def stand_in(self, stand_ins: Mapping[int, StandIn]) -> None:
        """See :class:`Keeper`."""
        self._stand_ins = {name: stand_ins[id(item)] for name, item in self.saved.items() if id(item) in stand_ins}
        self.saved.update(dict.fromkeys(self._stand_ins))

    def restore(self) -> None:
        """See :class:`Keeper`."""
        for name, wanted in self._wanted().items():
            if self._now(name) is not wanted:
                self._put(name, wanted)

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return None if all(self._now(name) is item for name, item in self._wanted().items()) else "didn't come back"

    def _wanted(self) -> dict[str, Any]:
        return {**self.saved, **{name: one.current() for name, one in self._stand_ins.items()}}

    def _now(self, name: str) -> Any:
        raise NotImplementedError

    def _put(self, name: str, value: Any) -> None:
        raise NotImplementedError


class Globals(Names):
    """Some of a file's variables."""

    what = "a global variable"

    def __init__(self, space: dict[str, Any], names: Iterable[str]) -> None:
        super().__init__({name: space.get(name, ABSENT) for name in names})
        self._space = space

    def _now(self, name: str) -> Any:
        return self._space.get(name, ABSENT)

    def _put(self, name: str, value: Any) -> None:
        if value is not ABSENT:
            self._space[name] = value
        elif not isinstance(self._space[name], types.ModuleType):  # an import stays
            del self._space[name]


class ClassAttributes(Names):
    """A class's attributes, its functions too: a step may put others in their place."""

    what = "a class's attributes"

    def __init__(self, owner: type) -> None:
        super().__init__(_values(owner))
        self._owner = owner

    def restore(self) -> None:
        """See :class:`Keeper`."""
        for name in _values(self._owner):
            if name not in self.saved:
                type.__delattr__(self._owner, name)
        super().restore()

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return super().left() or (None if set(_values(self._owner)) <= set(self.saved) else "didn't come back")

    def _now(self, name: str) -> Any:
        return vars(self._owner).get(name, ABSENT)

    def _put(self, name: str, value: Any) -> None:
        type.__setattr__(self._owner, name, value)


class Environment(Keeper):
    """The process's environment variables."""

    what = "the environment"

    def __init__(self) -> None:
        self._saved = dict(os.environ)

    def restore(self) -> None:
        """See :class:`Keeper`."""
        for name in set(os.environ) - set(self._saved):
            del os.environ[name]
        os.environ.update({name: value for name, value in self._saved.items() if os.environ.get(name) != value})


class ContextVariable(Keeper):
    """A context variable's value, in the context that the sweep runs in."""

    what = "a context variable"

    def __init__(self, variable: ContextVar[Any]) -> None:
        self._variable = variable
        self.saved = self._now()

    def _now(self) -> Any:
        try:
            return self._variable.get()
        except LookupError:
            return ABSENT

    def restore(self) -> None:
        """See :class:`Keeper`."""
        if self.saved is not ABSENT and self._now() is not self.saved:
            self._variable.set(self.saved)

    def left(self) -> str | None:
        """One that had neither value nor default can't be without again."""
        return None if self._now() is self.saved else "has a value now"


class Cache(Keeper):
    """An ``lru_cache``: emptied where it was empty; what else it has taken in can't be taken out."""

    what = "a cache"

    def __init__(self, function: Any) -> None:
        self._function, self._before = function, function.cache_info()

    def restore(self) -> None:
        """See :class:`Keeper`."""
        if self._before.misses == 0 and self._before.hits == 0:
            self._function.cache_clear()

    def left(self) -> str | None:
        """See :class:`Keeper`."""
        return None if self._function.cache_info().misses == self._before.misses else "has taken in other values"


def visit_cache(walk: Walk, value: Any, place: Place, mode: int) -> None:
    """A cache of a user's function, and the function."""
    if kinds.is_users(value.__module__):
        walk.add(Cache(value), place)
        walk.follow(place, ".", [("__wrapped__", value.__wrapped__)], mode)


def visit_context_variable(walk: Walk, value: ContextVar[Any], place: Place, mode: int) -> None:
    """A context variable, and what it stands for."""
    kept = ContextVariable(value)
    walk.add(kept, place)
    walk.follow(place, "(", [("value", kept.saved)], mode)


def _values(owner: type) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if not name.startswith(("__", "_abc_"))}


def _has_own_state(value: Any) -> bool:
    """Whether a class's attribute is more than a function or one of Python's own descriptors."""
    own = isinstance(value, functools.partialmethod) or kinds.is_users(type(value).__module__)
    return own or not hasattr(type(value), "__get__")


def visit_class(walk: Walk, cls: type, place: Place, mode: int) -> None:
    """Attributes of a user's class and of those it is derived from, and the variables that its methods mention."""
    for owner in cls.__mro__:
        if not kinds.is_users(owner.__module__) or (owner is not cls and not walk.is_new(owner)):
            continue
        here: Place = ((None, "", owner.__module__), ".", owner.__qualname__)
        kept = ClassAttributes(owner)
        walk.add(kept, here)
        values = [(name, value) for name, value in kept.saved.items() if _has_own_state(value)]
        walk.follow(here, ".", values, mode | DATA | SHARED, late=True)
        for name, value in list(vars(owner).items()):
            for function in _functions(value):
                if isinstance(function, types.FunctionType):
                    visit_function(walk, function, (here, ".", name), mode | DATA)
                    visit_closure(walk, function, (here, ".", name), mode | DATA | SHARED, late=True)
                else:
                    walk.follow(here, ".", [(name, function)], mode | DATA)


def visit_function(walk: Walk, function: types.FunctionType, place: Place, mode: int) -> None:
    """A function's defaults and attributes, and the global variables that it mentions."""
    walk.add(Part(lambda: function.__defaults__, lambda values: setattr(function, "__defaults__", values)), place)
    walk.follow(place, "(", [("defaults", function.__defaults__), ("defaults", function.__kwdefaults__)], mode)
    if walk.is_new(function.__dict__):
        walk.add(Items(function.__dict__), place)
        walk.follow(place, ".", list(function.__dict__.items()), mode)
    visit_globals(walk, function)


def visit_closure(walk: Walk, function: types.FunctionType, place: Place, mode: int, late: bool = False) -> None:
    """The variables that a function has of one around it: of the function that its class is defined in, too."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    walk.follow(place, "(", list(cells), mode, late)


def visit_globals(walk: Walk, function: types.FunctionType) -> None:
    """The variables that a user's function mentions, those of the process among them."""
    if not kinds.is_users(function.__globals__.get("__name__")):
        return
    names = set(_mentioned(function.__code__))
    _visit_names(walk, function.__globals__, names)
    if "environ" in names and walk.is_new(os.environ):
        walk.add(Environment(), (None, "", "os.environ"))


def _visit_names(walk: Walk, space: dict[str, Any], names: set[str]) -> None:
    new = [name for name in sorted(names) if (id(space), name) not in walk.names]
    walk.names.update((id(space), name) for name in new)
    place: Place = (None, "", space.get("__name__", "globals"))
    # An import inside of a function, which has no global variable for it.
    named = [space[name] if name in space else sys.modules.get(name) for name in new]
    modules = [value for value in named if isinstance(value, types.ModuleType)]
    new = [name for name in new if not isinstance(space.get(name), types.ModuleType)]
    if new:
        walk.add(Globals(space, new), place)
        walk.follow(place, ".", [(name, space[name]) for name in new if name in space], DATA | SHARED, late=True)
    for module in modules:
        if kinds.is_users(module.__name__):  # `import state`, `state.total += 1`
            _visit_names(walk, vars(module), names & set(vars(module)))


def _functions(value: Any) -> Iterator[Any]:
    """The functions in a class's attribute: of properties, partial, class and static methods too; cached ones."""
    parts = [value, *(getattr(value, name, None) for name in ("__func__", "fget", "fset", "func"))]
    yield from (part for part in parts if isinstance(part, (types.FunctionType, functools._lru_cache_wrapper)))


def _mentioned(code: types.CodeType) -> Iterator[str]:
    """Names that code looks up, that of the functions inside of it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _mentioned(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            yield constant
