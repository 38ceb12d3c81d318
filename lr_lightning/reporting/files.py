"""Writing files on disks that may be full or read-only: errors name the path, and no half file stays.

Log folders may be URLs of other filesystems (``s3://``, ``gs://``, ``memory://``), which fsspec opens, as in Lightning.
"""

import contextlib
import os
import tempfile
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


def is_url(folder: str | Path) -> bool:
    """Whether a folder is on another filesystem than this machine's.

    >>> is_url("s3://bucket/logs"), is_url("logs")
    (True, False)
    """
    return "://" in str(folder)


@contextlib.contextmanager
def local_folder(folder: str | Path) -> Iterator[Path]:
    """A folder on this machine, made where missing; what is written there lands in ``folder``, which may be a URL."""
    if not is_url(folder):
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    from fsspec.core import url_to_fs

    filesystem, root = url_to_fs(str(folder))
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        for file in sorted(path for path in Path(name).rglob("*") if path.is_file()):
            target = f"{root.rstrip('/')}/{file.relative_to(name).as_posix()}"
            filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            filesystem.put_file(str(file), target)


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
