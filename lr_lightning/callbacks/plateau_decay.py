"""PlateauDecay: lowers the learning rate when a metric's progress has stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lr_lightning.callbacks._plateau import log, settings, source
from lr_lightning.callbacks._plateau import memory as _plateau_state
from lr_lightning.callbacks._plateau.motion import Gradients, gate_for
from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.optim import param_groups
from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.rules.checks import MOST_STEPS, check_choice, check_count, check_flag
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau import waits as plateau_waits
from lr_lightning.rules.plateau.cut import least_change
from lr_lightning.rules.plateau.decision import Decision, PlateauRule


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
        rule: ``"trend"`` (the default), ``"patience"`` (the default if ``patience`` is given; decides exactly as
            torch's ReduceLROnPlateau) or ``"dlib"``; see :mod:`lr_lightning.rules.plateau.decision`.
        window: For ``"trend"`` and ``"dlib"``: a float is a share of the planned run, an int a number of observations.
        patience: For ``"patience"``: the LR falls at observation ``patience + 1`` in a row without progress (torch's).
        threshold: For ``"patience"``: what counts as an improvement.
        threshold_mode: For ``"patience"``: torch's ``"rel"`` and ``"abs"``, or ``"margin"``, relative to the best.
        cooldown: Observations after a decay that are ignored.
        warmup: Values before this are ignored: an int is a number of batches, a float a share of the planned run. A
            schedule that raises the LR is noticed anyway and restarts the comparison.
        min_lr: LR below which no decay goes; one number, or one a param group (over all optimizers watched).
        eps: An LR that would change by no more than this stays. None: 1e-8 for ``"patience"`` (torch's), else 0.
        endgame: Largest share of a planned run over which the LR falls in any case: half of it as long as the weights
            move on (see ``gate``), and nothing before half of the run unless they are seen to bounce. 0 turns it off.
        horizon: ``"auto"`` takes ``max_epochs`` and ``max_steps`` for the end of the run, unless an ``EarlyStopping``
            is there; ``"unknown"`` does as if nobody knew.
        optimizer: Index, or indices, of the optimizers whose LR falls; None means all.
        on_flat_region: What to do where a cut doesn't seem to help: ``"keep"`` waits longer, ``"decay"`` doesn't care,
            ``"kick"`` raises LR or momentum once for a while and takes that back if it brings no progress
            (:mod:`lr_lightning.rules.plateau.kick`). What tells flat ground is whether the weights move on, where the
            gate or ``diagnose="gradients"`` follows that.
        kick: What a kick raises: ``"lr"``, ``"momentum"`` (SGD's ``momentum``, the first of Adam's ``betas``) or
            ``"both"``. The LR goes up by one cut. The momentum is what it was again when the kick is taken back, and at
            the next cut at the latest.
        kick_momentum: What a kick raises the momentum to. None: its distance to 1 is multiplied by ``factor``.
        gate: For ``"trend"``: whether a cut waits while the weights move on, as on flat ground, rather than bounce
            around one place (:mod:`lr_lightning.rules.plateau.motion`). Reads at most 4096 weights at some 50
            observations a run, nothing at a step. None: where the run's end is planned (elsewhere it may wait too
            long) and the rule is ``"trend"``. The endgame waits no longer than until half of its time is left.
        restore_best: True or ``"memory"`` goes back to the best weights at a decay, ``"checkpoint"`` takes them from
            the best checkpoint. Not in the endgame.
        on_resume: ``"keep"`` goes on with the checkpoint's settings where they differ, ``"override"`` with the new.
        read_every: With ``interval="step"``: steps between two reads of the values from the device, the longest that a
            decision can be late; None takes 1/200 of the planned run, at most 64 (32 where no end is planned).
        diagnose: Whether to follow the training loss between observations, so that overfitting is told apart.
            ``"gradients"``: also how much gradients agree (:mod:`lr_lightning.rules.plateau.gradients`): at most 4096
            coordinates, every eleventh step.
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
        rule: str | None = None,
        window: float | int | None = None,
        patience: int | None = None,
        threshold: float | None = None,
        threshold_mode: str | None = None,
        cooldown: int = 0,
        warmup: int | float = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float | None = None,
        endgame: float | None = None,
        horizon: str = "auto",
        optimizer: int | Sequence[int] | None = None,
        on_flat_region: str = "keep",
        gate: bool | None = None,
        kick: str = "lr",
        kick_momentum: float | None = None,
        restore_best: bool | str = False,
        on_resume: str = "keep",
        read_every: int | None = None,
        diagnose: bool | str = False,
        verbose: bool = True,
    ) -> None:
        self.monitor = settings.checked_monitor(monitor)
        self.mode, self.interval, self.verbose = mode, interval, check_flag("verbose", verbose)
        self._settings: dict[str, Any] = {
            "factor": factor,
            "rule": rule,
            "window": window,
            "patience": patience,
            "threshold": threshold,
            "threshold_mode": threshold_mode,
            "cooldown": cooldown,
            "endgame": endgame,
            "on_flat_region": on_flat_region,
            "gate": gate,
            "kick": kick,
            "kick_momentum": kick_momentum,
            "eps": eps,
        }
        check_choice("horizon", horizon, ("auto", "unknown"))
        self._rule = plateau.configure(mode=mode, interval=interval, horizon_known=horizon == "auto", **self._settings)
        self.factor = float(factor)
        self.warmup = settings.checked_warmup(warmup)
        self.min_lr = settings.checked_floors(min_lr)
        check_choice("on_resume", on_resume, ("keep", "override"))
        self.horizon, self.on_resume = horizon, on_resume
        self.optimizer = settings.checked_indices(optimizer)
        self._best = settings.best_weights(restore_best, mode, monitor, interval)
        if read_every is not None:
            check_count("read_every", read_every, 1, MOST_STEPS)
        self._read_every = read_every
        key = {"monitor": monitor, "mode": mode, "interval": interval, "optimizer": self.optimizer}
        self._state_key = self._generate_state_key(**key)
        self._diagnose = settings.checked_diagnose(diagnose, self._rule.name)
        self._train_losses = source.TrainLosses() if diagnose and interval == "epoch" else None
        self._begin()

    def _begin(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.factor_so_far = 1.0
        self._state = self._rule.start()
        self._gate = gate_for(self._settings, self._rule.name)
        self._gradients = Gradients() if self._diagnose == "gradients" else None
        self._writer = DecisionWriter(self.factor, self._settings["kick"], self._settings["kick_momentum"])
        self._batches = 0
        self._group_counts: list[int] = []
        self._schedule_lr: float | None = None
        self._window = source.LossWindow(self._read_every or 1)
        self._seen = self._validated = self._loaded = False
        self._warned: set[str] = set()
        self._told: tuple[str, ...] = ()
        self._available: dict[str, list[str]] = {}
        self._step_value = source.StepValue(self.monitor)

    @property
    def rule(self) -> PlateauRule:
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
        groups = settings.check_live(trainer, self.optimizer, self.min_lr)
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._writer.check(self._optimizers(trainer), schedulers, bool(self._writer.raised))
        if self._best:
            self._best.check(trainer)
        if self._rule.name == "dlib" and isinstance(self._settings["window"], float) and self._end(trainer) is None:
            raise MisconfigurationException(
                f"window={self._settings['window']} is a share of the run, whose end isn't planned; give an int"
            )
        if not self._loaded:
            if trainer.global_step > 0 and math.isfinite(trainer.num_training_batches):
                self._batches = trainer.current_epoch * int(trainer.num_training_batches)
            self._group_counts = groups
            self._window.size = self._read_every or source.reading_interval(
                self._end(trainer), trainer.accumulate_grad_batches
            )
        self._loaded = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Give param groups that were added since the last batch the factor so far."""
        factor = partial(self._total_factor, trainer)
        self._group_counts = settings.join(self._optimizers(trainer), self._group_counts, factor)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """With ``diagnose="gradients"``: compare this gradient with an earlier one now and then."""
        if self._gradients is not None:
            self._gradients.take(trainer, self._optimizers(trainer), optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; with ``interval="step"`` collect its value."""
        self._batches += 1
        if self._train_losses is not None:
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
            why = settings.missing(self.monitor, self.interval, self._available, trainer.enable_validation)
            raise MisconfigurationException(why)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so if the metric never came because validation never ran."""
        if not self._seen and trainer.current_epoch > 0 and not trainer.fast_dev_run and not trainer.interrupted:
            settings.warn_of_missing(self.monitor, self.interval, self._available)

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
            self._restart_motion()
            return self._act(trainer, pl_module, ended) if ended is not None else False
        if self._best is not None:
            self._best.observe(value, pl_module)
        if self._train_losses is not None:
            self._train_losses.close(trainer.strategy)
        decision = self._decide(trainer, value, at)
        settings.warn_of_noise(self.monitor, self._state, decision, self._warned)
        before, self._told = self._told, plateau_waits.told(self._told, decision)
        if decision.action != "keep":
            return self._act(trainer, pl_module, decision)
        if len(self._told) > len(before):
            reason = log.reason_of(decision, self._rule.name, self._train_losses)
            self._record(trainer, decision, reason, settings.unchanged(self._optimizers(trainer)), 1.0)
        elif decision.cause == "kick" and self.verbose:
            log.say(self.monitor, decision.reason)
        return False

    def _decide(self, trainer: Trainer, value: float, at: float) -> Decision:
        end = self._end(trainer)
        # The weights are those of now, also where the value is some steps old.
        drift = None
        if self._gate is not None:
            drift = self._gate.look(trainer, self._optimizers(trainer), float(self._batches), end)
        gradients = self._gradients.look(trainer) if self._gradients is not None else None
        self._state, decision = plateau.observe(self._rule, self._state, value, at, end, drift, gradients)
        if decision.action != "keep" and decision.cause != "endgame":
            self._restart_motion()
        return decision

    def _restart_motion(self) -> None:
        for followed in (self._gate, self._gradients):
            if followed is not None:
                followed.restart()

    def _warming(self, trainer: Trainer) -> bool:
        """Whether values don't count yet: inside of ``warmup``, or while the schedule raises the LR."""
        now, before = settings.schedule_lr(self._optimizers(trainer)), self._schedule_lr
        self._schedule_lr = now
        end = self._end(trainer)
        limit = self.warmup if isinstance(self.warmup, int) else self.warmup * (end or 0.0)
        return self._batches <= limit if limit else before is not None and now > before * (1 + 1e-6)

    def _end(self, trainer: Trainer) -> float | None:
        """Where the run is planned to end, in batches."""
        if self.horizon == "unknown" or any(isinstance(c, EarlyStopping) for c in trainer.callbacks):
            return None
        return source.planned_batches(trainer, self._batches)

    def _act(self, trainer: Trainer, pl_module: LightningModule, decision: Decision) -> bool:
        eps = least_change(self._rule.name, self._settings["eps"])
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        written = self._writer.apply(decision, self._optimizers(trainer), schedulers, self.min_lr, eps)
        if not written:
            if "min_lr" not in self._warned:
                rank_zero_info(f"PlateauDecay: {decision.reason}, but {settings.why_unchanged(self.min_lr, eps)}")
            self._warned.add("min_lr")
            return False
        self.factor_so_far *= written.multiplier if written.lrs else 1.0
        reason = log.reason_of(decision, self._rule.name, self._train_losses, written.momentum)
        if self._best is not None and decision.action == "decay" and decision.cause != "endgame":
            restored = self._best.restore(trainer, pl_module)
            reason += f"; {restored}" if restored else ""
        change = written.lrs[0] if written.lrs else settings.unchanged(self._optimizers(trainer))
        self._record(trainer, decision, reason, change, written.multiplier if written.lrs else 1.0)
        return True

    def _record(
        self, trainer: Trainer, decision: Decision, reason: str, change: param_groups.LRChange, factor: float
    ) -> None:
        self.history.append(log.record(trainer, self.monitor, decision, reason, change, factor, self.verbose))

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
