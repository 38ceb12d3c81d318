"""The range test for plain PyTorch: the same protocol and rules as the Lightning callback, in a small loop."""

import functools
import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lr_lightning.optim.param_groups import reference_lr, set_lr, unwrap
from lr_lightning.optim.rng import rng_state
from lr_lightning.optim.snapshot import Snapshot
from lr_lightning.rules.checks import check_choice, check_count, check_flag, shown
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.analyze import confirm as confirm_result
from lr_lightning.rules.range_test.curve import diverged
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.probes import ProbeResult, Trial, plan, schedule
from lr_lightning.rules.range_test.readings import DEFAULT_RULE, check_rule
from lr_lightning.rules.range_test.result import RangeTestResult

MOST_REPEATS = 1000
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
        if isinstance(loader, Iterator):  # asking iter() would draw a seed from torch's generator
            raise ValueError(
                "loader must be an iterable that can be started anew, such as a DataLoader, got an iterator"
            )
        self.model, self.optimizer, self.loss_fn = model, unwrap(optimizer), loss_fn
        self.start = State(model, self.optimizer)
        self.generators = [(g, g.get_state()) for g in loader_generators(loader)]
        reference = reference_lr([self.optimizer])
        self.ratios = [float(group["lr"]) / reference for group in self.optimizer.param_groups]
        self.batches = list(itertools.islice(iter(loader), num_batches))
        if not self.batches:
            self.close()
            raise ValueError("loader is empty: a range test needs at least one batch")

    def step(self, lr: float, index: int) -> float:
        """One optimizer step at ``lr`` on batch ``index`` (modulo the batches kept); returns the loss before it."""
        for group, ratio in zip(self.optimizer.param_groups, self.ratios, strict=True):
            set_lr(group, lr * ratio)
        self.optimizer.zero_grad()
        loss = self.loss_fn(self.model, self.batches[index % len(self.batches)])
        torch.autograd.backward(loss)
        self.optimizer.step()
        return float(loss.detach())

    def sweep(self, lrs: Sequence[float], first: int = 0) -> list[float]:
        """Losses over the ladder, up to the stop, on the batches from ``first`` on."""
        losses: list[float] = []
        for index, lr in enumerate(lrs):
            losses.append(self.step(lr, first + index % protocol.CYCLED_BATCHES))
            if index % protocol.WINDOW == protocol.WINDOW - 1 and diverged(losses, planned=len(lrs)):
                break
        return losses

    def rewind(self) -> None:
        """Back to the starting weights, optimizer state and random numbers."""
        self.start.restore()

    def probe(self, trials: Generator[Trial, Sequence[float], ProbeResult]) -> ProbeResult:
        """Drive :func:`lr_lightning.rules.range_test.probes.plan`; every trial is kept until its next stage."""
        kept: dict[float, State] = {}
        try:
            request = next(trials)
            while True:
                self.rewind() if request.start_step == 0 else kept[request.lr].restore()
                losses: list[float] = []
                for index in range(request.start_step, request.start_step + request.num_steps):
                    losses.append(self.step(request.lr, index))
                    if not math.isfinite(losses[-1]):
                        break
                kept[request.lr] = State(self.model, self.optimizer)
                request = trials.send(losses)
        except StopIteration as stop:
            return cast(ProbeResult, stop.value)

    def close(self) -> None:
        """Put everything back, the loader's generators included."""
        self.start.restore()
        for generator, state in self.generators:
            generator.set_state(state)


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
    repeats: int = 1,
    confirm: Literal["probes"] | None = None,
    budget: int = protocol.BUDGET,
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
        rule: Name of the rule that reads the curve.
        repeats: Sweeps in all; further ones use the next batches and narrow (or honestly widen) the interval.
        confirm: ``"probes"`` adds short trials at constant LR around the sweep's suggestion.
        budget: Optimizer steps that sweeps and trials may take together; only with ``confirm``.
        batch_size: Samples per step, for the record.
        train_steps: Optimizer steps of the run to come, if known; see ``decays``.
        decays: Whether a schedule will lower the LR. If not, the suggestion is the one for constant LR.

    Returns:
        The result. Apply it with
        ``lr_lightning.optim.param_groups.rescale([optimizer], schedulers, result.suggestion)``.

    Raises:
        ValueError: If an argument is out of range, the loader empty or an iterator, or the rule unknown.
    """
    check_rule(rule)
    check_count("repeats", repeats, 1, MOST_REPEATS)
    check_flag("decays", decays)
    for name, value in (("batch_size", batch_size), ("train_steps", train_steps)):
        if value is not None:
            check_count(name, value, 1)
    _check_parties(model, optimizer, loss_fn, loader)
    lrs = ladder(min_lr, max_lr, num_steps, spacing)
    check_confirm(confirm, budget, num_steps * repeats)
    most = max(protocol.CYCLED_BATCHES * repeats, protocol.PROBE_BATCHES if confirm else 0)
    sandbox = Sandbox(model, optimizer, loss_fn, loader, most)
    try:
        sweeps = []
        for repeat in range(repeats):
            sandbox.rewind()
            sweeps.append(sandbox.sweep(lrs, repeat * protocol.CYCLED_BATCHES))
        momentum = largest_momentum(sandbox.optimizer)
        result = analyze(
            lrs[: max(len(losses) for losses in sweeps)], sweeps[0], repeats=sweeps[1:], rule=rule, planned=num_steps,
            spacing=spacing, cycle=min(protocol.CYCLED_BATCHES, len(sandbox.batches)), batch_size=batch_size,
            momentum=momentum, train_steps=train_steps, decays=decays,
        )  # fmt: skip
        if confirm and result.suggestion is not None:
            trials = plan(
                result.horizon["decay"], budget - result.steps, momentum=momentum, min_lr=min_lr, max_lr=max_lr
            )
            result = confirm_result(result, sandbox.probe(trials), train_steps=train_steps, decays=decays)
        return result
    finally:
        sandbox.close()


def _check_parties(model: object, optimizer: object, loss_fn: object, loader: object) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch module, got {shown(model)}")
    if not isinstance(unwrap(optimizer), Optimizer):
        raise ValueError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
    if not callable(loss_fn):
        raise ValueError(f"loss_fn must be a function of model and batch, got {shown(loss_fn)}")
    if isinstance(loader, (str, bytes)) or not isinstance(loader, Iterable):
        raise ValueError(f"loader must be an iterable of batches, such as a DataLoader, got {shown(loader)}")


def check_confirm(confirm: str | None, budget: int, sweep_steps: int) -> None:
    """Refuse an unknown ``confirm`` and a budget that leaves nothing for trials.

    Raises:
        ValueError: Then.
    """
    check_choice("confirm", confirm, (None, "probes"))
    check_count("budget", budget, 1)
    if confirm is None:
        return
    if not schedule(budget - sweep_steps)[0]:
        raise ValueError(
            f"budget must leave steps for trials after {sweep_steps} sweep steps, got {budget}; "
            "300 with num_steps=100 is enough"
        )


def largest_momentum(optimizer: Optimizer) -> float:
    """Largest momentum or first beta over the param groups; 0 without."""
    return max(float(g.get("momentum", (g.get("betas") or (0.0,))[0]) or 0.0) for g in optimizer.param_groups)
