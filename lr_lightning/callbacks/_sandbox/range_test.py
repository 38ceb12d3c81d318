"""Carries out a range test's protocol inside of a sandbox."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from lr_lightning.callbacks._sandbox.progress import say
from lr_lightning.callbacks._sandbox.sandbox import Sandbox
from lr_lightning.callbacks._sandbox.steps import Probe, take_steps
from lr_lightning.optim.rng import Restore
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.range_test.analyze import overruled
from lr_lightning.rules.range_test.protocol import Steps, SweepSettings, Training
from lr_lightning.rules.range_test.result import RangeTestResult

Report = Callable[[int, Sequence[float], Sequence[float]], None]  # (first index, LRs, losses) of the newest window


class Driver:
    """Takes the steps that the protocol asks for.

    Args:
        box: The sandbox.
        probe: Its probe.
        report: Told of each window of the first sweep.
    """

    def __init__(self, box: Sandbox, probe: Probe, report: Report) -> None:
        self._box, self._probe, self._report = box, probe, report
        self._states: dict[str, Restore] = {protocol.START: box.rewind}

    def take(self, steps: Steps) -> list[float]:
        """One optimizer step at each LR; the losses before them, fewer if no further step comes about."""
        box, accumulate = self._box, self._box.trainer.accumulate_grad_batches
        if steps.origin is not None:
            self._states[steps.origin]()
            box.use(steps.first * accumulate, (steps.cycle or 0) * accumulate, steps.index * accumulate)
        self._probe.lrs.factors = steps.factors
        losses = take_steps(box, self._probe, steps.lrs)
        if steps.keep is not None:
            self._states[steps.keep] = box.state()
        if steps.series == protocol.FIRST_SWEEP:
            self._report(steps.index, steps.lrs[: len(losses)], losses)
        return losses


def run(box: Sandbox, probe: Probe, settings: SweepSettings, training: Training, report: Report) -> RangeTestResult:
    """Sweep and read the curve."""
    if settings.num_batches is not None and not box.can_keep_batches:
        say(box.trainer, "LRRangeTest: batches can't be copied, so each step gets a new one (num_batches=None)")
        settings = replace(settings, num_batches=None)
    driver = Driver(box, probe, report)
    result = protocol.carry_out(protocol.range_test(settings, training), driver.take)
    if probe.lrs.other is not None:
        result = overruled(result, probe.lrs.other)
    return replace(result, batch_size=probe.step_samples)
