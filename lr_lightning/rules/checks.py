"""Checks of arguments, shared by all constructors: each refuses with one message that names argument and value."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable

MOST_STEPS = 1_000_000
"""Most steps, batches or observations where each of them costs memory: more is a slip of the finger."""

MOST_LR = 1e30
"""Greatest LR: beyond 3e38 torch can't multiply 32-bit weights by it."""

_LONGEST = 200
_MOST_DECADES = 30
_ALIKE = 0.7  # of words: "los" and "loss" .86, "valid" and "val" .75, "auc" and "acc" .67; a choice
# Words that metrics' names are made of, and those of them that stand for the same.
_SYNONYMS = ({"val", "valid", "validation"}, {"train", "training"}, {"acc", "accuracy"})
_USUAL = {"loss", "test", "error", "score", "metric", "epoch", "step"}.union(*_SYNONYMS)


def shown(value: object) -> str:
    """A value for a message: its ``repr``, cut where it is long, with its type where the ``repr`` may hide it.

    >>> shown("0.1"), shown(0.1)
    ("'0.1'", '0.1')
    """
    try:
        text = repr(value)
    except Exception:  # an int of more digits than Python prints, an object whose repr is broken
        return f"a value of type {type(value).__name__}"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    plain = value is None or isinstance(value, (bool, int, float, str, bytes, list, tuple, dict, set, type))
    return text if plain and type(value).__module__ == "builtins" else f"{text} ({type(value).__name__})"


def no_number(value: object) -> str:
    """A value for the message that it is no number of the kind asked for; of text that would be one it says so.

    >>> no_number("1e-4"), no_number("abc"), no_number(None)
    ("'1e-4', which is text: in YAML 1e-4 is text, and 1.0e-4 a number", "'abc'", 'None')
    """
    try:
        float(value if isinstance(value, str) else "none")
    except ValueError:
        return shown(value)
    # YAML 1.1, as PyYAML reads it, wants a point in a number with an exponent.
    in_yaml = "e" in str(value).lower() and "." not in str(value)
    return f"{shown(value)}, which is text" + (": in YAML 1e-4 is text, and 1.0e-4 a number" if in_yaml else "")


def is_number(value: object) -> bool:
    """Whether a value is a finite int or float; bools are neither.

    >>> is_number(0.5), is_number(True), is_number(float("nan"))
    (True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the floats
        return False


def check_number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    error: type[ValueError] = ValueError,
) -> float:
    """Return ``value`` as a float if it is a finite number from ``low`` to ``high``.

    Args:
        name: The argument, for the message.
        value: What was given.
        low: Least value.
        high: Greatest value.
        open_low: Whether ``low`` itself is out.
        open_high: Whether ``high`` itself is out.
        error: What to raise.

    Raises:
        ValueError: If it is not; the message quotes the name and the value.

    >>> check_number("factor", 0.5, 0.0, 1.0)
    0.5
    """
    if is_number(value):
        number = float(value)  # type: ignore[arg-type]
        if (number > low if open_low else number >= low) and (number < high if open_high else number <= high):
            return number
    bounds = [f"{'above' if open_low else 'of at least'} {low:g}"] if math.isfinite(low) else []
    bounds += [f"{'below' if open_high else 'at most'} {high:g}"] if math.isfinite(high) else []
    kind = "a number" if bounds else "a finite number"
    raise error(f"{name} must be {kind}{' ' if bounds else ''}{' and '.join(bounds)}, got {no_number(value)}")


def check_count(
    name: str, value: object, least: int, most: int = 2**63 - 1, *, error: type[ValueError] = ValueError
) -> int:
    """Return ``value`` if it is an int of at least ``least`` and at most ``most``.

    Raises:
        ValueError: If it is not; the message quotes ``name`` and the value.

    >>> check_count("num_steps", 100, 2)
    100
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise error(f"{name} must be an integer of at least {least}, got {no_number(value)}")
    if value > most:
        raise error(f"{name} must be an integer of at most {most}, got {shown(value)}")
    return value


