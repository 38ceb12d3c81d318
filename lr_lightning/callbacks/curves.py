"""LRCurves: learning rates and the loss, in every logger and in the "Learning rate" tab."""

import math
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from lr_lightning.callbacks._curves import Mean, Point, Track, gradient_norm, numbers, resolve, tracks
from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox.sandbox import logging_step
from lr_lightning.optim.schedulers import unwrap
from lr_lightning.reporting import events, records
from lr_lightning.reporting.hparams import write_hparams
from lr_lightning.rules.checks import check_count, check_flag, check_name

LOSS = "curves/loss"
GRAD_NORM = "curves/grad_norm"
_JUMPS, _STEPS_A_JUMP = 2, 4
"""Changes of an LR between two points that get points of their own: two, or one in so many steps, as in short epochs;
more are a smooth schedule, which needs none."""


_Hook = Callable[..., None]


def _harmless(hook: _Hook) -> _Hook:
    """Curves are for looking at: an error in them ends the curves, not the fit, and hides no other error.

    Among several ranks it is raised: the others wait for this one's sums, and a rank that is silent would hang them.
    """

    @wraps(hook)
    def run(self: "LRCurves", trainer: Trainer, *args: Any, **options: Any) -> None:
        if self._failed:
            return
        try:
            hook(self, trainer, *args, **options)
        except Exception as error:
            if trainer.world_size > 1 and hook.__name__ != "on_exception":
                raise
            self._failed = True
            rank_zero_warn(f"LRCurves: no more curves of this fit: {type(error).__name__}: {error}")

    return run


