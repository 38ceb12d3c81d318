"""A run's row in TensorBoard's HParams tab: hyperparameters, the LR found and its zone.

The tab takes each scalar of the run as a metric by itself, with its last value. No experiment summary is written
anywhere: TensorBoard then finds hyperparameters and metrics from all runs, where one folder's summary would blank the
columns of all others.
"""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lr_lightning.reporting.events import add_summary, guard, tensorboards
from lr_lightning.reporting.files import is_url, replace_file


def write_hparams(trainer: Any, step: int, *, diverged: bool | None = None) -> None:
    """Write the row; once a run, since TensorBoard keeps the first.

    Only finite values are written: one infinity squashes the parallel coordinates. A run that failed says so by
    ``diverged``.

    Args:
        trainer: The trainer: ``loggers``, ``is_global_zero``, ``callbacks`` and ``lightning_module``.
        step: Step of the row.
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
    for logger, writer in tensorboards(trainer):
        guard(logger, partial(_write, writer, plain, step))


def row(values: Mapping[str, Any]) -> Any:
    """A run's hyperparameters as a summary, without a group: the tab's row is the run then, by the run's own name.

    A group made from the values, as TensorBoard's helper has it, puts two seeds of one setting into one row, and one
    made from a trial's number the trials of two searches.

    Args:
        values: Numbers, words, flags and None by name.
    """
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    summary = hparams_pb({key: "null" if value is None else value for key, value in values.items()})
    content = summary.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(content.content)
    data.session_start_info.group_name = ""
    content.content = data.SerializeToString()
    return summary


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


def _write(writer: Any, values: Mapping[str, Any], step: int) -> None:
    add_summary(writer, row(values), step)
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
    if is_url(logger.log_dir):  # Lightning's function opens URLs; such stores replace a file at once by themselves
        url = f"{logger.log_dir}/hparams.yaml"
        if logger._fs.isfile(url):
            save_hparams_to_yaml(url, logger.hparams)
        return
    path = Path(logger.log_dir) / "hparams.yaml"
    if path.is_file():
        replace_file(path, lambda half: save_hparams_to_yaml(half, logger.hparams))
