"""The range test for plain PyTorch: the same protocol and rules as the Lightning callback, in a small loop."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from lr_lightning.optim.batches import can_copy, copy_batch
from lr_lightning.optim.breaking import has_diverged, is_out_of_memory, largest_weight
from lr_lightning.optim.param_groups import adaptive, momentum, peak_lrs, reference_lr, set_lr, unwrap
from lr_lightning.optim.process import process_state
from lr_lightning.optim.snapshot import Kept, Outside, Snapshot, in_words
from lr_lightning.optim.stepping import LossFunction, Stepper, climb, loss_of_batch, needs_closure
from lr_lightning.rules.checks import check_count, check_flag, shown
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.range_test.protocol import Steps, SweepSettings, Training
from lr_lightning.rules.range_test.readings import ReadingRule
from lr_lightning.rules.range_test.result import RangeTestResult

VALIDATION_BATCHES = 4
"""Batches of ``val_loader`` that are read before each step; the callback's default is as small (a choice)."""


class State:
    """Model, optimizer, scaler, the loss, and the process's random numbers and settings; to be restored many times."""

    def __init__(self, model: nn.Module, optimizer: Any, loss_fn: Callable[..., Tensor], scaler: Any = None) -> None:
        others = {"loss_fn": loss_fn} if scaler is None else {"loss_fn": loss_fn, "scaler": scaler}
        self.snapshot, self._process = Snapshot(model, [optimizer], others=others), process_state()

    def restore(self) -> None:
        """Put everything back, in place."""
        self.snapshot.restore()
        self._process()


class Loop:
    """Carries out what the protocol asks, on batches that are fetched once; :meth:`close` leaves no trace.

    Args:
        model: The model, in the mode it trains in.
        optimizer: Its optimizer; all groups keep their ratio to the first one's LR.
        loss_fn: The training loss of a batch, or a criterion.
        loader: An iterable of batches that can be started anew (a DataLoader, a list).
        accumulate: Batches of the loader to an optimizer step.
        val_loader: Whose loss is read in place of the training loss, or None.
        step: How the other settings of a step are: arguments of :class:`~lr_lightning.optim.stepping.Stepper`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: LossFunction,
        loader: Iterable[Any],
        accumulate: int = 1,
        val_loader: Iterable[Any] | None = None,
        **step: Any,
    ) -> None:
        if isinstance(loader, Iterator):  # asking iter() would draw a seed from torch's generator
            raise ValueError(
                "loader must be an iterable that can be started anew, such as a DataLoader, got an iterator"
            )
        self.model, self.optimizer, self.loss_fn = model, optimizer, loss_fn
        self.accumulate, self.stepper = accumulate, Stepper(model, optimizer, loss_of_batch(loss_fn), **step)
        loaders = {"loader": loader} if val_loader is None else {"loader": loader, "val_loader": val_loader}
        start = self._state()
        self.states, self.data = {protocol.START: start}, Kept(loaders, data=True, beside=start.snapshot)
        self.outside = Outside()
        # Peak over peak: what a scheduler has made of the LRs before the test doesn't matter.
        reference = reference_lr([optimizer])
        self.ratios = [peak / reference for peak in peak_lrs(optimizer)]
        self.factors: Sequence[float] = ()
        self._losses, self._largest = list[float](), largest_weight([optimizer])
        if val_loader is not None:
            self.stepper.evaluate_on = list(itertools.islice(iter(val_loader), VALIDATION_BATCHES))
        self._loader, self._copies = loader, True
        self._iterator, self._batches = iter(loader), list[Any]()

    def fetch(self, count: int) -> int:
        """Keep the batches of the first ``count`` steps, or all; returns how many steps a sweep cycles through.

        Raises:
            ValueError: If there is none.
        """
        self._batches += itertools.islice(self._iterator, max(0, count * self.accumulate - len(self._batches)))
        if not self._batches:
            raise ValueError("loader is empty: a range test needs at least one batch")
        self._copies = self._copies and can_copy(self._batches[0])
        if not self._copies:  # those that were looked at would be missing in the order
            self._iterator = iter(self._loader)
        return max(1, len(self._batches) // self.accumulate) if self._copies else 1

    def take(self, steps: Steps) -> list[float]:
        """One optimizer step at each LR; the losses before them."""
        if self._copies:
            self.fetch(steps.first + (steps.cycle or 1))
        if steps.origin is not None:  # after fetching: a loader may draw from the random numbers that come back
            self.states[steps.origin].restore()
        numbers = steps.batches or ()
        self.factors = steps.factors or [1.0] * len(self.ratios)
        before = [] if steps.origin is not None else self._losses
        losses: list[Tensor] = []
        for lr, number, last in zip(steps.lrs, numbers, [None, *steps.lrs[:-1]], strict=True):
            climb(unwrap(self.optimizer), last, lr)
            try:
                losses.append(self._step(lr, number))
            except Exception as error:
                found = [loss.item() for loss in losses]
                if not self._broke_off([*before, *found], error):
                    raise
                return [*found, math.nan]
        if steps.keep is not None:
            self.states[steps.keep] = self._state()
        found = torch.stack(losses).tolist()
        self._losses = [*before, *found]
        return found

    def _broke_off(self, losses: Sequence[float], error: Exception) -> bool:
        """Whether a step raised because the training had diverged; of several processes this one can't tell."""
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if several or is_out_of_memory(error):
            return False
        return has_diverged(losses, self._largest, [self.optimizer], error)

    def close(self) -> None:
        """Put everything back, the loader's own state included, and name in a warning what can't be."""
        self._iterator = iter(())
        start = self.states[protocol.START]
        start.restore()
        self.data.restore()
        if words := in_words([*start.snapshot.left(), *self.data.left(), *self.outside.left()]):
            warnings.warn(words, stacklevel=3)

    def _state(self) -> State:
        return State(self.model, self.optimizer, self.loss_fn, self.stepper.scaler)

    def _batch(self, number: int) -> Any:
        """A copy, for a step may change its batch in place; what can't be copied is fetched anew, the next in order."""
        if self._copies:
            return copy_batch(self._batches[number % len(self._batches)])
        for iterator in (self._iterator, iter(self._loader)):
            self._iterator = iterator
            for batch in iterator:
                return batch
        raise ValueError("loader gave batches once and is empty when it is started anew")

    def _step(self, lr: float, number: int) -> Tensor:
        for group, ratio, factor in zip(self.optimizer.param_groups, self.ratios, self.factors, strict=True):
            set_lr(group, lr * ratio * factor)
        places = range(number * self.accumulate, (number + 1) * self.accumulate)
        return self.stepper([self._batch(place) for place in places])


