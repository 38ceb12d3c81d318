"""PlateauDecay: lowers the learning rate when a metric's progress has stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lr_lightning.callbacks._fits import Fits
from lr_lightning.callbacks._marks import KeepsMarks
from lr_lightning.callbacks._plateau import company, horizon, log, settings, source
from lr_lightning.callbacks._plateau import memory as _plateau_state
from lr_lightning.callbacks._plateau.best_weights import BestWeights
from lr_lightning.callbacks._plateau.motion import Gate
from lr_lightning.callbacks._plateau.presence import Presence
from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._schedulers import all_schedulers, follow_again
from lr_lightning.optim import decisions, param_groups
from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.rules.checks import check_flag
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau import diagnosis
from lr_lightning.rules.plateau.configure import Rule
from lr_lightning.rules.plateau.cuts import least_change
from lr_lightning.rules.plateau.decision import Decision


class PlateauDecay(KeepsMarks):
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
        self._own = {"_rule": self._rule, "factor": self.factor, "eps": self.eps}
        self.warmup = settings.checked_warmup(warmup, self.feed)
        self.min_lr = settings.checked_floors(min_lr)
        self.optimizer = settings.checked_indices(optimizer)
        self._restore = settings.checked_restore(restore_best, interval)
        key = {"monitor": monitor, "mode": mode, "interval": interval, "optimizer": self.optimizer}
        self._state_key = self._generate_state_key(**key)
        self._fits = Fits("PlateauDecay")
        self._begin()

    def _begin(self) -> None:
        """The attributes of a new training; a checkpoint's settings may have held in an earlier one."""
        vars(self).update(self._own)
        self._best = BestWeights(self.mode, self._restore, self.monitor) if self._restore else None
        self.history: list[dict[str, Any]] = []
        self.factor_so_far = self._inherited = 1.0
        self._plan = horizon.Plan(self.feed.horizon, self.warmup)
        self._state = self._rule.start()
        self._gate = Gate()
        self._train_losses = source.TrainLosses()
        self._writer = DecisionWriter(self.factor)
        self._batches = self._validated_at = 0
        self._group_counts: list[int] = []
        self._window = source.LossWindow(self.feed.read_every or 1)
        self._presence = Presence(self.monitor, self.interval)
        self._begun = False
        self._pending: float | None = None
        self._warned: set[str] = set()
        self._told: tuple[str, ...] = ()
        self._undone = company.Undone()
        self._value = source.Value(self.monitor)

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
        callback._fits.give()
        return callback

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that this release of Lightning has what is read from it; forget an earlier training."""
        if stage == "fit":
            _internals.require(trainer, "PlateauDecay", (*_internals.STEP, *_internals.METRICS))
            if self._fits.begins_anew(trainer):
                self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check what only a live trainer can tell."""
        follow_again(trainer)
        self._presence.check(trainer)
        groups = settings.check_live(trainer, self.optimizer, self.min_lr, self._group_counts)
        if self._best:
            self._best.check(trainer)
        given = self._fits.begin(trainer)
        open_end = self._plan.why_open(trainer)
        settings.check_warmup_has_an_end(self.warmup, open_end)
        before, now = self._plan.end, self._plan.look(trainer, self._batches)
        if given and self._begun:
            left_out = self._batches != self._validated_at and horizon.validation_due(trainer, self._batches)
            log.tell_of_resume(trainer, self.monitor, before, now, left_out)
        if not self._begun:
            self._start(trainer, groups)
        self._begun = True
        self._undone.note(self._optimizers(trainer))
        log.tell_of_open_end(trainer, self.monitor, self._rule, open_end, self._warned)
        if self._pending is not None:
            value, self._pending = self._pending, None
            self._observe(trainer, pl_module, value, self._batches)

    def _start(self, trainer: Trainer, groups: list[int]) -> None:
        """The first fit of a training, or one from a checkpoint without this callback's state."""
        if trainer.global_step > 0:
            self._inherited = company.inherited(trainer, self)
            log.tell_of_no_state(trainer, self.monitor, trainer.global_step, self._inherited)
            if math.isfinite(trainer.num_training_batches):
                self._batches = trainer.current_epoch * int(trainer.num_training_batches)
        decisions.mark(self._optimizers(trainer))
        self._group_counts = groups
        size = source.reading_interval(self._plan.look(trainer, self._batches), trainer.accumulate_grad_batches)
        self._window = source.LossWindow(self.feed.read_every or size)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what the module or a later callback logged when the last epoch ended."""
        self._late(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Give param groups and optimizers that are new since the last batch the factor so far."""
        factor, floors = company.factor_of(trainer, PlateauDecay), partial(self._floors, trainer)
        decisions.join(self._optimizers(trainer), partial(all_schedulers, trainer), factor, floors)

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
        if trainer.state.fn != "fit":
            return
        if not trainer.sanity_checking:
            self._presence.validated, self._validated_at = True, self._batches
            self._take(trainer, pl_module)
        self._presence.refuse(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the metric if this training epoch produced it."""
        self._take(trainer, pl_module)
        self._presence.ended = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what came last; refuse a metric that never came.

        Raises:
            MisconfigurationException: If it didn't, though there were validations or none are to come.
        """
        self._late(trainer, pl_module, last=True)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Average a half-filled window over ranks, keep a value that is logged and not yet taken.

        The checkpoint is rank 0's, but every rank resumes from it.
        """
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        saved = checkpoint["callbacks"][self.state_key]
        waiting = self._value.waiting(trainer) if self.interval == "epoch" else None
        if waiting is not None and not trainer.sanity_checking:
            saved["pending"] = source.reduced(trainer, waiting)
        if trainer.world_size > 1 and self.interval == "step":
            means, window = self._window.means(trainer.strategy), saved["window"]
            window["sums"] = [mean * count for mean, count in zip(means, window["counts"], strict=True)]

    # Values

    def _take(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = self._value.of_epoch(trainer) if self.interval == "epoch" else None
        if self.factor_so_far < 1.0:
            self._undone.look(trainer, self.monitor, self._optimizers(trainer))
        if value is not None:
            self._presence.seen = True
            self._observe(trainer, pl_module, source.reduced(trainer, value), self._batches)

    def _late(self, trainer: Trainer, pl_module: LightningModule, last: bool = False) -> None:
        """After everybody's end of a training epoch."""
        if self._presence.ended:
            self._take(trainer, pl_module)
            self._presence.after_epoch(trainer, last)

    def _collect(self, trainer: Trainer, outputs: Any, batch_idx: int) -> None:
        parts = trainer.accumulate_grad_batches  # 1 in manual optimization
        ends = (batch_idx + 1) % parts == 0 or trainer.is_last_batch
        value, scale = self._value.of_step(trainer, outputs)
        if value is not None:
            self._presence.seen = True
            self._window.add(value, scale, ends)
        elif ends:
            self._window.end_step()

    def _read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = self._window.means(trainer.strategy)
        self._window.clear()
        if self.factor_so_far < 1.0:
            self._undone.look(trainer, self.monitor, self._optimizers(trainer))
        parts = trainer.accumulate_grad_batches
        for place, value in enumerate(values):
            at = max(self._batches - (len(values) - 1 - place) * parts, self._state.at)
            if self._observe(trainer, pl_module, value, at) and self.history[-1]["cause"] != "endgame":
                return  # the rest of the window was measured at the old LR

    # Decisions

    def _observe(self, trainer: Trainer, pl_module: LightningModule, value: float, at: float) -> bool:
        """Feed the rule; returns whether the LR changed."""
        if self._plan.warming(trainer, self._batches, decisions.schedule_lr(self._optimizers(trainer))):
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
            log.say(trainer, self.monitor, decision.reason)
        return False

    def _decide(self, trainer: Trainer, value: float, at: float) -> Decision:
        end = self._plan.look(trainer, self._batches)
        # The weights are those of now, also where the value is some steps old.
        drift = None
        if plateau.follows_weights(self._rule, end is not None):
            drift = self._gate.look(trainer, self._optimizers(trainer), float(self._batches), end)
        self._state, decision = plateau.observe(self._rule, self._state, value, at, end, drift)
        if decision.action != "keep" and decision.cause != "endgame":
            self._gate.restart()
        return decision

    def _act(self, trainer: Trainer, pl_module: LightningModule, decision: Decision) -> bool:
        eps = least_change(self._rule.name, self.eps)
        chosen, schedulers = self._optimizers(trainer), all_schedulers(trainer)
        written = self._writer.apply(decision, chosen, schedulers, self._floors(trainer), eps)
        self._undone.note(chosen)
        if not written:
            if "min_lr" not in self._warned:
                log.say(trainer, self.monitor, f"{decision.reason}, but {log.why_unchanged(self.min_lr, eps)}")
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

    def _floors(self, trainer: Trainer, only: Any = None) -> float | list[float]:
        """``min_lr`` for the param groups that there are now, of all optimizers watched or of one."""
        return settings.floors(self.min_lr, self._group_counts, self._optimizers(trainer), self._warned, only)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on: plain types, and weights with ``restore_best="memory"``."""
        return _plateau_state.of(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; the LRs themselves come back with the optimizer.

        Raises:
            ValueError: If it isn't what ``state_dict`` gives; the callback stays as it is then.
        """
        vars(self).update(_plateau_state.attributes(self, state_dict))
        self._fits.give()
