"""What a training step may look up in its trainer, without the effects: other callbacks and loggers.

A muted object is of a subclass of the user's own class and has its attributes, so that ``isinstance``, ``dirpath`` and
``log_dir`` answer as ever; what would act on the training or write anywhere does nothing.
"""

import contextlib
import copy
from collections.abc import Iterable, Iterator
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyExperiment, DummyLogger

_WRITES = (
    "log_metrics", "log_hyperparams", "log_graph", "log_text", "log_image", "log_table", "log_audio", "log_video",
    "log_model_summary", "save", "finalize", "after_save_checkpoint", "watch", "unwatch", "upload_file",
)  # fmt: skip
"""What Logger and its subclasses in Lightning write with."""


def _nothing(*_: Any, **__: Any) -> None:
    return None


def muted_callbacks(callbacks: Iterable[Callback]) -> Iterator[Callback]:
    """The same callbacks without their hooks; those whose class can't be extended are left out.

    An attribute that a training step sets on one is not kept. A progress bar shares its attributes with the muted one:
    RichProgressBar's own thread looks for it in the trainer.
    """
    hooks = {name: _nothing for name in dir(Callback) if name.startswith("on_")}
    for callback in callbacks:
        with contextlib.suppress(Exception):  # a class may refuse to be extended
            yield _as_subclass(callback, hooks)


def muted_logger(logger: Logger) -> Logger:
    """The same logger, which writes nothing; Lightning's dummy where its class can't be extended."""
    experiment = DummyExperiment()
    silent = {name: _nothing for name in _WRITES if hasattr(type(logger), name)}
    try:
        return _as_subclass(logger, {**silent, "experiment": property(lambda _: experiment)})  # type: ignore[no-any-return]
    except Exception:  # a class may refuse to be extended
        return DummyLogger()


def _as_subclass(owner: Any, members: dict[str, Any]) -> Any:
    muted: Any = object.__new__(type(f"Muted{type(owner).__name__}", (type(owner),), dict(members)))
    if isinstance(owner, ProgressBar):
        muted.__dict__ = owner.__dict__
        return muted
    for name, value in vars(owner).items():
        object.__setattr__(muted, name, copy.copy(value) if type(value) in (list, dict, set) else value)
    return muted