def range_test(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Tensor],
    loader: Iterable[Any],
    *,
    min_lr: float = protocol.MIN_LR,
    max_lr: float = protocol.MAX_LR,
    num_steps: int = protocol.NUM_STEPS,
    spacing: str = "exponential",
    rule: str | Mapping[str, Any] | ReadingRule = "share",
    repeats: int = 1,
    budget: int | float = protocol.BUDGET,
    batch_size: int | None = None,
    train_steps: int | None = None,
    decays: bool = True,
    val_loader: Iterable[Any] | None = None,
    accumulate_grad_batches: int = 1,
    scaler: Any = None,
    autocast: torch.dtype | None = None,
) -> RangeTestResult:
    """Find a learning rate; model, optimizer, random numbers and loader are afterwards as before, bit by bit.

    >>> import torch
    >>> generator = torch.manual_seed(0)
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batches = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(4)]
    >>> def loss(model, batch):
    ...     return torch.nn.functional.mse_loss(model(batch[0]), batch[1])
    >>> result = range_test(model, optimizer, loss, batches)  # or torch.nn.MSELoss() in place of loss
    >>> result.status, optimizer.param_groups[0]["lr"]
    ('ok', 0.1)

    Args:
        model: The model, in the mode it trains in.
        optimizer: Its optimizer. The ladder holds for the first group; the others keep their ratio to it.
        loss_fn: ``loss_fn(model, batch)`` gives the scalar training loss. A module, or a function whose second
            argument is named ``target`` or the like, is taken for a criterion of the model's output and the target
            (``nn.MSELoss()``) on batches ``(input, target)``; which it is taken for is logged (logger
            ``lr_lightning.optim.stepping``, level INFO).
        loader: An iterable of batches that can be started anew (a DataLoader, a list).
        min_lr: First LR of the ladder.
        max_lr: Last LR of the ladder.
        num_steps: Steps of the ladder.
        spacing: ``"exponential"`` or ``"linear"``.
        rule: How the curve is read: ``"share"``, or a classic reading, ``"midpoint"``, ``"steepest"``, ``"valley"``,
            ``"minimum"``, which is given as it is, without trials; or a mapping with the expert's settings of
            :class:`~lr_lightning.rules.range_test.readings.ReadingRule`.
        repeats: Sweeps in all; further ones use the next batches and narrow (or honestly widen) the interval.
        budget: Most optimizer steps that the test may take: a float is a share of ``train_steps`` (450 steps at most),
            an int a number of steps. The sweeps always take theirs; with at least 100 more, and ``decays``, trials
            follow, under Adam and its kin only where the loss falls by less than 12 % in the sweep. 0: none.
        batch_size: Samples per step, for the record.
        train_steps: Optimizer steps of the run to come, if known; see ``budget`` and ``decays``.
        decays: Whether a schedule will lower the LR. If not, the suggestion is the one for constant LR.
        val_loader: Read the loss of its first batches, in evaluation mode, in place of the training loss.
        accumulate_grad_batches: Batches of the loader to an optimizer step; its loss is their mean.
        scaler: The GradScaler of the training to come; its state is put back as well.
        autocast: Type of the forward pass, such as ``torch.bfloat16``, on the model's device.

    Returns:
        The result. Apply it with
        ``lr_lightning.optim.param_groups.rescale([optimizer], schedulers, result.suggestion, result.group_factors)``.

    Raises:
        ValueError: If an argument is out of range, the loader empty or an iterator, or the rule unknown.
    """
    settings = SweepSettings(min_lr, max_lr, num_steps, spacing, rule, repeats, budget=budget)
    check_flag("decays", decays)
    for name, value in (("batch_size", batch_size), ("train_steps", train_steps)):
        if value is not None:
            check_count(name, value, 1)
    check_count("accumulate_grad_batches", accumulate_grad_batches, 1)
    _check_parties(model, optimizer, loss_fn, loader)
    _check_step(optimizer, val_loader, scaler, autocast)
    loop = Loop(
        model, optimizer, loss_fn, loader, accumulate_grad_batches, val_loader, scaler=scaler, autocast=autocast
    )
    with loop.outside.noting():
        try:
            return replace(_swept(loop, settings, val_loader, train_steps, decays), batch_size=batch_size)
        finally:
            loop.close()


