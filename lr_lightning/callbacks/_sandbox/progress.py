"""A progress bar of its own for work that the trainer's bar doesn't show."""

from importlib.util import find_spec
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar as TrainersBar


class ProgressBar:
    """Shown on rank 0 where the trainer shows a bar; notebooks get a widget.

    A rich display of the trainer pauses meanwhile: it owns the terminal, and its refresh thread looks for its callback
    in the trainer, which a sandbox takes away.

    Args:
        trainer: The fitting trainer.
        total: Steps in all.
        wanted: False never shows it.
        label: What it says.
    """

    def __init__(self, trainer: Trainer, total: int, wanted: bool = True, label: str = "LR range test") -> None:
        bars = [c for c in trainer.callbacks if isinstance(c, TrainersBar)]
        self._shown = wanted and trainer.is_global_zero and any(getattr(b, "is_enabled", True) for b in bars)
        self._total, self._label = total, label
        displays = (getattr(b, "progress", None) for b in bars)
        self._paused: list[Any] = [d for d in displays if getattr(getattr(d, "live", None), "is_started", False)]

    def __enter__(self) -> "ProgressBar":
        # tqdm.auto warns in notebooks without ipywidgets, where a bar of text does as well.
        if find_spec("ipywidgets") is None:
            from tqdm import tqdm
        else:
            from tqdm.auto import tqdm

        for display in self._paused:
            display.stop()
        self._bar = tqdm(total=self._total, desc=self._label, leave=False, disable=not self._shown)
        return self

    def update(self, steps: int, lr: float, loss: float) -> None:
        """Go on by ``steps``, showing the newest LR and loss."""
        self._bar.set_postfix_str(f"lr={lr:.2e}, loss={loss:.4g}", refresh=False)
        self._bar.update(steps)

    def __exit__(self, *_: Any) -> None:
        self._bar.close()
        for display in self._paused:
            display.start()
