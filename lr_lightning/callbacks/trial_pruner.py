"""TrialPruner: ends trials of a search that are clearly worse than the others, or diverged."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.callbacks._fits import Fits
from lr_lightning.callbacks._sandbox.progress import say
from lr_lightning.callbacks._search_metric import Watch, whole_run
from lr_lightning.rules.checks import check_choice, check_count, check_flag, check_name
from lr_lightning.rules.saved import Saved
from lr_lightning.rules.search.halving import diverged, judge, rungs
from lr_lightning.rules.search.records import MODES
from lr_lightning.sweeper import trial as trials
from lr_lightning.sweeper.errors import TrialRefused


class TrialPruner(Callback):
    """Successive halving over the trials of a search, under any launcher.

    At rungs (after 1, 2, 4, … validations with ``first=1``, ``eta=2``) a trial goes on if its metric is among the best
    ``1 / eta`` of all trials of the search that came as far; the metrics are shared through files in the search's
    folder, so trials may run one after the other, at the same time, or on other machines with the same disk. A metric
    that is not finite, or that is worse than at the start by more than was ever gained, ends the trial at once.

    Its score is then the last metric, as if the app had been told to train less. Outside of a search it does nothing.

    Args:
        monitor: Metric, as logged.
        mode: ``"min"`` or ``"max"``.
        first: Validations before the first rung.
        eta: The best ``1 / eta`` go on; also the factor between rungs, at least 1.1.
        least: With fewer other trials at a rung nobody is stopped for being worse.
        strict: Whether a metric that was not logged by the end of the first epoch with a validation is an error;
            otherwise it is a warning, and no trial is stopped.

    Attributes:
        reason: Why the trial was stopped, or ``""``.

    Raises:
        ValueError: If an argument is out of its range; the message quotes it.

    >>> TrialPruner("val_acc", mode="max").monitor
    'val_acc'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "min",
        first: int = 1,
        eta: float = 2.0,
        least: int = 3,
        strict: bool = True,
    ) -> None:
        check_name("monitor", monitor, "the name of a metric")
        check_choice("mode", mode, MODES)
        rungs(first, eta, 1)
        check_count("least", least, 1)
        check_flag("strict", strict)
        self.monitor, self.mode, self.first, self.eta, self.least = monitor, mode, first, eta, least
        self.strict = strict
        self._fits = Fits()
        self._begin()

    def _begin(self) -> None:
        self.reason = ""
        self._watch = Watch("TrialPruner", self.monitor)
        self._values: list[float] = []
        self._told = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier training."""
        if stage == "fit" and self._fits.begins_anew(trainer):
            self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Metrics of a checkpoint were for this fit alone."""
        self._fits.begin(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The metrics so far: a resumed trial is judged at the rungs that remain."""
        return {"values": list(self._values)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the metrics of an interrupted trial.

        Raises:
            ValueError: If it isn't what ``state_dict`` gives; the callback stays as it is then.
        """
        self._values = Saved("TrialPruner", state_dict).floats("values")
        self._fits.give()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric and stop where the rule says so; rank 0 decides for all ranks."""
        here = trials.here()
        if here is None or trainer.sanity_checking or trainer.fast_dev_run or not self._watch.look(trainer):
            return
        self._values.append(float(trainer.callback_metrics[self.monitor]))
        status, reason = "", ""
        if trainer.is_global_zero:
            status, reason = self._judge(here, trainer)
        status, reason = trainer.strategy.broadcast((status, reason))
        if not status:
            return
        self.reason = reason
        if trainer.is_global_zero:
            trials.stop(here, status, reason)
        trainer.should_stop = True
        say(trainer, f"TrialPruner: {status} after {len(self._values)} validations: {reason}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of a metric that the epoch before didn't log, with the module's own ``on_train_epoch_end``.

        Raises:
            TrialRefused: If it isn't and ``strict`` is set; the message names the metrics that are.
        """
        missing = self._watch.missing(trainer)
        if not missing or trials.here() is None:
            return
        if self.strict:
            raise TrialRefused(missing)
        if not self._told:
            self._told = True
            rank_zero_warn(f"{missing}. No trial is stopped early")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of it after the only epoch, too."""
        self.on_train_epoch_start(trainer, pl_module)

    def _judge(self, here: trials.Here, trainer: Trainer) -> tuple[str, str]:
        count, value = len(self._values), self._values[-1]
        finite = [v for v in self._values if math.isfinite(v)]
        best = (min if self.mode == "min" else max)(finite, default=value)
        if diverged(value, self._values[0], best, self.mode):
            return "diverged", f"{self.monitor} went from {self._values[0]:.4g} to {value:.4g}"
        last = whole_run(trainer) or count + 1
        if count not in rungs(self.first, self.eta, max(last, count + 1)):
            return "", ""
        trials.report(here, count, value)
        reason = judge(value, trials.peers(here, count), self.eta, self.mode, self.least)
        return ("pruned", reason) if reason and count < last else ("", "")
