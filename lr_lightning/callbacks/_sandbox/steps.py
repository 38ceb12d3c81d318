"""Optimizer steps at given LRs inside of a sandbox, with the losses of all ranks read once a window."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from lr_lightning.callbacks._sandbox.sandbox import Sandbox, Validation
from lr_lightning.callbacks._schedulers import all_schedulers
from lr_lightning.optim import param_groups

MAX_SKIPPED = 20
"""Optimizer steps in a row that a GradScaler may skip; its scale has then fallen by a million: gradients are bad."""


class Probe(Callback):
    """Sets the LR before each batch and adds the losses up where they are: on the device.

    Args:
        trainer: The fitting trainer.
        optimizers: The optimizers to sweep, all groups at one multiplier.
        capacity: Most optimizer steps between two :meth:`read`.

    Attributes:
        step_samples: Samples in the first optimizer step, of all ranks; known after the first :meth:`read`.
        has_loss: Whether the step under way has had a training loss.
    """

    def __init__(self, trainer: Trainer, optimizers: Sequence[Any], capacity: int) -> None:
        schedulers = all_schedulers(trainer)
        reference = param_groups.reference_lr(optimizers, schedulers)
        self._groups = [
            (group, peak / reference)
            for optimizer in optimizers
            for group, peak in zip(optimizer.param_groups, param_groups.peak_lrs(optimizer, schedulers), strict=True)
        ]
        self._device = trainer.strategy.root_device
        dtype = torch.float32 if self._device.type == "mps" else torch.float64
        self._sums = torch.zeros(capacity, 2, device=self._device, dtype=dtype)  # sum of loss * samples, of samples
        self._weigh = trainer.world_size > 1 or trainer.accumulate_grad_batches > 1
        self.lr = reference
        self.evaluate: Validation | None = None
        self.row = 0
        self.steps = 0
        self.step_samples = 0
        self.has_loss = False
        self._samples = 0
        self._reads_iterator = is_param_in_hook_signature(
            trainer.lightning_module.training_step, "dataloader_iter", explicit=True
        )
        self._hooks = [
            param_groups.unwrap(optimizer).register_step_post_hook(self._count_step) for optimizer in optimizers
        ]

    def _count_step(self, *_: Any) -> None:
        self.steps += 1

    def close(self) -> None:
        """Take the step counters off the optimizers."""
        for hook in self._hooks:
            hook.remove()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for group, ratio in self._groups:
            param_groups.set_lr(group, self.lr * ratio)
        if not self._reads_iterator:
            self._count_samples(batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
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
        self.has_loss = False

    def drop_row(self) -> None:
        """Forget the losses of a step that the GradScaler skipped; a validation loss from before it stays true."""
        self.has_loss = False
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
        return [total / weight if weight else float("nan") for total, weight in rows]


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
        The losses, read at once. NaN ends them where a GradScaler skipped step after step. All ranks hold the same.

    Raises:
        RuntimeError: If the training step gives no loss, or no optimizer step comes about.
    """
    for lr in lrs:
        probe.lr = lr
        stepped = _one_step(box, probe)
        probe.next_row()
        if not stepped:
            break
    return probe.read(box.trainer)


def _one_step(box: Sandbox, probe: Probe) -> bool:
    """Batches until the optimizer has stepped on a loss. False: a GradScaler skipped step after step.

    A window without a loss (``training_step`` returned None) or without a step (an overflow) counts for nothing: the
    same LR gets another.
    """
    before, windows = probe.steps, 0
    probe.validate()
    while windows < MAX_SKIPPED:
        box.micro_batch()
        if not box.window_closed:
            continue
        windows += 1
        if probe.steps > before and probe.has_loss:
            return True
        if box.trainer.lightning_module.automatic_optimization:
            probe.drop_row()
    if getattr(box.trainer.precision_plugin, "scaler", None) is None:
        what = "no loss" if probe.steps > before else "no optimizer step"
        raise RuntimeError(
            f"{what} in {MAX_SKIPPED} training batches: the range test has no curve. Does training_step return None, "
            "or (manual optimization) step another optimizer than the one that is swept?"
        )
    return False
