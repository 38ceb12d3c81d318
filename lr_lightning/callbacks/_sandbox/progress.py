"""A progress bar of its own for work that the trainer's bar doesn't show, and bars put aside meanwhile."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar as TrainersBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info

_T = TypeVar("_T")


@contextmanager
def bars_aside(trainer: Trainer) -> Iterator[None]:
    """Take all bars off the terminal: what is shown and said meanwhile stands on lines of its own.

    Their clocks stand still, so that steps per second are those of the training. A rich display must pause in any
    case: its refresh thread looks for its callback in the trainer, which a sandbox takes away.
    """
    bars = [c for c in trainer.callbacks if isinstance(c, TrainersBar) and getattr(c, "is_enabled", True)]
    displays: list[Any] = [d for d in (getattr(b, "progress", None) for b in bars) if _is_live(d)]
    lines = [line for line in (*map(_line, bars), ProgressBar.drawn) if line is not None]
    for display in displays:
        kept, display.live.transient = display.live.transient, True  # else what is drawn stays above
        display.stop()
        display.live.transient = kept
    for line in lines:
        line.clear()
    begun = time.monotonic()
    try:
        yield
    finally:
        taken = time.monotonic() - begun
        for line in lines:
            line.start_t += taken
            line.last_print_t += taken
            line.refresh()
        for display in displays:
            for task in display.tasks:
                task.start_time = None if task.start_time is None else task.start_time + taken
            drawn: Any = getattr(display.live, "_live_render", None)
            if hasattr(drawn, "_shape"):
                drawn._shape = None  # else it goes up as many lines as it had, over what was said
            display.start()


def say(trainer: Trainer, words: str) -> None:
    """A line of the log, on a line of its own above all bars."""
    with bars_aside(trainer):
        rank_zero_info(words)


def without_bars(run: Callable[..., _T]) -> Callable[..., _T]:
    """Decorates a method ``run(trainer)``, see :func:`bars_aside`."""

    @functools.wraps(run)
    def wrapper(self: Any, trainer: Trainer) -> _T:
        with bars_aside(trainer):
            return run(self, trainer)

    return wrapper


def _is_live(display: Any) -> bool:
    return bool(getattr(getattr(display, "live", None), "is_started", False))


def _line(bar: Any) -> Any:
    """The line of a bar of tqdm's that shows the training; None before it is drawn, and for other bars."""
    try:
        line = getattr(bar, "train_progress_bar", None)
    except TypeError:  # Lightning's answer before the training
        return None
    return None if line is None or getattr(line, "disable", True) else line


class ProgressBar:
    """Shown on rank 0 where the trainer shows a bar; notebooks get a widget.

    Args:
        trainer: The fitting trainer.
        total: Steps in all.
        wanted: False never shows it.
        label: What it says.

    Attributes:
        drawn: tqdm's bar of the one that is under way and shown, or None.
    """

    drawn: Any = None

    def __init__(self, trainer: Trainer, total: int, wanted: bool = True, label: str = "LR range test") -> None:
        bars = [c for c in trainer.callbacks if isinstance(c, TrainersBar)]
        self._shown = wanted and trainer.is_global_zero and any(getattr(b, "is_enabled", True) for b in bars)
        self._total, self._label = total, label

    def __enter__(self) -> "ProgressBar":
        # tqdm.auto warns in notebooks without ipywidgets, where a bar of text does as well.
        if find_spec("ipywidgets") is None:
            from tqdm import tqdm
        else:
            from tqdm.auto import tqdm

        # Position 0: on the line that the trainer's bar has left.
        self._bar = tqdm(total=self._total, desc=self._label, leave=False, disable=not self._shown, position=0)
        ProgressBar.drawn = self._bar if self._shown else None
        return self

    def update(self, steps: int, lr: float, loss: float) -> None:
        """Go on by ``steps``, showing the newest LR and loss."""
        self._bar.set_postfix_str(f"lr={lr:.2e}, loss={loss:.4g}", refresh=False)
        self._bar.update(steps)

    def __exit__(self, *_: Any) -> None:
        ProgressBar.drawn = None
        self._bar.close()
