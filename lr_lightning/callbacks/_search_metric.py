"""The metric by which trials of a search are judged: whether it is logged at all, and how often it will be."""

import math
from typing import Any

from lightning.pytorch import Trainer

from lr_lightning.rules.checks import nearest
from lr_lightning.rules.search.halving import planned_validations


class Watch:
    """Sees whether a metric is logged, so that a misspelt one is told before whole trainings are lost.

    A validation may end before the training epoch whose metric is meant; when that epoch has ended, too, all metrics
    were logged once.

    Args:
        owner: Who watches, for the message.
        monitor: The metric.
    """

    def __init__(self, owner: str, monitor: str) -> None:
        self.owner, self.monitor = owner, monitor
        self.validated = self.seen = False

    def look(self, trainer: Trainer) -> bool:
        """At the end of a validation: whether the metric is there."""
        self.validated = True
        self.seen = self.seen or self.monitor in trainer.callback_metrics
        return self.monitor in trainer.callback_metrics

    def missing(self, trainer: Trainer) -> str:
        """When a training epoch has ended for everybody: a sentence if the metric was never logged, else ``""``."""
        self.seen = self.seen or self.monitor in trainer.callback_metrics
        if self.seen or not self.validated:
            return ""
        logged = [str(name) for name in trainer.callback_metrics]
        near = nearest(self.monitor, logged)
        return f"{self.owner}: {self.monitor!r} was not logged; logged are {', '.join(sorted(logged)) or 'none'}{near}"


def whole_run(trainer: Trainer) -> int | None:
    """Validations of the whole fit; None if its length is unknown."""
    fit: Any = trainer
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else None
    most = trainer.max_steps * trainer.accumulate_grad_batches if trainer.max_steps >= 0 else math.inf
    batches, every = float(trainer.num_training_batches), float(fit.val_check_batch)
    return planned_validations(batches, epochs, every, trainer.check_val_every_n_epoch, most)
