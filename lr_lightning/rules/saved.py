"""Reads saved state key by key: a checkpoint may be cut short, foreign or hostile, and must not be half applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from lr_lightning.rules.checks import is_number, shown

T = TypeVar("T")


class Saved:
    """One saved mapping.

    Args:
        owner: Whose it is, for messages.
        state: What was found in the checkpoint.
        keys: Keys that it must have.
        later: What keys that came later stand for where an older checkpoint lacks them. Only what is safe to assume.

    Raises:
        ValueError: If it is no mapping or lacks one of ``keys``; so do all methods if a value isn't what was saved.

    >>> Saved("LRFormula", {"step": 3}).count("step")
    3
    >>> Saved("PlateauLR", {}, later={"min_lrs": [0.0]}).floats("min_lrs")
    [0.0]
    """

    def __init__(
        self, owner: str, state: object, keys: Iterable[str] = (), later: Mapping[str, Any] | None = None
    ) -> None:
        self.owner = owner
        if not isinstance(state, Mapping):
            raise ValueError(f"{owner}: the saved state must be a mapping, got {shown(state)}")
        self.state: Mapping[Any, Any] = {**later, **state} if later else state
        for key in keys:
            self[key]

    def __getitem__(self, key: str) -> Any:
        if key not in self.state:
            known = ", ".join(sorted(map(str, self.state))) or "none"
            raise ValueError(f"{self.owner}: the saved state lacks {key!r}; it has {known[:200]}")
        return self.state[key]

    def refuse(self, key: str, what: str, value: object) -> ValueError:
        """The error for a value that isn't what was saved."""
        return ValueError(f"{self.owner}: the saved {key} must be {what}, got {shown(value)}")

    def number(self, key: str, least: float | None = None) -> float:
        """A finite number."""
        value = self[key]
        if not is_number(value) or (least is not None and value < least):
            raise self.refuse(key, "a finite number" + ("" if least is None else f" of at least {least:g}"), value)
        return float(value)

    def value(self, key: str) -> float:
        """A number; NaN and infinity are numbers here."""
        return self._float(key, self[key])

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """None, or what ``read``, another method, makes of it."""
        return None if self[key] is None else read(key)

    def count(self, key: str, least: int = 0) -> int:
        """A whole number of at least ``least``."""
        value = self[key]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
            raise self.refuse(key, f"an integer of at least {least}", value)
        return value

    def flag(self, key: str) -> bool:
        """True or False."""
        value = self[key]
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false", value)
        return value

    def text(self, key: str, choices: Iterable[str] | None = None) -> str:
        """A string, one of ``choices`` where they are given."""
        value = self[key]
        known = None if choices is None else list(choices)
        if not isinstance(value, str) or (known is not None and value not in known):
            raise self.refuse(key, "a string" if known is None else f"one of {', '.join(known)}", value)
        return value

    def items(self, key: str) -> list[Any]:
        """A list."""
        value = self[key]
        if not isinstance(value, (list, tuple)):
            raise self.refuse(key, "a list", value)
        return list(value)

    def floats(self, key: str) -> list[float]:
        """A list of numbers; NaN and infinity are numbers here."""
        return [self._float(key, value) for value in self.items(key)]

    def counts(self, key: str, least: int = 0) -> list[int]:
        """A list of whole numbers."""
        return [Saved(self.owner, {key: value}).count(key, least) for value in self.items(key)]

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        return [Saved(self.owner, {key: value}).text(key) for value in self.items(key)]

    def child(self, key: str, keys: Iterable[str] = ()) -> Saved:
        """A mapping with these keys."""
        value = self[key]
        if not isinstance(value, Mapping):
            raise self.refuse(key, "a mapping", value)
        return Saved(f"{self.owner}: {key}", value, keys)

    def named_floats(self, key: str) -> dict[str, float]:
        """A mapping of names to numbers."""
        found = self.child(key).state
        if not all(isinstance(name, str) for name in found):
            raise self.refuse(key, "a mapping of names", found)
        return {name: self._float(key, value) for name, value in found.items()}

    def _float(self, key: str, value: object) -> float:
        try:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
        except OverflowError:
            pass
        raise self.refuse(key, "numbers", value)


def load_fields(owner: str, kind: type[T], state: object, skip: Iterable[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass of numbers, each checked against the type of its default.

    A default of None stands for a number that may be missing.

    Raises:
        ValueError: If a field is missing, unknown or of another type.

    >>> from dataclasses import make_dataclass
    >>> load_fields("x", make_dataclass("Counts", [("seen", int, 0)]), {"seen": 2})
    {'seen': 2}
    """
    names = {item.name: item.default for item in fields(kind) if item.name not in set(skip)}  # type: ignore[arg-type]
    saved = Saved(owner, state, names)
    unknown = [key for key in saved.state if key not in names and key not in set(skip)]
    if unknown:
        raise ValueError(f"{owner}: the saved state has the unknown key {shown(unknown[0])}")
    found: dict[str, Any] = {}
    for name, default in names.items():
        if isinstance(default, bool):
            found[name] = saved.flag(name)
        elif isinstance(default, int):
            found[name] = saved.count(name)
        else:
            found[name] = saved.optional(name, saved.number) if default is None else saved.number(name)
    return found
