"""The range test for plain PyTorch: the same protocol and rules as the Lightning callback, in a small loop."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lr_lightning.optim.batches import can_copy, copy_batch
from lr_lightning.optim.param_groups import adaptive, momentum, reference_lr, set_lr, unwrap
from lr_lightning.optim.rng import rng_state
from lr_lightning.optim.snapshot import Snapshot
from lr_lightning.rules.checks import check_count, check_flag, shown
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.range_test.protocol import Steps, SweepSettings, Training
from lr_lightning.rules.range_test.readings import ReadingRule
from lr_lightning.rules.range_test.result import RangeTestResult

LossFunction = Callable[[nn.Module, Any], Tensor]


_GENERATORS = ("generator", "sampler.generator", "batch_sampler.generator", "batch_sampler.sampler.generator")


class State:
    """Model, optimizer and the process's random numbers; :meth:`restore` may be called many times."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._snapshot, self._random = Snapshot(model, [optimizer]), rng_state()

    def restore(self) -> None:
        """Put everything back, in place."""
        self._snapshot.restore()
        self._random()


def loader_generators(loader: Any) -> list[torch.Generator]:
    """The random generators that a DataLoader and its samplers own."""
    found = (
        functools.reduce(lambda owner, name: getattr(owner, name, None), p.split("."), loader) for p in _GENERATORS
    )
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


class Loop:
    """Carries out what the protocol asks, on batches that are fetched once; :meth:`close` leaves no trace.

    Args:
        model: The model, in the mode it trains in.
        optimizer: Its optimizer; all groups keep their ratio to the first one's LR.
        loss_fn: ``loss_fn(model, batch)`` gives the scalar training loss.
        loader: An iterable of batches that can be started anew (a DataLoader, a list).
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, loss_fn: LossFunction, loader: Iterable[Any]) -> None:
        if isinstance(loader, Iterator):  # asking iter() would draw a seed from torch's generator
            raise ValueError(
                "loader must be an iterable that can be started anew, such as a DataLoader, got an iterator"
            )
        self.model, self.optimizer, self.loss_fn = model, unwrap(optimizer), loss_fn
        self.states = {protocol.START: State(model, self.optimizer)}
        self.generators = [(g, g.get_state()) for g in loader_generators(loader)]
        reference = reference_lr([self.optimizer])
        self.ratios = [float(group["lr"]) / reference for group in self.optimizer.param_groups]
        self._loader, self._copies = loader, True
        self._iterator, self._batches = iter(loader), list[Any]()

    def fetch(self, count: int) -> int:
        """Keep the first ``count`` batches, or all that there are; returns how many a sweep cycles through.

        Raises:
            ValueError: If there is none.
        """
        self._batches += itertools.islice(self._iterator, max(0, count - len(self._batches)))
        if not self._batches:
            raise ValueError("loader is empty: a range test needs at least one batch")
        self._copies = self._copies and can_copy(self._batches[0])
        if not self._copies:  # those that were looked at would be missing in the order
            self._iterator = iter(self._loader)
        return len(self._batches) if self._copies else 1

    def take(self, steps: Steps) -> list[float]:
        """One optimizer step at each LR; the losses before them."""
        if self._copies:
            self.fetch(steps.first + (steps.cycle or 1))
        if steps.origin is not None:  # after fetching: a loader may draw from the random numbers that come back
            self.states[steps.origin].restore()
        numbers = steps.batches or ()
        losses = [self._step(lr, number) for lr, number in zip(steps.lrs, numbers, strict=True)]
        if steps.keep is not None:
            self.states[steps.keep] = State(self.model, self.optimizer)
        return torch.stack(losses).tolist()

    def close(self) -> None:
        """Put everything back, the loader's generators included."""
        self._iterator = iter(())
        self.states[protocol.START].restore()
        for generator, state in self.generators:
            generator.set_state(state)

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
        for group, ratio in zip(self.optimizer.param_groups, self.ratios, strict=True):
            set_lr(group, lr * ratio)
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.model, self._batch(number))
        torch.autograd.backward(loss)
        before = loss.detach().clone().reshape(())
        self.optimizer.step()
        return before


