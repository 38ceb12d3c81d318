"""PlateauDecay: lowers the learning rate when a metric's progress has stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lr_lightning.callbacks._plateau import log, settings, source
from lr_lightning.callbacks._plateau import memory as _plateau_state
from lr_lightning.callbacks._plateau.motion import Gate
from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.callbacks._schedulers import all_schedulers, follow_again
from lr_lightning.optim import decisions, param_groups
from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.rules.checks import check_flag
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau import diagnosis
from lr_lightning.rules.plateau.configure import Rule
from lr_lightning.rules.plateau.cuts import least_change
from lr_lightning.rules.plateau.decision import Decision


class PlateauDecay(Callback):
    """Lowers the LR when, and only when, a metric shows no progress any more.

    The plateau factor multiplies whatever sets the LR: a torch scheduler, a formula, a range test. Every decision is in
    :attr:`history`, in the log and in TensorBoard, with its reason. Metrics are averaged over ranks, and a value counts
    once, when it was freshly produced: at the end of a validation or of a training epoch, or at a step. Sanity checks
    don't count. All counts (``patience``, ``cooldown``, an int ``window``) are in such observations.

    Args:
        monitor: Name of a logged metric. ``"train_loss"`` (or ``"loss"``) with ``interval="step"`` is what
            ``training_step`` returned: it needn't be logged, and it is read from the device once a window of steps.
        mode: ``"min"`` or ``"max"``: which values are better.
        factor: Multiplier of the LR at a decay, above 0 and below 1.
        interval: ``"epoch"`` takes the metric when a validation or training epoch ends, ``"step"`` at every step.
        patience: Asks for torch's rule: the LR falls at observation ``patience + 1`` in a row without progress.
        threshold: Of that rule: what counts as an improvement. None: 1e-4.
        threshold_mode: Of that rule: torch's ``"rel"`` (None) and ``"abs"``, or ``"margin"``, relative to the best for
            any sign.
        cooldown: Observations after a decay that are ignored.
        warmup: Values before this are ignored: an int is a number of batches, a float a share of the planned run. A
            schedule that raises the LR is noticed anyway and restarts the comparison.
        min_lr: LR below which no decay goes; one number, or one a param group (over all optimizers watched).
        eps: An LR that would change by no more than this stays. None: 1e-8 for ``"patience"`` (torch's), else 0.
        optimizer: Index, or indices, of the optimizers whose LR falls; None means all.
        restore_best: True or ``"memory"`` goes back to the best weights at a decay, ``"checkpoint"`` takes them from
            the best checkpoint. Not in the endgame.
        rule: ``"trend"`` (the default), ``"patience"`` (the default if ``patience`` is given; decides exactly as
            torch's ReduceLROnPlateau), a rule, or a mapping with the ``name`` of one and its settings:

            - of ``"trend"`` (:class:`~lr_lightning.rules.plateau.trend.TrendRule` has them all) ``window``, as a share
              of the planned run or a number of observations; ``endgame``, the largest share of a planned run over which
              the LR falls in any case; ``on_flat_region``, what to do where a cut doesn't seem to help (``"keep"``
              waits longer, ``"decay"`` doesn't care, ``"kick"`` raises LR and momentum once for a while and takes that
              back if it brings no progress); ``gate``, whether a cut waits while the weights move on, as on flat
              ground, rather than bounce around one place. That reads at most 4096 weights at some 50 observations a
              run, nothing at a step. None: where the run's end is planned.
            - of ``"patience"`` ``patience``, ``threshold`` and ``threshold_mode``;
            - of both ``horizon``: ``"auto"`` takes ``max_epochs`` and ``max_steps`` for the end of the run, unless an
              ``EarlyStopping`` is there, ``"unknown"`` does as if nobody knew; ``on_resume``: ``"keep"`` goes on with
              the checkpoint's settings where they differ, ``"override"`` with the new; ``read_every``, with
              ``interval="step"``: steps between two reads of the values from the device, the longest that a decision
              can be late (None: 1/200 of the planned run, at most 64, 32 where no end is planned).
        verbose: Whether to log each decision.

    Attributes:
        history: One dict a decision: epoch, step, action, cause, reason, old_lr, new_lr, factor, evidence. The action
            is ``"decay"``, ``"kick"``, ``"unkick"`` or, once where a plateau isn't cut yet, ``"wait"``.
        factor_so_far: Product of the decays.

    Raises:
        ValueError: If an argument is out of its range or contradicts another; the message quotes it.

    >>> PlateauDecay("val_acc", mode="max", patience=5).history
    []
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "min",
        factor: float = 0.5,
        *,
        interval: str = "epoch",
        patience: int | None = None,
        threshold: float | None = None,
        threshold_mode: str | None = None,
        cooldown: int = 0,
        warmup: int | float = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float | None = None,
        optimizer: int | Sequence[int] | None = None,
        restore_best: bool | str = False,
        rule: str | Mapping[str, Any] | Rule | None = None,
        verbose: bool = True,
    ) -> None:
        self.monitor = settings.checked_monitor(monitor)
        self.mode, self.interval, self.verbose = mode, interval, check_flag("verbose", verbose)
        asked, self.feed = settings.split(rule)
        own: dict[str, Any] = {"patience": patience, "threshold": threshold, "threshold_mode": threshold_mode}
        self._rule = plateau.configure(asked, mode=mode, factor=factor, cooldown=cooldown, interval=interval, **own)
        self.eps = None if eps is None else least_change(self._rule.name, eps)
        self.factor = float(factor)
        self.warmup = settings.checked_warmup(warmup)
        self.min_lr = settings.checked_floors(min_lr)
        self.optimizer = settings.checked_indices(optimizer)
        self._best = settings.best_weights(restore_best, mode, monitor, interval)
        key = {"monitor": monitor, "mode": mode, "interval": interval, "optimizer": self.optimizer}
        self._state_key = self._generate_state_key(**key)
        self._begin()

    def _begin(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.factor_so_far = 1.0
        self._state = self._rule.start()
        self._gate = Gate()
        self._train_losses = source.TrainLosses()
        self._writer = DecisionWriter(self.factor)
        self._batches = 0
        self._group_counts: list[int] = []
        self._schedule_lr: float | None = None
        self._window = source.LossWindow(self.feed.read_every or 1)
        self._seen = self._validated = self._loaded = False
        self._warned: set[str] = set()
        self._told: tuple[str, ...] = ()
        self._available: dict[str, list[str]] = {}
        self._step_value = source.StepValue(self.monitor)

    @property
    def rule(self) -> Rule:
        """The rule at work."""
        return self._rule

    @property
    def state_key(self) -> str:
        """Tells several of them in one trainer apart."""
        return self._state_key  # Lightning asks for it at every hook

    @classmethod
    def from_torch(cls, scheduler: Any, monitor: str = "val_loss", **others: Any) -> PlateauDecay:
        """Take over a ``torch.optim.lr_scheduler.ReduceLROnPlateau``: settings, best value and counters.

        Args:
            scheduler: The scheduler; don't step it any more.
            monitor: The metric it was stepped with.
            **others: Further arguments of ``PlateauDecay``.
        """
        arguments, state = settings.of_torch(scheduler)
        callback = cls(monitor, **{**arguments, **others})
        callback._state = callback._rule.load(state)
        return callback

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that this release of Lightning has what is read from it."""
        if stage == "fit":
            _internals.require(trainer, "PlateauDecay", (*_internals.STEP, *_internals.METRICS))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check what only a live trainer can tell."""
        follow_again(trainer)
        groups = settings.check_live(trainer, self.optimizer, self.min_lr)
        if self._best:
            self._best.check(trainer)
        if not self._loaded:
            if trainer.global_step > 0 and math.isfinite(trainer.num_training_batches):
                self._batches = trainer.current_epoch * int(trainer.num_training_batches)
            self._group_counts = groups
            self._window.size = self.feed.read_every or source.reading_interval(
                self._end(trainer), trainer.accumulate_grad_batches
            )
        self._loaded = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Give param groups that were added since the last batch the factor so far."""
        factor = partial(self._total_factor, trainer)
        self._group_counts = decisions.join(self._optimizers(trainer), self._group_counts, factor)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; with ``interval="step"`` collect its value."""
        self._batches += 1
        if self._diagnoses:
            self._train_losses.add(source.loss_of(outputs), float(trainer.accumulate_grad_batches))
        if self.interval == "step":
            self._collect(trainer, outputs, batch_idx)
            if self._window.full:
                self._read(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the metric if this validation produced it."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._validated = True
        self._take(trainer, pl_module, "validation end")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the metric if this training epoch produced it; complain if nobody ever did."""
        self._take(trainer, pl_module, "training epoch end")
        if not self._seen and (self._validated or not trainer.enable_validation):
            why = log.missing(self.monitor, self.interval, self._available, trainer.enable_validation)
            raise MisconfigurationException(why)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so if the metric never came because validation never ran."""
        if not self._seen and trainer.current_epoch > 0 and not trainer.fast_dev_run and not trainer.interrupted:
            log.warn_of_missing(self.monitor, self.interval, self._available)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Average a half-filled window over ranks: the checkpoint is rank 0's, but every rank resumes from it."""
        if trainer.world_size > 1 and self.interval == "step":
            means = self._window.means(trainer.strategy)
            saved = checkpoint["callbacks"][self.state_key]["window"]
            saved["sums"] = [mean * count for mean, count in zip(means, saved["counts"], strict=True)]

    # Values

    def _take(self, trainer: Trainer, pl_module: LightningModule, moment: str) -> None:
        fresh = _sandbox.fresh_metrics(trainer)
        self._available[moment] = sorted(fresh)
        if self.interval == "epoch" and self.monitor in fresh:
            self._seen = True
            self._observe(trainer, pl_module, source.reduced(trainer, fresh[self.monitor]), self._batches)

    def _collect(self, trainer: Trainer, outputs: Any, batch_idx: int) -> None:
        parts = trainer.accumulate_grad_batches  # 1 in manual optimization
        ends = (batch_idx + 1) % parts == 0 or trainer.is_last_batch
        value, scale = self._step_value.of(trainer, outputs)
        if value is not None:
            self._seen = True
            self._window.add(value, scale, ends)
        elif ends:
            self._window.end_step()

    def _read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = self._window.means(trainer.strategy)
        self._window.clear()
        parts = trainer.accumulate_grad_batches
        for place, value in enumerate(values):
            at = max(self._batches - (len(values) - 1 - place) * parts, self._state.at)
            if self._observe(trainer, pl_module, value, at) and self.history[-1]["cause"] != "endgame":
                return  # the rest of the window was measured at the old LR

    # Decisions

    def _observe(self, trainer: Trainer, pl_module: LightningModule, value: float, at: float) -> bool:
        """Feed the rule; returns whether the LR changed."""
        if self._warming(trainer):
            self._state, ended = plateau.restart(self._rule, self._state, value, at)
            self._told = ()
            self._gate.restart()
            return self._act(trainer, pl_module, ended) if ended is not None else False
        if self._best is not None:
            self._best.observe(value, pl_module)
        if self._diagnoses:
            self._train_losses.close(trainer.strategy)
        decision = self._decide(trainer, value, at)
        log.warn_of_noise(self.monitor, self._state, decision, self._warned)
        before, self._told = self._told, diagnosis.told(self._told, decision)
        if decision.action != "keep":
            return self._act(trainer, pl_module, decision)
        if len(self._told) > len(before):
            reason = log.reason_of(decision, self._rule.name, self._train_losses.means)
            self._record(trainer, decision, reason, decisions.unchanged(self._optimizers(trainer)), 1.0)
        elif decision.cause == "kick" and self.verbose:
            log.say(self.monitor, decision.reason)
        return False

    def _decide(self, trainer: Trainer, value: float, at: float) -> Decision:
        end = self._end(trainer)
        # The weights are those of now, also where the value is some steps old.
        drift = None
        if plateau.follows_weights(self._rule, end is not None):
            drift = self._gate.look(trainer, self._optimizers(trainer), float(self._batches), end)
        self._state, decision = plateau.observe(self._rule, self._state, value, at, end, drift)
        if decision.action != "keep" and decision.cause != "endgame":
            self._gate.restart()
        return decision

    def _warming(self, trainer: Trainer) -> bool:
        """Whether values don't count yet: inside of ``warmup``, or while the schedule raises the LR."""
        now, before = decisions.schedule_lr(self._optimizers(trainer)), self._schedule_lr
        self._schedule_lr = now
        end = self._end(trainer)
        limit = self.warmup if isinstance(self.warmup, int) else self.warmup * (end or 0.0)
        return self._batches <= limit if limit else before is not None and now > before * (1 + 1e-6)

    def _end(self, trainer: Trainer) -> float | None:
        """Where the run is planned to end, in batches."""
        if self.feed.horizon == "unknown" or any(isinstance(c, EarlyStopping) for c in trainer.callbacks):
            return None
        return source.planned_batches(trainer, self._batches)

    def _act(self, trainer: Trainer, pl_module: LightningModule, decision: Decision) -> bool:
        eps = least_change(self._rule.name, self.eps)
        schedulers = all_schedulers(trainer)
        written = self._writer.apply(decision, self._optimizers(trainer), schedulers, self.min_lr, eps)
        if not written:
            if "min_lr" not in self._warned:
                rank_zero_info(f"PlateauDecay: {decision.reason}, but {log.why_unchanged(self.min_lr, eps)}")
            self._warned.add("min_lr")
            return False
        self.factor_so_far *= written.multiplier if written.lrs else 1.0
        reason = log.reason_of(decision, self._rule.name, self._train_losses.means, written.momentum)
        if self._best is not None and decision.action == "decay" and decision.cause != "endgame":
            restored = self._best.restore(trainer, pl_module)
            reason += f"; {restored}" if restored else ""
        change = written.lrs[0] if written.lrs else decisions.unchanged(self._optimizers(trainer))
        self._record(trainer, decision, reason, change, written.multiplier if written.lrs else 1.0)
        return True

    def _record(
        self, trainer: Trainer, decision: Decision, reason: str, change: param_groups.LRChange, factor: float
    ) -> None:
        self.history.append(log.record(trainer, self.monitor, decision, reason, change, factor, self.verbose))

    @property
    def _diagnoses(self) -> bool:
        """Whether the training loss is followed between observations, so that overfitting is told apart."""
        return self._rule.name == "trend" and self.interval == "epoch"

    def _optimizers(self, trainer: Trainer) -> list[Any]:
        chosen = trainer.optimizers
        if self.optimizer is not None:
            chosen = [chosen[index] for index in self.optimizer]
        return [param_groups.unwrap(optimizer) for optimizer in chosen]

    def _total_factor(self, trainer: Trainer, torch_optimizer: Any) -> float:
        others = [c for c in trainer.callbacks if isinstance(c, PlateauDecay)]
        return math.prod(c.factor_so_far for c in others if torch_optimizer in c._optimizers(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on: plain types, and weights with ``restore_best="memory"``."""
        return _plateau_state.of(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; the LRs themselves come back with the optimizer.

        Raises:
            ValueError: If it isn't what ``state_dict`` gives; the callback stays as it is then.
        """
        vars(self).update(_plateau_state.attributes(self, state_dict), _loaded=True)
