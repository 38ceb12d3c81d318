"""How to start the running program once more, whatever its task is wrapped in."""

import os
import sys


def start_again() -> list[str] | None:
    """The command that started this process, without its arguments; None in a notebook or for ``python -c``.

    The program counts, not the task: a decorator of another file, a partial or a callable object says nothing of where
    the app is. A program must start its app under ``if __name__ == "__main__"``, or be a console script.

    Returns:
        ``python -m package.module``, or ``python`` with the file, folder or archive that it was given.
    """
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None and spec.name != "__main__":
        return [sys.executable, "-m", str(spec.name).removesuffix(".__main__")]
    if file is None or "get_ipython" in vars(main):
        return None
    # A folder or an archive with a __main__.py: its spec has no other name.
    return [sys.executable, os.path.abspath(os.path.dirname(file) if spec is not None else file)]
