"""Names of Lightning's private attributes that ``_sandbox.py`` uses, and a clear refusal where a release lacks one."""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lightning
from lightning.pytorch import Trainer

TESTED = "2.5.0 and 2.6.6"
"""Releases of Lightning that the tests were run with."""

STEP = ("trainer.fit_loop.epoch_loop._batches_that_stepped",)
METRICS = (
    "trainer._results",
    "trainer._logger_connector._first_loop_iter",
    "trainer.fit_loop.epoch_loop._results",
    "trainer.fit_loop.epoch_loop.val_loop._results",
    *(
        f"lightning.pytorch.trainer.connectors.logger_connector.result.{name}"
        for name in ("_Metadata.forked_name", "_ResultCollection.metrics")
    ),
)
METRIC_FIELDS = ("_progress_bar_metrics", "_logged_metrics", "_callback_metrics")
STEP_COUNTERS = (("automatic_optimization", "optim_progress"), ("manual_optimization", "optim_step_progress"))
CONNECTOR = ("_progress_bar_metrics", "_logged_metrics", "_callback_metrics", "_current_fx", "_first_loop_iter")
SANDBOX = (
    *STEP,
    *METRICS,
    *(f"trainer._logger_connector.{name}" for name in CONNECTOR),
    *(f"trainer.fit_loop.{name}" for name in ("epoch_loop", "_combined_loader")),
    *(
        f"trainer.fit_loop.epoch_loop.{name}"
        for name in ("advance", "batch_progress", "total_batch_idx", "_should_accumulate", "_update_learning_rates")
    ),
    *(f"trainer.fit_loop.epoch_loop.{kind}.{name}" for kind, name in STEP_COUNTERS),
    "trainer.fit_loop.epoch_loop._accumulated_batches_reached",
    "trainer.fit_loop.epoch_loop._num_ready_batches_reached",
    "trainer.fit_loop.epoch_loop.val_loop._combined_loader",
    "trainer.lightning_module._on_before_batch_transfer",
    "lightning.pytorch.loops.fetchers._DataLoaderIterDataFetcher",
    "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop",
    "lightning.pytorch.loops.utilities._select_data_fetcher",
    "lightning.pytorch.trainer.call._call_strategy_hook",
    "lightning.pytorch.utilities.combined_loader.CombinedLoader.flattened",
)


def find(path: str) -> Any:
    """What a dotted path names; None where it is gone, so that this package can still be imported."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def missing(trainer: Trainer, names: Sequence[str] = SANDBOX) -> list[str]:
    """Those of ``names`` that this release of Lightning lacks."""
    return [name for name in dict.fromkeys(names) if not _exists(trainer, name)]


def require(trainer: Trainer, owner: str, names: Sequence[str] = SANDBOX) -> None:
    """Refuse a release of Lightning that lacks one of ``names``, at fit start, and the twin package.

    Raises:
        RuntimeError: The message names what is missing, and the versions.
    """
    if not isinstance(trainer, Trainer):  # its loops, loggers and callbacks are classes of their own
        package = type(trainer).__module__.partition(".")[0]
        raise RuntimeError(
            f"{owner} works with the package lightning, this Trainer is of {package}: write 'import lightning.pytorch "
            "as pl' in place of 'import pytorch_lightning as pl'"
        )
    if gone := missing(trainer, names):
        raise RuntimeError(
            f"{owner} needs {', '.join(gone)}, which lightning {lightning.__version__} lacks. "
            f"lr-lightning {_own_version()} was tested with {TESTED}: install one of these, or take {owner} out"
        )


def _exists(trainer: Trainer, path: str) -> bool:
    first, *parts = path.split(".")
    if first != "trainer":
        owner, _, name = path.rpartition(".")
        # A class's attribute is one level deeper than a module's.
        found = find(owner)
        return hasattr(found, name) if isinstance(found, type) else find(path) is not None
    value: Any = trainer
    for name in parts:
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


def _own_version() -> str:
    try:
        return version("lr-lightning")
    except PackageNotFoundError:
        return "(not installed)"
