"""A range test for W&B and MLflow, through their own APIs: the picture, the curve and what was found.

Loggers are known by their names: neither package is imported unless the trainer has its logger. Only what fits beside
the training's own metrics is logged: W&B has one step axis for everything, so there the curve is a table, not a metric.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from lr_lightning.reporting.events import guard
from lr_lightning.reporting.figures import range_test_figure
from lr_lightning.reporting.figures.page import range_test_page
from lr_lightning.reporting.hparams import found
from lr_lightning.reporting.range_test_writer import curve_rows
from lr_lightning.reporting.records import CURVE_COLUMNS, clean


def publish(trainer: Any, result: Any, tag: str, step: int) -> None:
    """Hand a finished range test to the trainer's W&B and MLflow loggers, on rank 0; others are left alone.

    Args:
        trainer: The trainer: ``loggers`` and ``is_global_zero``.
        result: A ``RangeTestResult``.
        tag: Prefix of the names: a second test of a run needs another one.
        step: Honest logging step at which the test ran.
    """
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        kinds = {kind.__name__ for kind in type(logger).__mro__}
        for name, write in (("WandbLogger", _to_wandb), ("MLFlowLogger", _to_mlflow)):
            if name in kinds:
                guard(logger, partial(write, logger, result, tag, step))


def _to_wandb(logger: Any, result: Any, tag: str, step: int) -> None:
    """One row of the history with the figure and the table; the findings in the run's summary."""
    import wandb

    rows = [list(row) for row in curve_rows(result)]
    media = {
        f"{tag}/figure": wandb.Plotly(range_test_figure(result)),
        f"{tag}/curve": wandb.Table(columns=list(CURVE_COLUMNS), data=rows),
    }
    logger.experiment.log({**media, "trainer/global_step": step})
    logger.experiment.summary.update({f"{tag}/{key}": value for key, value in _findings(result).items()})


def _to_mlflow(logger: Any, result: Any, tag: str, step: int) -> None:
    """The curve as metrics with the ladder's index as step, the findings as tags, picture and record as artifacts."""
    client, run = logger.experiment, logger.run_id
    client.log_text(run, range_test_page(result), f"{tag}.html")
    client.log_dict(run, clean(result.to_dict()), f"{tag}.json")
    for key, value in {**_findings(result), "step": step}.items():
        client.set_tag(run, f"{tag}.{key}", str(value))
    client.log_batch(run, metrics=_metrics(tag, curve_rows(result)))


def _metrics(tag: str, rows: Sequence[Sequence[float]]) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(f"{tag}/{name}", value, now, index)
        for index, row in enumerate(rows)
        for name, value in zip(CURVE_COLUMNS, row, strict=True)
        if value == value and abs(value) != float("inf")
    ]


def _findings(result: Any) -> dict[str, Any]:
    return {key: value for key, value in {**found(result), "reason": result.reason}.items() if value is not None}
