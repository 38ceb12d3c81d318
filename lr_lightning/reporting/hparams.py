"""A run's row in TensorBoard's HParams tab: the LR found, its zone, and the final metrics."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lr_lightning.reporting.events import add_summary, guard, tensorboards
from lr_lightning.reporting.files import replace_file

FINAL = "final"


def write_hparams(trainer: Any, metrics: Mapping[str, float], step: int, *, diverged: bool | None = None) -> None:
    """Write the row; once a run, since TensorBoard keeps the first.

    No experiment summary is written: TensorBoard then finds out hyperparameters and metrics from all runs by itself,
    and runs with different ones can stand side by side. Only finite values are written: one infinity squashes the
    parallel coordinates, and a run without a value drops out of them. A run that failed says so by ``diverged``.

    Args:
        trainer: The trainer: ``loggers``, ``is_global_zero``, ``callbacks`` and ``lightning_module``.
        metrics: Final metrics, logged as ``final/<name>``.
        step: Step of the metrics.
        diverged: Whether the training loss ended non-finite; None if unknown.
    """
    if not trainer.is_global_zero:
        return
    values: dict[str, Any] = dict(getattr(trainer.lightning_module, "hparams", {}))
    for callback in trainer.callbacks:
        values.update(found(getattr(callback, "result", None)))
    if diverged is not None:
        values["diverged"] = diverged
    plain = {str(name): value for name, value in values.items() if _fits(value)}
    finite = {k: v for k, v in metrics.items() if math.isfinite(v) and not k.startswith("lr-")}
    for logger, writer in tensorboards(trainer):
        guard(logger, partial(_write, writer, plain, finite, step))


def found(result: Any) -> dict[str, Any]:
    """What a range test found, as hyperparameters; nothing if ``result`` isn't one."""
    if not (hasattr(result, "suggestion") and hasattr(result, "zones")):
        return {}
    data = result.to_dict()
    values: dict[str, Any] = {"lr_found": data["suggestion"], "range_test_status": data["status"]}
    for name, bounds in (("lr_interval", data.get("interval")), ("lr_zone", data["zones"].get("descending"))):
        if bounds:
            values.update({f"{name}_low": bounds[0], f"{name}_high": bounds[1]})
    return values


def _fits(value: Any) -> bool:
    return isinstance(value, (bool, str)) or (isinstance(value, (int, float)) and math.isfinite(value))


def _write(writer: Any, values: Mapping[str, Any], metrics: Mapping[str, float], step: int) -> None:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    for name, value in metrics.items():
        writer.add_scalar(f"{FINAL}/{name}", value, step)
    add_summary(writer, hparams_pb(dict(values)), step)
    writer.flush()


def note_lr(trainer: Any, name: str, lr: float, at: str = "") -> None:
    """Tell the loggers the LR found: they took down the hyperparameters before the test.

    TensorBoard's and the CSV logger's ``hparams.yaml`` get ``name`` anew. Other loggers may refuse a changed value, so
    they get it as ``<name>_found<at>``.

    Args:
        trainer: The trainer: ``loggers`` and ``is_global_zero``.
        name: The hyperparameter, ``lr`` or ``learning_rate``.
        lr: The LR found.
        at: Tells a later finding of the run from the first, such as ``_at_step_500``.
    """
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        kinds = {kind.__name__ for kind in type(logger).__mro__}
        if "TensorBoardLogger" in kinds:
            guard(logger, partial(_renew_yaml, logger, name, lr))
        else:
            key = name if "CSVLogger" in kinds else f"{name}_found{at}"
            guard(logger, partial(logger.log_hyperparams, {key: lr}))


def _renew_yaml(logger: Any, name: str, lr: float) -> None:
    """``log_hyperparams`` would write a second row into the HParams tab, and leave the file as it is."""
    from lightning.pytorch.core.saving import save_hparams_to_yaml

    logger.hparams[name] = lr
    path = Path(logger.log_dir) / "hparams.yaml"
    if path.is_file():
        replace_file(path, lambda half: save_hparams_to_yaml(half, logger.hparams))