def _swept(
    loop: Loop, settings: SweepSettings, val_loader: Any, train_steps: int | None, decays: bool
) -> RangeTestResult:
    if val_loader is not None and not loop.stepper.evaluate_on:
        raise ValueError("val_loader is empty: reading the validation loss needs at least one batch")
    groups = loop.optimizer.param_groups
    largest, divides = max(map(momentum, groups)), any(map(adaptive, groups))
    batches, lrs = loop.fetch(protocol.CYCLED_BATCHES), tuple(map(float, peak_lrs(loop.optimizer)))
    asks = protocol.range_test(settings, Training(batches, largest, train_steps, decays, divides, lrs))
    return protocol.carry_out(asks, loop.take)


def _check_parties(model: object, optimizer: object, loss_fn: object, loader: object) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch module, got {shown(model)}")
    if not isinstance(unwrap(optimizer), Optimizer):
        raise ValueError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
    if not callable(loss_fn):
        raise ValueError(f"loss_fn must be a function of model and batch, got {shown(loss_fn)}")
    if isinstance(loader, (str, bytes)) or not isinstance(loader, Iterable):
        raise ValueError(f"loader must be an iterable of batches, such as a DataLoader, got {shown(loader)}")


def _check_step(optimizer: Any, val_loader: Any, scaler: Any, autocast: Any) -> None:
    if scaler is not None:
        if not all(hasattr(scaler, name) for name in ("scale", "step", "update")):
            raise ValueError(f"scaler must be a GradScaler or None, got {shown(scaler)}")
        if needs_closure(unwrap(optimizer)):
            raise ValueError(f"a GradScaler can't step {type(unwrap(optimizer)).__name__}, which needs a closure")
    if autocast is not None and not (isinstance(autocast, torch.dtype) and autocast.is_floating_point):
        raise ValueError(f"autocast must be a floating-point torch.dtype or None, got {shown(autocast)}")
    one_shot = isinstance(val_loader, (str, bytes, Iterator, Tensor))
    if val_loader is not None and (one_shot or not isinstance(val_loader, Iterable)):
        raise ValueError(
            f"val_loader must be an iterable of batches that can be started anew, or None, got {shown(val_loader)}"
        )
