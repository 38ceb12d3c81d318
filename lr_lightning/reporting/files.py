"""Writing files on disks that may be full or read-only: errors name the path, and no half file stays."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def naming(path: Path) -> Iterator[Path]:
    """Make an OSError name ``path``: a full disk is noticed by ``write()``, which doesn't know it."""
    try:
        yield path
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextlib.contextmanager
def whole_or_none(path: Path) -> Iterator[Path]:
    """Write ``path`` in place; what an error leaves of it is removed."""
    try:
        with naming(path):
            yield path
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file at once: a reader sees the old one or the new one.

    A kill right between writing and replacing leaves ``.<name>.half``, which the next replacement overwrites.

    Args:
        path: The file.
        write: Writes the new content to the path it is given.

    Raises:
        OSError: If it can't be written; names the path. The old file stays.
    """
    half = path.with_name(f".{path.name}.half")
    try:
        with whole_or_none(half):
            write(half)
            os.replace(half, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
