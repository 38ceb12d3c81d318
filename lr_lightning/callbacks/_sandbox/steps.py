"""Optimizer steps at given LRs inside of a sandbox, with the losses of all ranks read once a window."""

import contextlib
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from lightning.pytorch.utilities.memory import is_oom_error
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from lr_lightning.callbacks._sandbox.agreement import all_raised
from lr_lightning.callbacks._sandbox.backward import BackwardLosses
from lr_lightning.callbacks._sandbox.ladder_lrs import LadderLRs
from lr_lightning.callbacks._sandbox.sandbox import Sandbox
from lr_lightning.callbacks._sandbox.validation import Validation
from lr_lightning.callbacks._schedulers import all_schedulers
from lr_lightning.optim import param_groups
from lr_lightning.optim.breaking import has_diverged, largest_weight

MAX_SKIPPED = 20
"""Optimizer steps in a row that a GradScaler may skip; its scale has then fallen by a million: gradients are bad."""

MAX_BATCHES = 1000
"""Batches that manual optimization may take for one step: nobody accumulates more, and a step that never comes ends."""

PATIENCE = 100
"""Batches after which a step of one optimizer is enough: another may step once an epoch, or never."""


class Probe(Callback):
    """Sets the LR before each batch and adds the losses up where they are: on the device.

    Args:
        trainer: The fitting trainer.
        optimizers: The optimizers to sweep, all groups at one multiplier.
        capacity: Most optimizer steps between two :meth:`read`.

    Attributes:
        lrs: Who writes the LRs.
        losses: The losses read in the series of steps under way.
        step_samples: Samples in the first optimizer step, of all ranks; known after the first :meth:`read`.
        has_loss: Whether the step under way has had a training loss.
        stepped: Numbers of the swept optimizers that have stepped in the row under way.
    """

    def __init__(self, trainer: Trainer, optimizers: Sequence[Any], capacity: int) -> None:
        self.lrs = LadderLRs(optimizers, all_schedulers(trainer))
        self._device = trainer.strategy.root_device
        dtype = torch.float32 if self._device.type == "mps" else torch.float64
        # Sum of loss * samples, of samples; a row more for the step that looks who else writes the LR.
        self._sums = torch.zeros(capacity + 1, 2, device=self._device, dtype=dtype)
        self._weigh = trainer.world_size > 1 or trainer.accumulate_grad_batches > 1
        self.lr = self.lrs.reference
        self.evaluate: Validation | None = None
        self.row = 0
        self.step_samples = 0
        self.has_loss = False
        self.stepped: set[int] = set()
        self.losses: list[float] = []
        self.backward = BackwardLosses()
        self._samples = 0
        self._reads_iterator = is_param_in_hook_signature(
            trainer.lightning_module.training_step, "dataloader_iter", explicit=True
        )
        swept = [param_groups.unwrap(optimizer) for optimizer in optimizers]
        self._swept = len(swept)
        others = [o for o in map(param_groups.unwrap, trainer.optimizers) if not any(o is one for one in swept)]
        self._largest = largest_weight(swept)
        self._hooks = [
            hook
            for number, optimizer in enumerate([*swept, *others])
            for hook in (
                optimizer.register_step_pre_hook(self.backward.steps),
                optimizer.register_step_post_hook(self._step_counter(number, number < len(swept))),
            )
        ]
        self._optimizers = swept

    def _step_counter(self, number: int, swept: bool) -> Any:
        def count(*_: Any) -> None:
            self.backward.stepped(number, swept)
            if swept:
                self.stepped.add(number)
                self.lrs.check(number)

        return count

    @property
    def complete(self) -> bool:
        """Whether each swept optimizer has stepped."""
        return len(self.stepped) == self._swept

    def close(self) -> None:
        """Take the step counters off the optimizers."""
        for hook in self._hooks:
            hook.remove()

    def begin(self) -> None:
        """Another series of steps begins, from a state that was put back."""
        self.losses = []
        self.lrs.begin()
        self.backward.begin()
        self._sums.zero_()
        self.row, self.has_loss, self.stepped = 0, False, set()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.lrs.write(self.lr)
        self.backward.last, self.backward.first, self.backward.under_way = None, None, False
        if not self._reads_iterator:
            self._count_samples(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.backward.saw(trainer, loss)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.backward.under_way = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        taken = self.backward.take()
        loss = loss if isinstance(loss, Tensor) else taken
        loss = loss if self.backward.first is None else self.backward.first
        if loss is None:
            return
        self.has_loss = True
        if self._reads_iterator:  # only now is it known which batch the step has read
            self._count_samples(batch)
        if self.evaluate is None:
            # Lightning has divided the loss by the accumulation; sums over a window are then the window's mean.
            self._add(loss, float(self._samples), self._share(trainer))
        elif not self.step_samples:
            self.step_samples = self._samples * _replicas(trainer) * self._share(trainer)

    def validate(self) -> None:
        """Take the validation loss of the weights before the step in place of the training loss."""
        if self.evaluate is not None:
            for loss, batch in self.evaluate():
                self._add(loss, float(samples_in(batch)))

    def _add(self, loss: Tensor, weight: float, share: int = 1) -> None:
        self._sums[self.row, 0].add_(loss.detach().to(self._sums.dtype).mean(), alpha=weight)
        self._sums[self.row, 1].add_(weight / share)

    @staticmethod
    def _share(trainer: Trainer) -> int:
        return trainer.accumulate_grad_batches if trainer.lightning_module.automatic_optimization else 1

    def _count_samples(self, batch: Any) -> None:
        if self._weigh or not self._samples:
            self._samples = samples_in(batch)

    def next_row(self) -> None:
        """Close a step's losses."""
        self.row += 1
        self.has_loss, self.stepped = False, set()

    def drop_row(self) -> None:
        """Forget the losses of a step that the GradScaler skipped; a validation loss from before it stays true."""
        self.has_loss, self.stepped = False, set()
        if self.evaluate is None:
            self._sums[self.row].zero_()

    def read(self, trainer: Trainer) -> list[float]:
        """Mean losses of the rows so far, over all ranks: one collective and one copy to the host."""
        window = self._sums[: self.row].clone()
        self._sums.zero_()
        self.row = 0
        rows = trainer.strategy.reduce(window, reduce_op="sum").tolist()
        if not self.step_samples:
            self.step_samples = round(rows[0][1] * self._share(trainer) * _replicas(trainer) / trainer.world_size)
        found = [total / weight if weight else float("nan") for total, weight in rows]
        self.losses += found
        return found

    def diverging(self, trainer: Trainer, error: Exception) -> list[float] | None:
        """What a step that raised leaves of the series: the losses not yet read, then NaN; None: no divergence.

        To be asked on all ranks alike, when all have raised.
        """
        if self.evaluate is not None:
            self.row += 1  # its loss is from before the step
        found = self.read(trainer) if self.row else []
        if (last := self._last_loss(trainer)) is not None:
            found.append(last)
            self.losses.append(last)
        broken = has_diverged(self.losses, self._largest, self._optimizers, error)
        return [*found, math.nan] if trainer.strategy.reduce_boolean_decision(broken, all=False) else None

    def _last_loss(self, trainer: Trainer) -> float | None:
        """Loss of the step that raised, the mean of those ranks that know theirs; None if none does."""
        known = self.evaluate is None and trainer.accumulate_grad_batches == 1 and self.backward.last is not None
        pair = torch.zeros(2, device=self._device)
        if known and self.backward.last is not None:
            pair = torch.stack([self.backward.last.mean().to(pair), torch.ones_like(pair[0])])
        total, count = trainer.strategy.reduce(pair, reduce_op="sum").tolist()
        return total / count if count else None


def _replicas(trainer: Trainer) -> int:
    """Ranks that get data of their own; the ranks of a tensor-parallel group share theirs."""
    return int((trainer.distributed_sampler_kwargs or {}).get("num_replicas", trainer.world_size))


def samples_in(batch: Any) -> int:
    """Samples in a batch as Lightning counts them; 1 if it can't tell."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        return max(1, extract_batch_size(batch))
    return 1


def take_steps(box: Sandbox, probe: Probe, lrs: Sequence[float]) -> list[float]:
    """One optimizer step at each LR; the loss of each is that before its step.

    Args:
        box: The sandbox.
        probe: Its probe.
        lrs: The LRs, in order, at most as many as the probe has room for.

    Returns:
        The losses, read at once. NaN ends them where a GradScaler skipped step after step, or where a step raised
        because the training had diverged; they are fewer where somebody else writes the LR. All ranks hold the same.

    Raises:
        RuntimeError: If the training step gives no loss, or no optimizer step comes about.
    """
    begun = time.monotonic()
    with probe.lrs.held(), box.outside.noting():
        for lr in lrs:
            probe.lr = lr
            try:
                stepped = _one_step(box, probe)
            except Exception as error:
                found = _diverging(box, probe, error, time.monotonic() - begun)
                if found is None:
                    raise
                return found if len(found) <= len(lrs) else [*found[: len(lrs) - 1], math.nan]
            probe.next_row()
            if not stepped or probe.lrs.suspected:
                break
        if probe.lrs.suspected and probe.lrs.other is None:
            with probe.lrs.watched():
                _one_step(box, probe)
            probe.drop_row()
        return probe.read(box.trainer)


def _diverging(box: Sandbox, probe: Probe, error: Exception, window: float) -> list[float] | None:
    """What a step that raised leaves of the series, see :meth:`Probe.diverging`; None: the error is to be raised."""
    if _is_no_divergence(error):
        return None
    if box.trainer.world_size > 1:
        in_backward = probe.backward.under_way
        if not (box.can_break_off(in_backward) and all_raised(box.trainer, window)):
            return None
        box.broke_off(in_backward)
    return probe.diverging(box.trainer, error)


def _is_no_divergence(error: Exception) -> bool:
    return isinstance(error, (SIGTERMException, MisconfigurationException)) or is_oom_error(error)


def _one_step(box: Sandbox, probe: Probe) -> bool:
    """Batches until the optimizers have stepped on a loss. False: a GradScaler skipped step after step.

    A window without a loss (``training_step`` returned None) or without a step (an overflow) counts for nothing: the
    same LR gets another. Manual optimization steps when it likes.
    """
    automatic, windows, stepped = box.trainer.lightning_module.automatic_optimization, 0, False
    most = MAX_SKIPPED if automatic else MAX_BATCHES
    probe.validate()
    while windows < most:
        box.micro_batch()
        if not box.window_closed:
            continue
        windows += 1
        if probe.has_loss and (probe.complete or (probe.stepped and windows >= PATIENCE)):
            return True
        stepped = stepped or bool(probe.stepped)
        if automatic:
            probe.drop_row()
    if getattr(box.trainer.precision_plugin, "scaler", None) is None:
        what = "no loss" if stepped else "no optimizer step"
        raise RuntimeError(
            f"{what} in {most} training batches: the range test has no curve. Does training_step return None, "
            "or (manual optimization) step another optimizer than the one that is swept?"
        )
    return False