def range_test(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: LossFunction,
    loader: Iterable[Any],
    *,
    min_lr: float = protocol.MIN_LR,
    max_lr: float = protocol.MAX_LR,
    num_steps: int = protocol.NUM_STEPS,
    spacing: str = "exponential",
    rule: str | Mapping[str, Any] | ReadingRule = "share",
    repeats: int = 1,
    budget: float | int = protocol.BUDGET,
    batch_size: int | None = None,
    train_steps: int | None = None,
    decays: bool = True,
) -> RangeTestResult:
    """Find a learning rate; model, optimizer, random numbers and loader are afterwards as before, bit by bit.

    >>> import torch
    >>> generator = torch.manual_seed(0)
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batches = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(4)]
    >>> def loss(model, batch):
    ...     return torch.nn.functional.mse_loss(model(batch[0]), batch[1])
    >>> result = range_test(model, optimizer, loss, batches)
    >>> result.status, optimizer.param_groups[0]["lr"]
    ('ok', 0.1)

    Args:
        model: The model, in the mode it trains in.
        optimizer: Its optimizer. The ladder holds for the first group; the others keep their ratio to it.
        loss_fn: ``loss_fn(model, batch)`` gives the scalar training loss.
        loader: An iterable of batches that can be started anew (a DataLoader, a list).
        min_lr: First LR of the ladder.
        max_lr: Last LR of the ladder.
        num_steps: Steps of the ladder.
        spacing: ``"exponential"`` or ``"linear"``.
        rule: How the curve is read: ``"share"``, or a classic reading, ``"midpoint"``, ``"steepest"``, ``"valley"``,
            ``"minimum"``, which is given as it is, without trials; or a mapping with the expert's settings of
            :class:`~lr_lightning.rules.range_test.readings.ReadingRule`.
        repeats: Sweeps in all; further ones use the next batches and narrow (or honestly widen) the interval.
        budget: Most optimizer steps that the test may take: a float is a share of ``train_steps``, an int a number of
            steps. The sweeps always take theirs; with at least 50 more, and ``decays``, trials follow. 0: none.
        batch_size: Samples per step, for the record.
        train_steps: Optimizer steps of the run to come, if known; see ``budget`` and ``decays``.
        decays: Whether a schedule will lower the LR. If not, the suggestion is the one for constant LR.

    Returns:
        The result. Apply it with
        ``lr_lightning.optim.param_groups.rescale([optimizer], schedulers, result.suggestion)``.

    Raises:
        ValueError: If an argument is out of range, the loader empty or an iterator, or the rule unknown.
    """
    settings = SweepSettings(min_lr, max_lr, num_steps, spacing, rule, repeats, budget=budget)
    check_flag("decays", decays)
    for name, value in (("batch_size", batch_size), ("train_steps", train_steps)):
        if value is not None:
            check_count(name, value, 1)
    _check_parties(model, optimizer, loss_fn, loader)
    loop = Loop(model, optimizer, loss_fn, loader)
    try:
        largest = max(map(momentum, loop.optimizer.param_groups))
        batches = loop.fetch(protocol.CYCLED_BATCHES)
        divides = any(map(adaptive, loop.optimizer.param_groups))
        asks = protocol.range_test(settings, Training(batches, largest, train_steps, decays, divides))
        return replace(protocol.carry_out(asks, loop.take), batch_size=batch_size)
    finally:
        loop.close()


def _check_parties(model: object, optimizer: object, loss_fn: object, loader: object) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch module, got {shown(model)}")
    if not isinstance(unwrap(optimizer), Optimizer):
        raise ValueError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
    if not callable(loss_fn):
        raise ValueError(f"loss_fn must be a function of model and batch, got {shown(loss_fn)}")
    if isinstance(loader, (str, bytes)) or not isinstance(loader, Iterable):
        raise ValueError(f"loader must be an iterable of batches, such as a DataLoader, got {shown(loader)}")
