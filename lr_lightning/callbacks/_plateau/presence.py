"""Whether the monitored metric comes: a name that can't is refused at once, one that never came at the end."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._plateau import log
from lr_lightning.callbacks._plateau.source import LOSS_NAMES
from lr_lightning.callbacks._sandbox import metrics
from lr_lightning.callbacks._sandbox.progress import say


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

    def check(self, trainer: Any) -> None:
        """At the start of a fit.

        Raises:
            MisconfigurationException: If the trainer logs nothing, and a logged metric is asked for.
        """
        if getattr(trainer, "barebones", False) and (self._interval == "epoch" or self._monitor not in LOSS_NAMES):
            names = " or ".join(LOSS_NAMES)
            raise MisconfigurationException(
                f"PlateauDecay(monitor={self._monitor!r}, interval={self._interval!r}): Trainer(barebones=True) logs "
                f"no metrics, so this one never comes; {names} with interval='step' needn't be logged"
            )

    def refuse(self, trainer: Any) -> None:
        """After a validation, the sanity check's included, or a training epoch.

        Raises:
            MisconfigurationException: If the name is misspelt, or logged at other times than it is looked for.
        """
        if self.seen or trainer.fast_dev_run:
            return
        logged = metrics.logged(trainer)
        # A name of training steps may be that of a validation too, which may come later.
        all_known = self.ended and (self.validated or not trainer.enable_validation)
        if why := log.why_never(self._monitor, self._interval, logged, all_known):
            raise MisconfigurationException(f"{self._words(trainer)}; {why}")

    def after_epoch(self, trainer: Any, last: bool = False) -> None:
        """After everybody's end of a training epoch: a metric that comes seldom is waited for, and that is told.

        Raises:
            MisconfigurationException: If it was the last one and the metric never came, though there were validations
                or none are to come; and as :meth:`refuse`.
        """
        if self.seen or trainer.fast_dev_run or (last and trainer.interrupted):
            return
        self.refuse(trainer)
        words = self._words(trainer)
        meant = log.perhaps_meant(self._monitor, metrics.logged(trainer))
        if last and (self.validated or not trainer.enable_validation):
            raise MisconfigurationException(f"{words}{meant}")
        if last:
            rank_zero_warn(f"{words}; no validation ran, and the LR was never decayed{meant}")
        elif not self._told:
            self._told = True
            waits = f"{words}; it is waited for{meant}"
            if meant:
                rank_zero_warn(waits)
            else:
                say(trainer, waits)

    def _words(self, trainer: Any) -> str:
        return log.missing(self._monitor, self._interval, metrics.logged(trainer), trainer.enable_validation)
