"""How to start the running program once more, whatever its task is wrapped in."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_OPTION = re.compile(r"-([^-cmWX]*)([cmWX]?)(.*)", re.S)
"""Python's own options: flags, of which the last may take a value in the same word or the next."""


@dataclass(frozen=True)
class Program:
    """A program that can be started again.

    Attributes:
        command: The interpreter with its options, and the program.
        own: Arguments that the program took for itself before Hydra read the others (``parse_known_args``).

    >>> Program(("python", "app.py")).own
    ()
    """

    command: tuple[str, ...]
    own: tuple[str, ...] = ()


def running() -> Program | None:
    """The program of this process; None in a notebook or for ``python -c``.

    The program counts, not the task: a decorator of another file, a partial or a callable object says nothing of where
    the app is. A program must start its app under ``if __name__ == "__main__"``, or be a console script.

    Returns:
        ``python -m package.module``, or ``python`` with the file, folder or archive that it was given.
    """
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    options, words = split(sys.orig_argv[1:])
    own = tuple(taken(words, sys.argv[1:]))
    if spec is not None and spec.name != "__main__":
        return Program((sys.executable, *options, "-m", str(spec.name).removesuffix(".__main__")), own)
    if file is None or "get_ipython" in vars(main):
        return None
    # A folder or an archive with a __main__.py: its spec has no other name.
    path = os.path.abspath(os.path.dirname(file) if spec is not None else file)
    return Program((sys.executable, *options, path), own)


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The interpreter's options and the program's arguments, of the words after ``python``.

    Filters of warnings are left out: the environment carries them, to the ranks of a trial as well.

    >>> split(["-O", "-W", "error", "-Xdev", "app.py", "-m", "lr=1,2"])
    (['-O', '-Xdev'], ['-m', 'lr=1,2'])
    >>> split(["-Im", "pkg.app", "lr=1"])
    (['-I'], ['lr=1'])
    """
    options: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        found = _OPTION.fullmatch(word)
        if found is None and not word.startswith("--"):
            return options, list(words[at + 1 :])
        flags, kind, value = found.groups() if found is not None else ("", "", "")
        if kind in ("c", "m"):
            return options + ([f"-{flags}"] if flags else []), list(words[at + (1 if value else 2) :])
        size = 2 if (kind and not value) or word == "--check-hash-based-pycs" else 1
        if kind != "W":
            options += words[at : at + size]
        elif flags:
            options.append(f"-{flags}")
        at += size
    return options, []


def taken(words: Sequence[str], left: Sequence[str]) -> list[str]:
    """The words that a program took out of its arguments.

    >>> taken(["--data", "here", "-m", "lr=1,2"], ["-m", "lr=1,2"])
    ['--data', 'here']
    """
    rest, found = list(left), []
    for word in words:
        if word in rest:
            rest.remove(word)
        else:
            found.append(word)
    return found
