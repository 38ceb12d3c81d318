"""Drives a range test inside of a sandbox, following :mod:`lr_lightning.rules.range_test.protocol`."""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from lr_lightning.callbacks._sandbox.sandbox import Sandbox, Validation
from lr_lightning.callbacks._sandbox.steps import Probe, take_steps
from lr_lightning.optim.rng import Restore
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.range_test.analyze import analyze, confirm
from lr_lightning.rules.range_test.curve import diverged
from lr_lightning.rules.range_test.probes import ProbeResult, Trial, plan
from lr_lightning.rules.range_test.result import RangeTestResult

Report = Callable[[int, Sequence[float], Sequence[float]], None]  # (first index, LRs, losses) of the newest window


@dataclass(frozen=True)
class Plan:
    """What a range test is to do.

    Attributes:
        lrs: The ladder.
        rule: How the curve is read.
        spacing: The ladder's spacing, for the record.
        num_batches: Batches that a sweep cycles through; None goes through the data.
        repeats: Sweeps in all.
        budget: Optimizer steps of sweeps and probes together; None runs no probes.
        val_batches: Validation batches whose loss is read; None reads the training loss.
        train_steps: Optimizer steps that the run will take, if known.
        decays: Whether the LR will decay.
        momentum: The optimizers' largest momentum.
    """

    lrs: tuple[float, ...]
    rule: str
    spacing: str
    num_batches: int | None
    repeats: int
    budget: int | None
    val_batches: int | None
    train_steps: int | None
    decays: bool
    momentum: float


def run(box: Sandbox, probe: Probe, todo: Plan, report: Report) -> RangeTestResult:
    """Sweep, read the curve, confirm by probes if there is a budget for them."""
    probe.evaluate = Validation(box, todo.val_batches) if todo.val_batches else None
    sweeps = [_sweep(box, probe, todo, repeat, report) for repeat in range(todo.repeats)]
    longest = max(len(losses) for losses in sweeps)
    result = analyze(
        todo.lrs[:longest],
        sweeps[0],
        repeats=sweeps[1:],
        rule=todo.rule,
        planned=len(todo.lrs),
        spacing=todo.spacing,
        cycle=int(min(todo.num_batches or 1, max(1, box.trainer.num_training_batches))),
        batch_size=probe.step_samples,
        momentum=todo.momentum,
        train_steps=todo.train_steps,
        decays=todo.decays,
    )
    if todo.budget is None or result.suggestion is None:
        return result
    trials = plan(
        result.horizon["decay"],
        todo.budget - result.steps,
        momentum=todo.momentum,
        min_lr=todo.lrs[0],
        max_lr=todo.lrs[-1],
    )
    return confirm(result, _probe(box, probe, trials), train_steps=todo.train_steps, decays=todo.decays)


def _sweep(box: Sandbox, probe: Probe, todo: Plan, repeat: int, report: Report) -> list[float]:
    box.rewind()
    count = (todo.num_batches or 0) * box.trainer.accumulate_grad_batches
    box.use(repeat * count, count)

    def on_window(first: int, losses: list[float]) -> bool:
        if repeat == 0:
            report(first, todo.lrs[first : len(losses)], losses[first:])
        return not diverged(losses, planned=len(todo.lrs))

    return take_steps(box, probe, todo.lrs, protocol.WINDOW, on_window)


def _probe(box: Sandbox, probe: Probe, trials: Generator[Trial, Sequence[float], ProbeResult]) -> ProbeResult:
    """Run trial after trial from the starting weights, each on the same batches."""
    kept: dict[float, Restore] = {}
    accumulate = box.trainer.accumulate_grad_batches
    reply: Sequence[float] | None = None
    while True:
        try:
            trial = next(trials) if reply is None else trials.send(reply)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        (box.rewind if trial.start_step == 0 else kept[trial.lr])()
        box.use(0, protocol.PROBE_BATCHES * accumulate, trial.start_step * accumulate)
        reply = take_steps(
            box, probe, [trial.lr] * trial.num_steps, protocol.WINDOW, lambda _, losses: math.isfinite(losses[-1])
        )
        kept[trial.lr] = box.state()