def check_choice(name: str, value: object, choices: Iterable[object], *, error: type[ValueError] = ValueError) -> None:
    """Refuse what isn't among the choices; 1 isn't True, and an array is no choice.

    Raises:
        ValueError: If ``value`` isn't; the message quotes it and lists the choices.

    >>> check_choice("on_resume", "keep", ("keep", "override"))
    """
    known = list(choices)
    if not any(type(value) is type(choice) and value == choice for choice in known):
        raise error(f"{name} must be one of {', '.join(map(str, known))}, got {shown(value)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'epoch'?"`` or, if nothing is near, the list of what is known.

    >>> nearest("epoc", ["epoch", "step"])
    "; did you mean 'epoch'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name[:60], names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names) or 'none'}"


def likely_meant(name: str, known: Iterable[str]) -> tuple[str, bool] | None:
    """The known name that is nearly the same as one that isn't known, and whether it is surely meant; None: no such.

    Nearly the same: written with other signs or in another case, or all but for one word that is alike. Words of one or
    two letters, and those that differ in a digit alone, are never alike. Surely meant where that word is one that
    metrics are made of (``los`` for ``loss``): between other words a letter or two make another metric, ``val_rmse``
    and ``val_mse``, ``acc_unseen`` and ``acc_seen``, ``macro_f1`` and ``micro_f1``.

    >>> likely_meant("val_los", ["val_loss", "val_acc"]), likely_meant("val/loss", ["val_loss"])
    (('val_loss', True), ('val_loss', True))
    >>> likely_meant("val_rmse", ["val_mse"]), likely_meant("val_auc", ["val_acc"]), likely_meant("fid", ["val_loss"])
    (('val_mse', False), None, None)
    """
    words = _words(name)
    best: tuple[float, str, bool] | None = None
    for other in known:
        theirs = _words(other)
        if "".join(words) == "".join(theirs):
            return other, True
        differ = [(a, b) for a, b in zip(words, theirs, strict=False) if a != b]
        if len(words) == len(theirs) and len(differ) == 1 and (near := _likeness(*differ[0])) >= _ALIKE:
            best = max(best or (0.0, "", False), (near, other, _misspelt(*differ[0])))
    return best[1:] if best else None


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]


def _misspelt(one: str, usual: str) -> bool:
    """Whether ``one`` is surely nothing but ``usual`` with a slip, or its synonym."""
    synonyms = any({one, usual} <= alike for alike in _SYNONYMS)
    return synonyms or (usual in _USUAL and one not in _USUAL and one[0] == usual[0])


def _likeness(one: str, other: str) -> float:
    """Of two words, 0 to 1; 0 where they differ in digits alone, or are short."""
    plain = [re.sub(r"\d", "", word) for word in (one, other)]
    if plain[0] == plain[1] or max(len(one), len(other)) < 3:
        return 0.0
    return 1.0 if sorted(one) == sorted(other) else difflib.SequenceMatcher(None, one, other).ratio()


def check_flag(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False.

    Raises:
        ValueError: If it is anything else: ``"false"`` and ``[0]`` would count as true.

    >>> check_flag("verbose", False)
    False
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {shown(value)}")
    return value


def check_name(name: str, value: object, what: str) -> str:
    """Return ``value`` if it is a string that can be shown and written as a name.

    Args:
        name: The argument, for the message.
        value: What was given.
        what: What it is, such as ``"the name of a metric"``.

    Raises:
        ValueError: If it is empty, longer than 200 characters, or holds line breaks and other unprintable characters.

    >>> check_name("monitor", "val_loss", "the name of a metric")
    'val_loss'
    """
    if not isinstance(value, str) or not value.strip("/ "):
        raise ValueError(f"{name} must be {what}, got {shown(value)}")
    if len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"{name} must be {what}, printable and of at most {_LONGEST} characters, got {shown(value)}")
    return value


def check_range(min_lr: object, max_lr: object, names: tuple[str, str] = ("min_lr", "max_lr")) -> None:
    """Refuse an LR range that cannot be swept.

    Args:
        min_lr: Lower end of the range.
        max_lr: Upper end of the range.
        names: What the two are called in messages.

    Raises:
        ValueError: If a bound is not a finite positive number, ``min_lr >= max_lr``, or the range is absurdly wide.

    >>> check_range(1e-4, 1.0)
    """
    for name, value in zip(names, (min_lr, max_lr), strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} must be a number, got {no_number(value)}")
        if not (is_number(value) and value > 0):
            raise ValueError(f"{name} must be finite and greater than 0, got {shown(value)}")
        if value > MOST_LR:
            raise ValueError(f"{name} must be at most {MOST_LR:g}, got {shown(value)}")
    low, high = float(min_lr), float(max_lr)  # type: ignore[arg-type]
    if low >= high:
        raise ValueError(f"{names[0]} must be below {names[1]}, got {names[0]}={min_lr!r} and {names[1]}={max_lr!r}")
    if math.log10(high) - math.log10(low) > _MOST_DECADES:
        raise ValueError(
            f"{names[0]} and {names[1]} must be at most {_MOST_DECADES} decades apart, got {min_lr!r} and {max_lr!r}"
        )


def check_keys(owner: str, given: Iterable[object], known: Iterable[str]) -> None:
    """Refuse keys of a mapping that nobody reads.

    Raises:
        ValueError: If there is one; the message names it and the nearest of the known ones.

    >>> check_keys("rule", {"name": "share"}, ("name", "pace"))
    """
    names = list(known)
    for key in given:
        if key not in names:
            raise ValueError(f"{owner} has no key {shown(key)}{nearest(str(key), names)}")
