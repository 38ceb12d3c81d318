"""Whether the monitored metric comes: a name that can't is refused at once, one that never came at the end."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._plateau import log
from lr_lightning.callbacks._sandbox import metrics


class Presence:
    """Of one metric in one training.

    Args:
        monitor: The metric.
        interval: ``"epoch"`` or ``"step"``.

    Attributes:
        seen: Whether it has come.
        validated: Whether a validation has ended in this training.
        ended: Whether a training epoch has ended in this fit.
    """

    def __init__(self, monitor: str, interval: str) -> None:
        self._monitor, self._interval = monitor, interval
        self.seen = self.validated = self.ended = self._told = False

    def refuse(self, trainer: Any) -> None:
        """After a validation, the sanity check's included, or a training epoch.

        Raises:
            MisconfigurationException: If the name is misspelt, or logged at other times than it is looked for.
        """
        if self.seen or trainer.fast_dev_run:
            return
        logged = metrics.logged(trainer)
        if why := log.why_never(self._monitor, self._interval, logged, self.ended):
            raise MisconfigurationException(f"{self._words(trainer)}; {why}")

    def after_epoch(self, trainer: Any) -> None:
        """After everybody's end of a training epoch: a metric that comes seldom is waited for, and that is told."""
        self.refuse(trainer)
        if not self.seen and not self._told and not trainer.fast_dev_run:
            self._told = True
            log.say(self._monitor, f"{self._words(trainer)}; it is waited for")

    def at_end(self, trainer: Any) -> None:
        """At the end of a fit.

        Raises:
            MisconfigurationException: If the metric never came, though there were validations or none are to come.
        """
        if self.seen or not self.ended or trainer.fast_dev_run or trainer.interrupted:
            return
        if self.validated or not trainer.enable_validation:
            raise MisconfigurationException(self._words(trainer))
        rank_zero_warn(f"{self._words(trainer)}; no validation ran, and the LR was never decayed")

    def _words(self, trainer: Any) -> str:
        return log.missing(self._monitor, self._interval, metrics.logged(trainer), trainer.enable_validation)