class LRCurves(Callback):
    """Logs each param group's LR, with or without a scheduler, and the training loss.

    Tags are those of Lightning's ``LearningRateMonitor``: ``lr-AdamW``, ``lr-AdamW/pg1``, ``lr-AdamW/<group
    name>``, or the scheduler config's ``name``. The LR is read right before each optimizer step, so it is the one
    the step uses, whoever set it; ``trainer.callback_metrics`` has it too, for ``EarlyStopping`` or
    ``ModelCheckpoint``. Values are collected where they are and written every ``log_every_n_steps`` steps, with one
    transfer from the device: the loss is the mean since the last point, over ranks as well; an LR that jumped in
    between, as at each of some short epochs, has a point at the exact step of the jump. At the end of the fit the
    HParams tab gets the run's row, with the LR found by a range test and its zone; each scalar of the run is a metric
    there by itself. For that, build the logger with ``TensorBoardLogger(default_hp_metric=False)``: otherwise Lightning
    has written the row before, and TensorBoard keeps the first.

    Args:
        loss: Whether to log the training loss as ``curves/loss``.
        momentum: Whether to log momentum, or Adam's beta1, as ``<tag>-momentum``.
        weight_decay: Whether to log weight decay as ``<tag>-weight_decay``.
        grad_norm: Whether to log the mean 2-norm of all gradients before clipping as ``curves/grad_norm``; costs one
            pass over the gradients a step. Where gradients are sharded it is the norm of a rank's share.
        effective_lr: Whether to log ``<tag>-effective`` for optimizers that scale their LR by an estimate ``d`` in the
            param group (Prodigy, D-Adaptation).
        hparams: Whether to write the row of the HParams tab.
        log_key_prefix: Put in front of the LRs' tags.
        every_n_steps: Steps between two points; None takes the trainer's ``log_every_n_steps``. Points are written at
            ``log_every_n_steps`` either way: 1 gives every step its own point without more transfers.

    Raises:
        ValueError: If a flag isn't a bool, the prefix isn't a printable string, or ``every_n_steps`` isn't a positive
            integer.

    >>> LRCurves(momentum=True, every_n_steps=1).every_n_steps
    1
    """

    def __init__(
        self,
        *,
        loss: bool = True,
        momentum: bool = False,
        weight_decay: bool = False,
        grad_norm: bool = False,
        effective_lr: bool = True,
        hparams: bool = True,
        log_key_prefix: str = "",
        every_n_steps: int | None = None,
    ) -> None:
        flags = {"loss": loss, "momentum": momentum, "weight_decay": weight_decay, "grad_norm": grad_norm}
        for name, value in {**flags, "effective_lr": effective_lr, "hparams": hparams}.items():
            check_flag(name, value)
        if every_n_steps is not None:
            check_count("every_n_steps", every_n_steps, 1)
        self.loss, self.momentum, self.weight_decay, self.grad_norm = loss, momentum, weight_decay, grad_norm
        self.effective_lr, self.hparams, self.every_n_steps = effective_lr, hparams, every_n_steps
        if not (isinstance(log_key_prefix, str) and log_key_prefix == ""):
            check_name("log_key_prefix", log_key_prefix, "a string")
        self.log_key_prefix = log_key_prefix
        self._means = {tag: Mean() for tag, on in ((LOSS, loss), (GRAD_NORM, grad_norm)) if on}
        self._tracks: dict[int, Track] = {}
        self._points: list[Point] = []
        self._stepped = False
        self._written = -1
        self._last_loss = math.nan
        self._failed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that this release of Lightning has what is read from it."""
        if stage == "fit":
            _internals.require(trainer, "LRCurves", _internals.STEP)

    @_harmless
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the groups and announce the tags to the tab."""
        self._failed = False
        for mean in self._means.values():
            mean.take()
        self._points, self._tracks, self._stepped, self._last_loss = [], {}, False, math.nan
        self._written = logging_step(trainer) - 1
        if not trainer.loggers:
            rank_zero_info("LRCurves: the Trainer has no logger, so no curves are kept")
        self._name(trainer)
        if self.momentum:
            self._warn_of_none()

    @_harmless
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the first step of the epoch, so that curves can be drawn over epochs."""
        self._share(trainer, newest=False)
        if trainer.is_global_zero:
            for logger, writer in events.tensorboards(trainer):
                tag = events.prefixed(logger, "epoch")
                events.guard(logger, partial(writer.add_scalar, tag, trainer.current_epoch, logging_step(trainer)))

    @_harmless
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note the LRs of the step that comes, and the gradient norm on request."""
        self._stepped = True
        optimizer = unwrap(optimizer)
        track = self._tracks.get(id(optimizer))
        if track is None or not track.fits():
            self._name(trainer)
            track = self._tracks.get(id(optimizer))
        if track is None:  # one that the trainer doesn't know
            return
        lrs = track.groups_lrs()
        if track.tensors:
            if self._due(trainer, logging_step(trainer)):
                track.lrs = [lr.detach().clone() if isinstance(lr, Tensor) else lr for lr in lrs]
        elif lrs != track.lrs:
            track.lrs = lrs
            track.changes.append((logging_step(trainer), lrs))
        if self.grad_norm and (norm := gradient_norm(optimizer)) is not None:
            self._means[GRAD_NORM].add(norm)

    @_harmless
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss on its device; write at ``log_every_n_steps``."""
        if self.loss and (loss := _loss(outputs)) is not None:
            self._means[LOSS].add(loss)
        if self._stepped or not pl_module.automatic_optimization:
            self._stepped = False
            step = logging_step(trainer)
            if self._due(trainer, step):
                self._take(step)
                if (step + 1) % trainer.log_every_n_steps == 0:
                    self._write(trainer)
                    self._share(trainer)
        if trainer.is_last_batch:
            self._share(trainer)

    @_harmless
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let what looks at metrics after a validation find the LRs."""
        if trainer.training or trainer.validating:
            self._share(trainer)

    @_harmless
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is left."""
        self._rest(trainer)
        self._announce(trainer, "done")

    @_harmless
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is left: the last steps before a crash are the ones to look at. No collective: ranks may hang."""
        if trainer.training and self._tracks:  # the fit has begun
            self._rest(trainer, reduce=False)
            self._announce(trainer, "stopped")

    @_harmless
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of the HParams tab."""
        if self.hparams and trainer.is_global_zero:
            diverged = not math.isfinite(self._last_loss) if self.loss else None
            write_hparams(trainer, logging_step(trainer), diverged=diverged)

    def _due(self, trainer: Trainer, step: int) -> bool:
        every = trainer.log_every_n_steps
        return every > 0 and ((step + 1) % every == 0 or (step + 1) % (self.every_n_steps or every) == 0)

    def _name(self, trainer: Trainer) -> None:
        """Name the groups anew; an optimizer whose groups grew starts with its present LRs."""
        before, self._tracks = self._tracks, tracks(trainer, self.log_key_prefix)
        for key, track in self._tracks.items():
            if key in before and before[key].names == track.names:
                self._tracks[key] = before[key]
        self._announce(trainer, "running")

    def _announce(self, trainer: Trainer, status: str) -> None:
        """Tell the tab which tags are LRs, and whether the run goes on; each logger may have a prefix of its own."""
        if not trainer.is_global_zero:
            return
        names = [name for track in self._tracks.values() for name in track.names]
        for logger, writer in events.tensorboards(trainer):
            body = {"lr": [events.prefixed(logger, name) for name in names], "status": status}
            summary = records.json_summary(f"{records.CURVES}/record", records.CURVES, body)
            events.guard(logger, partial(events.add_summary, writer, summary, logging_step(trainer)))

    def _take(self, step: int) -> None:
        """Make a point at ``step``, and one at each jump before it."""
        scalars: dict[str, Any] = {}
        steps = step - (self._points[-1].step if self._points else self._written)
        for track in self._tracks.values():
            if not track.fits():  # new groups of an optimizer that hasn't stepped since
                continue
            if self.every_n_steps is None and len(track.changes) <= max(_JUMPS, steps // _STEPS_A_JUMP):
                for at, lrs in track.changes:
                    if at < step:
                        self._points.append(Point(at, numbers(dict(zip(track.names, lrs, strict=True)))))
            track.changes = []
            scalars.update(zip(track.names, track.current(), strict=True))
            for name, group in zip(track.names, track.optimizer.param_groups, strict=True):
                scalars.update(self._extras(name, group, scalars[name]))
        scalars = numbers(scalars)
        self._points.append(Point(step, scalars, {tag: mean.take() for tag, mean in self._means.items()}))

    def _extras(self, name: str, group: Mapping[str, Any], lr: Any) -> dict[str, Any]:
        found = {}
        if self.momentum:
            found[f"{name}-momentum"] = group["betas"][0] if "betas" in group else group.get("momentum", 0.0)
        if self.weight_decay:
            found[f"{name}-weight_decay"] = group.get("weight_decay", 0.0)
        if self.effective_lr and lr is not None and isinstance(group.get("d"), (float, Tensor)):
            found[f"{name}-effective"] = lr * group["d"]
        return found

    def _share(self, trainer: Trainer, newest: bool = True) -> None:
        """Put the LRs, as the newest step or as the next one has them, where callbacks look for metrics."""
        found: dict[str, Any] = {}
        for track in self._tracks.values():
            if track.fits():
                lrs = track.current() if newest else track.groups_lrs()
                for name, lr, group in zip(track.names, lrs, track.optimizer.param_groups, strict=True):
                    found |= {name: lr, **self._extras(name, group, lr)}
        found = numbers(found)
        device = trainer.strategy.root_device
        # A tensor is copied: the LR in it changes in place.
        trainer.callback_metrics.update(
            {
                k: v.detach().clone() if isinstance(v, Tensor) else torch.tensor(v, device=device)
                for k, v in found.items()
            }
        )

    def _warn_of_none(self) -> None:
        lacking = {
            type(track.optimizer).__name__
            for track in self._tracks.values()
            for group in track.optimizer.param_groups
            if not {"momentum", "betas"} & group.keys()
        }
        if lacking:
            listed = ", ".join(sorted(lacking))
            rank_zero_warn(
                f"LRCurves: momentum=True, but some optimizers do not have momentum ({listed}): theirs is logged as 0",
                category=RuntimeWarning,
            )

    def _rest(self, trainer: Trainer, reduce: bool = True) -> None:
        step = logging_step(trainer) - 1
        if step > self._written and (not self._points or step > self._points[-1].step):
            self._take(step)
        self._write(trainer, reduce)

    def _write(self, trainer: Trainer, reduce: bool = True) -> None:
        """Move the points to the host and log them."""
        points, self._points = sorted(self._points, key=lambda point: point.step), []
        if not points:
            return
        self._written = points[-1].step
        # Lightning divides the loss by the micro-batches of a step; on the mean over micro-batches that is undone.
        scale = trainer.accumulate_grad_batches if trainer.lightning_module.automatic_optimization else 1
        means = resolve(trainer, points, list(self._means), reduce)
        for point, found in zip(points, means, strict=True):
            if LOSS in found:
                self._last_loss = found[LOSS] = found[LOSS] * scale
            scalars = {name: float(value) for name, value in point.scalars.items()}
            events.log_scalars(trainer, {**scalars, **found}, point.step)


def _loss(outputs: Any) -> Tensor | None:
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if loss is None or not isinstance(loss, Tensor):
        return None
    return loss.detach() if loss.requires_grad else loss
