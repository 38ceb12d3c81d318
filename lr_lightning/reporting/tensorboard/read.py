"""Reads from TensorBoard's data provider so that damage stays local: what can't be read is told, the rest is shown."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tensorboard.data import provider

BROKEN = (ValueError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError, KeyError)
"""What a crafted record raises: nested too deep, numbers too large, shapes that lie, words in place of numbers."""

Tags = Mapping[str, Sequence[str]]


def read(call: Any, tags: Tags, notes: list[str]) -> Iterator[tuple[str, str, list[Any]]]:
    """Read series; where one of them makes the provider fail, the others are read without it.

    TensorBoard decodes all that it is asked for in one go, so one tensor whose shape lies takes the others with it.
    The request is halved until the broken ones are alone.

    Args:
        call: The provider's method with everything but ``run_tag_filter`` bound.
        tags: The tags wanted, by run.
        notes: Takes a sentence for each series that can't be read.

    Yields:
        Run, tag and points.
    """
    wanted = {run: set(own) for run, own in tags.items() if own}
    if not wanted:
        return
    chosen = provider.RunTagFilter(runs=list(wanted), tags=sorted(set().union(*wanted.values())))
    try:
        data = call(run_tag_filter=chosen) or {}
    except BROKEN as error:
        pairs = [(run, tag) for run, own in wanted.items() for tag in sorted(own)]
        if len(pairs) == 1:
            run, tag = pairs[0]
            notes.append(f"{run}: {tag} can't be read ({said(error)}).")
            return
        for half in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
            part: dict[str, list[str]] = {}
            for run, tag in half:
                part.setdefault(run, []).append(tag)
            yield from read(call, part, notes)
        return
    for run, own in data.items():
        for tag, points in own.items():
            if points and tag in wanted.get(run, ()):
                yield run, tag, points


def body_of(datum: Any) -> dict[str, Any]:
    """A record's JSON object.

    Raises:
        ValueError: If it is something else; any of :data:`BROKEN` for a crafted one.
    """
    body = json.loads(bytes(datum.numpy.item()))
    if not isinstance(body, dict):
        raise ValueError(f"expected an object, got {type(body).__name__}")
    return body


def kind_and_schema(series: Any) -> tuple[str, int]:
    """Kind and schema of a series; unreadable metadata has no kind."""
    return _kind_and_schema(series.plugin_content or b"{}")


@functools.lru_cache(maxsize=256)  # all runs' records say the same few words
def _kind_and_schema(said_there: bytes) -> tuple[str, int]:
    try:
        content = json.loads(said_there)
        return str(content.get("kind", "")), int(content.get("schema", 0))
    except BROKEN:
        return "", 0


def said(error: BaseException) -> str:
    """An error in some words."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else f"{text[:119]}…"
