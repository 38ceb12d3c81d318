"""What the callbacks and the search write into event files.

The trainer is duck-typed (``loggers``, ``is_global_zero``), so this module imports neither torch nor lightning. Scalars
go to every logger; the richer records go to each ``TensorBoardLogger``. Only global rank 0 writes.

A logger that fails must not end a training, nor go unseen: the failure is a ``RuntimeWarning`` that names the logger
and the error, once for each kind of error, the other loggers still get theirs, and the next write tries again.
"""

import contextlib
import json
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lr_lightning.reporting import records

_failures: dict[int, tuple[Any, set[str]]] = {}
"""Kinds of errors told, by the logger's ``id``: a logger may be a dataclass, which Python makes unhashable."""


@dataclass(frozen=True)
class LREvent:
    """A change of the LR, with its reason.

    Attributes:
        kind: ``decay``, ``formula``, ``range_test``, ``restart``, ``kick``, ``restore``, ``wait`` (the LR stays), …
        step: Honest logging step at which it took effect.
        epoch: Epoch (0-based) at which it took effect.
        old_lr: LR before.
        new_lr: LR from now on.
        reason: Why, in words.
        source: Who decided: a callback's state key, or an optimizer's name.

    >>> LREvent("decay", 100, 2, 0.1, 0.05, "no progress").line()
    'decay at step 100, epoch 2: LR 0.1 → 0.05. no progress'
    """

    kind: str
    step: int
    epoch: int
    old_lr: float
    new_lr: float
    reason: str
    source: str = ""

    def line(self) -> str:
        """One line for logs and text summaries."""
        by = f" ({self.source})" if self.source else ""
        change = f"{self.old_lr:.4g} → {self.new_lr:.4g}" if self.kind != "wait" else f"stays at {self.new_lr:.4g}"
        return f"{self.kind}{by} at step {self.step:,}, epoch {self.epoch}: LR {change}. {self.reason}"


def write_event(trainer: Any, event: LREvent) -> None:
    """Record ``event`` with every ``TensorBoardLogger``: for the tab, and as text for TensorBoards without it.

    Flushed at once: a kill loses no decision. The tag is made from the event, so that a run resumed before it, which
    decides the same again, doesn't show it twice.
    """
    if not trainer.is_global_zero:
        return
    digest = zlib.crc32(json.dumps(records.clean(asdict(event)), sort_keys=True).encode())
    tag = f"{records.EVENT}/{event.step:010d}-{digest:08x}"
    for logger, writer in tensorboards(trainer):
        guard(logger, partial(_write_event, writer, tag, event))


def log_scalars(trainer: Any, scalars: Mapping[str, float], step: int) -> None:
    """Log ``scalars`` with every logger at ``step``, rank 0 only."""
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        guard(logger, partial(_log, logger, scalars, step))


def write_search(
    log_dir: str | Path,
    trials: Sequence[Mapping[str, Any]],
    rounds: Sequence[Mapping[str, Any]],
    *,
    metric: str = "",
    mode: str = "min",
    status: str = "running",
    answer: Mapping[str, Any] | None = None,
) -> Path:
    """Record a coarse-to-fine search as it stands; call it after each trial or round with everything so far.

    Args:
        log_dir: Folder of the search, in or under the log directory that TensorBoard is shown. Made where missing.
        trials: One mapping a trial: ``lr``, ``score`` (None or NaN where there is none), ``round`` (0-based) and
            ``status`` (``ok``, ``pruned``, ``diverged`` or ``crashed``); ``index`` is the trial's number and the name
            of its folder below ``log_dir``, ``seconds`` what it took; further keys such as ``repeat`` or ``reason``
            are shown on hover.
        rounds: One mapping a round, in order: ``low`` and ``high``, the interval that the round sampled, and
            ``interval``, the one of the best LR that it left.
        metric: Name of the score.
        mode: ``min`` or ``max``: which scores are better.
        status: ``running`` or ``done``.
        answer: What is known so far: ``best`` (``lr`` and expected ``score``), ``interval`` of the best LR, ``reason``,
            and ``surrogate`` (``lr``, ``mean``, ``low`` and ``high``, lists of one length).

    Returns:
        The event file.

    Raises:
        ValueError: If ``mode`` is neither, or a trial lacks ``lr``, ``score``, ``round`` or ``status``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trial = {"lr": 0.1, "score": 0.5, "round": 0, "status": "ok"}
    ...     file = write_search(folder, [trial], [{"low": 0.01, "high": 1.0}])
    ...     file.name.startswith("events.out.tfevents")
    True
    """
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', got {mode!r}")
    for index, trial in enumerate(trials):
        missing = {"lr", "score", "round", "status"} - set(trial)
        if missing:
            raise ValueError(f"trial {index} lacks {', '.join(sorted(missing))}: {dict(trial)!r}")
    body = {"metric": metric, "mode": mode, "status": status, "trials": list(trials), "rounds": list(rounds)}
    body.update(answer or {})
    summary = records.json_summary(f"{records.SEARCH}/record", records.SEARCH, body)
    return records.append_search(log_dir, summary, step=len(trials))


