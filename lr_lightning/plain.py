"""The range test for plain PyTorch: the same protocol and rules as the Lightning callback, in a small loop."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lr_lightning._plain_state import Snapshot
from lr_lightning.param_groups import reference_lr, set_lr, unwrap
from lr_lightning.rules import protocol
from lr_lightning.rules.range_test import DEFAULT_RULE, RangeTestResult, analyze, check_rule, diverged
from lr_lightning.rules.sweep import check_count, ladder

LossFunction = Callable[[nn.Module, Any], Tensor]


class Sandbox:
    """Steps from the starting weights, over and over, on the same batches; :meth:`close` leaves no trace.

    Args:
        model: The model, in the mode it trains in.
        optimizer: Its optimizer; all groups keep their ratio to the first one's LR.
        loss_fn: ``loss_fn(model, batch)`` gives the scalar training loss.
        loader: An iterable of batches that can be started anew (a DataLoader, a list).
        num_batches: How many of the first batches are kept and cycled.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, loss_fn: LossFunction, loader: Iterable[Any], num_batches: int
    ) -> None:
        if iter(loader) is loader:
            raise ValueError("loader must be an iterable that can be started anew, such as a DataLoader, got an iterator")
        self.model, self.optimizer, self.loss_fn = model, unwrap(optimizer), loss_fn
        self.snapshot = Snapshot(model, self.optimizer, loader)
        reference = reference_lr([self.optimizer])
        self.ratios = [float(group["lr"]) / reference for group in self.optimizer.param_groups]
        self.batches = list(itertools.islice(iter(loader), num_batches))
        if not self.batches:
            self.snapshot.restore()
            raise ValueError("loader is empty: a range test needs at least one batch")

    def step(self, lr: float, index: int) -> float:
        """One optimizer step at ``lr`` on batch ``index`` (modulo the batches kept); returns the loss before it."""
        for group, ratio in zip(self.optimizer.param_groups, self.ratios, strict=True):
            set_lr(group, lr * ratio)
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.model, self.batches[index % len(self.batches)])
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def sweep(self, lrs: Sequence[float], first: int = 0) -> list[float]:
        """Losses over the ladder, up to the stop."""
        losses: list[float] = []
        for index, lr in enumerate(lrs):
            losses.append(self.step(lr, first + index))
            if index % protocol.WINDOW == protocol.WINDOW - 1 and diverged(losses, planned=len(lrs)):
                break
        return losses

    def rewind(self) -> None:
        """Back to the starting weights, optimizer state and random numbers."""
        self.snapshot.restore_training()

    def close(self) -> None:
        """Put everything back."""
        self.snapshot.restore()


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
    rule: str = DEFAULT_RULE,
    batch_size: int | None = None,
) -> RangeTestResult:
    """Find a learning rate; model, optimizer, random numbers and loader are afterwards as before, bit by bit.

    >>> import torch
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
        rule: Name of the rule that reads the curve.
        batch_size: Samples per step, for the record.

    Returns:
        The result. Apply it with ``lr_lightning.param_groups.rescale([optimizer], schedulers, result.suggestion)``.

    Raises:
        ValueError: If an argument is out of range, the loader empty or an iterator, or the rule unknown.
    """
    check_rule(rule)
    check_count("num_steps", num_steps, 2)
    lrs = ladder(min_lr, max_lr, num_steps, spacing)
    sandbox = Sandbox(model, optimizer, loss_fn, loader, protocol.CYCLED_BATCHES)
    try:
        losses = sandbox.sweep(lrs)
    finally:
        sandbox.close()
    return analyze(
        lrs[: len(losses)], losses, rule=rule, planned=num_steps, spacing=spacing,
        cycle=len(sandbox.batches), batch_size=batch_size,
    )  # fmt: skip
