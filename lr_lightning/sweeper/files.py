"""Files that are whole or ignored, also line by line: what is left after kill -9 or on a full disk can be read.

No temporary files where a file is written once: they are what a kill leaves behind.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lr_lightning.reporting.files import naming


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file that is written once; until its last byte is there, it doesn't count.

    Raises:
        OSError: If it can't be written; names the path.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain(data), allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's mapping, or None if it is absent or was cut short."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return dict(json.loads(text)) if text.endswith("\n") else None


def append_line(path: Path, data: Mapping[str, Any]) -> None:
    """Append one JSON line, on disk before this returns; a torn last line of an earlier life is cut off first.

    Raises:
        OSError: If it can't be written; names the path.
    """
    line = (json.dumps(plain(data), allow_nan=False) + "\n").encode()
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, line)


def _append(path: Path, line: bytes) -> None:
    with open(path, "ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.truncate(_last_line_end(file, end))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a torn last line is left out. Absent file: no lines.

    Raises:
        ValueError: If a line is no JSON; the message has its number.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = text[: text.rfind(b"\n") + 1].splitlines()
    return [_parsed(line, number) for number, line in enumerate(whole, 1) if line.strip()]


def _parsed(line: bytes, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: no JSON: {error}") from None


def plain(value: Any) -> Any:
    """JSON's own types; NaN and infinity become None, unknown objects their text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _last_line_end(file: Any, end: int) -> int:
    file.seek(0)
    return int(file.read(end).rfind(b"\n") + 1)
