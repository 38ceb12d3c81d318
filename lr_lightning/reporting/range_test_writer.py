"""Writes a range test while it runs: live scalars, then the curve, the result, a text and a picture."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lr_lightning.reporting import records
from lr_lightning.reporting.events import (
    add_summary,
    as_text,
    guard,
    log_folders,
    log_scalars,
    prefixed,
    tensorboards,
)
from lr_lightning.reporting.files import local_folder, whole_or_none

FLUSH_EVERY = 10
"""Points between two flushes: what a kill loses at most."""


class RangeTestWriter:
    """Writes one range test to the trainer's loggers; on other ranks than 0, and without loggers, it does nothing.

    Live scalars ``<tag>/lr``, ``<tag>/loss`` and ``<tag>/loss_smoothed`` go to every logger, with the point's index in
    the ladder as step. A ``TensorBoardLogger`` also gets the records of the "Learning rate" tab, a text summary and,
    where matplotlib is installed, an image. ``<tag>.html`` and ``<tag>.json`` land beside the logs. They are written in
    place: a kill can cut them short but leaves no stray file. A logger that fails is reported once and doesn't stop
    the test (see :mod:`lr_lightning.reporting.events`).

    Args:
        trainer: The Lightning trainer, duck-typed: ``loggers`` and ``is_global_zero``.
        step: Honest logging step at which the test runs.
        tag: Prefix of all tags and name of the files; a second test of a run needs another one.
        folder: Where to save the files; None takes the first logger's folder and saves none without a logger.
        html: Whether to save the interactive picture (about 5 MB: it carries plotly.js, so it needs no network).
        image: Whether to write a static image for TensorBoards without the tab; None does where matplotlib is there.
    """

    def __init__(
        self,
        trainer: Any,
        step: int,
        tag: str = records.RANGE_TEST,
        *,
        folder: str | Path | None = None,
        html: bool = True,
        image: bool | None = None,
    ) -> None:
        self._trainer = trainer
        self._step = step
        self._tag = tag
        self._folder = folder
        self._html = html
        self._image = image
        self._unflushed = 0

    def start(self, record: Mapping[str, Any] | None = None) -> None:
        """Announce the test, so that the tab appears at once; ``record`` is shown there (rule, range, steps, …)."""
        body = {"status": "running", "step": self._step, **(record or {})}
        self._write(body)

    def points(
        self, first_index: int, lrs: Sequence[float], losses: Sequence[float], smoothed: Sequence[float] = ()
    ) -> None:
        """Write the next points; ``smoothed`` may be shorter than ``losses`` or empty.

        Args:
            first_index: Index of the first of these points in the ladder.
            lrs: LRs visited.
            losses: The loss at each.
            smoothed: The smoothed loss at each, as far as it is known yet.
        """
        if not self._trainer.is_global_zero:
            return
        for offset, (lr, loss) in enumerate(zip(lrs, losses, strict=True)):
            values = {"lr": lr, "loss": loss}
            if offset < len(smoothed):
                values["loss_smoothed"] = smoothed[offset]
            log_scalars(
                self._trainer, {f"{self._tag}/{key}": value for key, value in values.items()}, first_index + offset
            )
        self._unflushed += len(lrs)
        if self._unflushed >= FLUSH_EVERY:
            self._write()

    def finish(self, result: Any) -> None:
        """Write the curve, the result, a text summary and the files, and flush.

        Args:
            result: A ``RangeTestResult``.
        """
        if not self._trainer.is_global_zero:
            return
        curve = records.curve_summary(f"{self._tag}/curve", curve_rows(result))
        self._write(self._record(result), curve, text=summary_text(result), image=self._draw(result))
        self._save(result)

    @contextlib.contextmanager
    def running(self, record: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Announce the test (:meth:`start`), and say so if it ends in an exception."""
        self.start(record)
        try:
            yield
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            self._write({"status": "aborted", "reason": reason, "step": self._step})
            raise

    def _record(self, result: Any) -> dict[str, Any]:
        body = {key: value for key, value in result.to_dict().items() if key not in ("lrs", "losses", "smoothed")}
        return {**body, "step": self._step}

    def _draw(self, result: Any) -> Any:
        if self._image is False or not tensorboards(self._trainer):
            return None
        from lr_lightning.reporting.figures import static_image

        if self._image is None and not static_image.available():
            return None
        return guard(self, partial(static_image.range_test_image, result))

    def _write(
        self, body: Mapping[str, Any] | None = None, curve: Any = None, text: str | None = None, image: Any = None
    ) -> None:
        self._unflushed = 0
        if not self._trainer.is_global_zero:
            return
        for logger, writer in tensorboards(self._trainer):

            def write(logger: Any = logger, writer: Any = writer) -> None:
                if curve is not None:
                    add_summary(writer, curve, self._step)
                if body is not None:  # with the live scalars' prefix in this logger
                    live = {**body, "live": prefixed(logger, self._tag)}
                    record = records.json_summary(f"{self._tag}/record", records.RANGE_TEST, live)
                    add_summary(writer, record, self._step)
                if text is not None:
                    writer.add_text(f"{self._tag}/summary", text, self._step)
                if image is not None:
                    writer.add_image(f"{self._tag}/picture", image, self._step, dataformats="HWC")
                writer.flush()

            guard(logger, write)

    def _save(self, result: Any) -> None:
        folders = [self._folder] if self._folder is not None else log_folders(self._trainer.loggers)[:1]
        for folder in folders:
            guard(self, partial(self._save_in, folder, result))

    def _save_in(self, target: str | Path, result: Any) -> None:
        with local_folder(target) as folder:
            self._save_files(folder, result)

    def _save_files(self, folder: Path, result: Any) -> None:
        stem = re.sub(r"[^\w.-]+", "_", self._tag)  # a tag may have slashes; it names no folder here
        with whole_or_none(folder / f"{stem}.json") as path:
            result.save(path)
        if self._html:
            from lr_lightning.reporting.figures.page import range_test_page

            with whole_or_none(folder / f"{stem}.html") as path:
                path.write_text(range_test_page(result), encoding="utf-8")


def curve_rows(result: Any) -> list[tuple[float, float, float]]:
    """The curve as rows of LR, loss and smoothed loss; the smoothed curve may end earlier: NaN from there on."""
    smoothed = [*result.smoothed, *[float("nan")] * (len(result.lrs) - len(result.smoothed))]
    return list(zip(result.lrs, result.losses, smoothed, strict=False))


def summary_text(result: Any) -> str:
    """The result as a Markdown table for TensorBoard's text tab."""
    data = result.to_dict()
    rows = [
        ("suggested LR", _number(data["suggestion"])),
        ("interval", _range(data.get("interval"))),
        *((f"{name} zone", _range(bounds)) for name, bounds in data.get("zones", {}).items()),
        ("status", data["status"]),
        ("why", data["reason"]),
        ("rule", data.get("rule", "")),
    ]
    lines = [f"| {name} | {as_text(str(value))} |" for name, value in rows]
    return "\n".join(["| range test | |", "|---|---|", *lines])


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _range(bounds: Sequence[float] | None) -> str:
    return "none" if bounds is None else f"{bounds[0]:.3g} … {bounds[1]:.3g}"