def tensorboards(trainer: Any) -> list[tuple[Any, Any]]:
    """Each ``TensorBoardLogger`` with its ``SummaryWriter``; known by its name, so that lightning isn't imported."""
    found: list[tuple[Any, Any]] = []
    for logger in trainer.loggers:
        if any(kind.__name__ == "TensorBoardLogger" for kind in type(logger).__mro__):
            writer = guard(logger, partial(getattr, logger, "experiment"))
            if writer is not None:
                found.append((logger, writer))
    return found


def add_summary(writer: Any, summary: Any, step: int) -> None:
    """Write a summary through a ``SummaryWriter``; Lightning's stand-in writer (``fast_dev_run``) has no file."""
    file_writer = writer._get_file_writer()
    if file_writer is not None:
        file_writer.add_summary(summary, step)


def as_text(text: str) -> str:
    """``text`` as Markdown that shows it literally: the text tab renders Markdown.

    >>> as_text("1 < 2")
    '1 &lt; 2'
    """
    for sign in "\\`*_{}[]<>#|~":
        text = text.replace(sign, f"\\{sign}") if sign not in "<>" else text.replace(sign, f"&{'lg'[sign == '>']}t;")
    return text


def guard(logger: Any, action: Callable[[], Any]) -> Any:
    """Run ``action``; a failure becomes one warning a logger and kind of error. Returns None on failure."""
    try:
        return action()
    except Exception as error:  # any logger, any back end: whatever it raises must not end the training
        seen = _told(logger)
        if type(error).__name__ not in seen:
            seen.add(type(error).__name__)
            warnings.warn(
                f"{type(logger).__name__} failed ({type(error).__name__}: {error}{_where(logger, error)}); "
                "training goes on without it",
                RuntimeWarning,
                stacklevel=3,
            )
        return None


def _told(logger: Any) -> set[str]:
    key = id(logger)
    if key not in _failures:
        try:
            kept: Any = weakref.ref(logger, lambda _: _failures.pop(key, None))
        except TypeError:  # an object with slots: kept alive, so that no other one gets its id
            kept = logger
        _failures[key] = (kept, set())
    return _failures[key][1]


def _where(logger: Any, error: Exception) -> str:
    """The folder of a logger whose file can't be written: a full disk doesn't say where it is."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        with contextlib.suppress(Exception):
            return f", in {_folder(logger)}"
    return ""


def log_folders(loggers: Iterable[Any]) -> list[str]:
    """The folders that the loggers write to, each once, without those that have none.

    A folder may be a URL (``s3://…``), so these are strings: a ``Path`` makes ``s3:/…`` of it.

    >>> from lightning.pytorch.loggers import CSVLogger
    >>> log_folders([CSVLogger("logs", name="run", version="a")])
    ['logs/run/a']
    """
    folders: dict[str, None] = {}
    for logger in loggers:
        folder = guard(logger, partial(_folder, logger))
        if folder:
            folders[str(folder)] = None
    return list(folders)


def prefixed(logger: Any, tag: str) -> str:
    """``tag`` as the logger writes it: Lightning joins a logger's ``prefix`` by a hyphen.

    >>> from types import SimpleNamespace
    >>> prefixed(SimpleNamespace(_prefix="exp1"), "lr-SGD"), prefixed(SimpleNamespace(), "lr-SGD")
    ('exp1-lr-SGD', 'lr-SGD')
    """
    prefix = getattr(logger, "_prefix", "")
    return f"{prefix}-{tag}" if prefix else tag


def _write_event(writer: Any, tag: str, event: LREvent) -> None:
    add_summary(writer, records.json_summary(tag, records.EVENT, asdict(event)), event.step)
    writer.add_text(f"{records.EVENT}/{event.kind}", as_text(event.line()), event.step)
    writer.flush()


def _log(logger: Any, scalars: Mapping[str, float], step: int) -> None:
    """A plain ``TensorBoardLogger`` gets one event with all values: what ``log_metrics`` writes, for a third of it."""
    kind = type(logger)
    if kind.__name__ == "TensorBoardLogger" and kind.__module__.endswith(".loggers.tensorboard"):
        file_writer = None if logger._prefix else logger.experiment._get_file_writer()
        if file_writer is not None:
            file_writer.add_summary(records.scalar_summary(scalars), step)
            return
    logger.log_metrics(dict(scalars), step=step)


def _folder(logger: Any) -> Any:
    """Where the run's checkpoints land as well: loggers of many runs share their ``save_dir``."""
    if found := getattr(logger, "log_dir", None):
        return found
    parts = [str(part) for part in (logger.save_dir, logger.name, logger.version) if part is not None]
    return "/".join(part.rstrip("/") for part in parts if part) if logger.save_dir is not None else None
