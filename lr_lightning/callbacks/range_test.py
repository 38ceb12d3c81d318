"""LRRangeTest: finds the learning rate at the start of a fit, applies it, and leaves no other trace."""

import contextlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lr_lightning.callbacks._fits import Fits
from lr_lightning.callbacks._marks import KeepsMarks
from lr_lightning.callbacks._own_lr import note_lr_in_module
from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox import range_test as _driver
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.callbacks._sandbox.memory import explained_out_of_memory
from lr_lightning.callbacks._sandbox.progress import ProgressBar, without_bars
from lr_lightning.callbacks._sandbox.settings import (
    RangeTestSettings,
    SandboxSettings,
    check_device_is_here,
    check_optimizers,
    sandbox_settings,
)
from lr_lightning.callbacks._sandbox.steps import Probe
from lr_lightning.callbacks._sandbox.validation import Validation
from lr_lightning.callbacks._schedulers import (
    Applied,
    all_schedulers,
    decays,
    ends_told,
    follow_again,
    searched_once,
    warn_of_strays,
)
from lr_lightning.optim import param_groups
from lr_lightning.reporting.events import LREvent, log_folders, tensorboards, write_event
from lr_lightning.reporting.other_loggers import publish
from lr_lightning.reporting.range_test_writer import RangeTestWriter
from lr_lightning.rules.checks import check_flag
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.range_test.readings import ReadingRule
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.saved import Saved


class LRRangeTest(KeepsMarks):
    """LR range test inside of a fit (Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3).

    On the first training batch it raises the LR step by step over the ladder, reads the loss curve, puts weights,
    optimizer, RNGs, data order, counters, metrics and loggers back bit for bit, and trains on with the LR found: base
    LRs and schedulers are rescaled as if they had been built with it, ratios between param groups survive. A sweep that
    shows no descent is taken again, more slowly; if that shows none either, where the loss explodes tells the order of
    magnitude (with a wide interval); if nothing does, the user's LR stays and :attr:`result` says what to change.

    Args:
        min_lr: First LR of the ladder, for the first param group; the others keep their ratio to it.
        max_lr: Last LR of the ladder.
        num_steps: Optimizer steps of the ladder, at least 2. The sweep ends early when the loss diverges.
        spacing: ``"exponential"`` (even in log LR) or ``"linear"``.
        rule: How the curve is read: ``"share"``, or a classic reading, ``"midpoint"``, ``"steepest"``, ``"valley"`` or
            ``"minimum"``, which is given as it is, without trials; or a mapping with an expert's settings. ``name``:
            one of these. ``schedule``: ``"decay"`` suggests an LR for a training that decays it, ``"constant"`` one for
            constant LR over the planned steps, ``"auto"`` takes ``"decay"`` if there is a scheduler, an LRFormula or a
            PlateauDecay. ``groups``: ``"search"`` looks for better ratios between param groups, by some 200 steps more.
            ``pace``: see :class:`~lr_lightning.rules.range_test.readings.ReadingRule`, taken as well.
        apply: Whether to train on with the suggestion; otherwise it is only reported.
        repeats: Sweeps in all, each on batches of its own; more of them make the interval honest.
        budget: What the test may cost in optimizer steps: a float is a share of the planned training (450 steps at
            most), an int a number. The sweeps always take theirs; where at least 100 steps more are allowed and the LR
            will decay, trials follow (:mod:`lr_lightning.rules.range_test.trials`): with 300, four of them; under Adam
            and its kin only where the sweep tells little (its loss falls by less than 12 %). They mend a sweep that is
            misread, and cost their steps where it isn't. 0: no trials.
        evaluate: ``"train"`` reads the training loss, ``"val"`` the loss that ``validation_step`` returns.
        val_batches: Validation batches that ``evaluate="val"`` measures at each step, always the same ones.
        at_epochs: Epochs (0-based) at whose first batch a test runs; empty for none, see :meth:`run`.
        optimizer: Index of the one optimizer to sweep (and to give the LR found); None sweeps all at one multiplier.
            For a GAN-like module sweep them one at a time: their losses only mean something at a given opponent.
        progress_bar: Whether to show the sweep's progress where the trainer shows a progress bar.
        name: Tag of the records in TensorBoard and name of the files; two tests in one trainer need two names.
        sandbox: A mapping with an expert's settings of how steps are taken inside of the fit. ``num_batches`` (8): how
            many training batches the sweep cycles through; None goes through the data instead. ``keep_callbacks``:
            other callbacks (classes or their names) that must see the sweep's batches; what they keep is not restored.
            ``isolate_data`` (False): fetch the sweep's batches in a worker process, for datasets with an RNG or a
            position of their own; only needed with ``num_workers=0``. ``snapshot_device``: where to keep the copy of
            the training state, e.g. ``"cpu"`` for models that don't fit twice on the accelerator; None keeps it beside
            the original. ``force`` (False): also test optimizers whose LR isn't a step size (Prodigy, D-Adaptation,
            schedule-free). ``rerun_on_resume`` (False): test again when a fit is resumed from a checkpoint; else a
            finished test isn't repeated, and one that is new in a resumed fit doesn't start.

    Attributes:
        result: The last test's :class:`~lr_lightning.RangeTestResult`, or None.
        results: The results of all tests of this training, in order; those before a checkpoint as well.
        previous_lr: The LR before the last test, or None.

    Raises:
        ValueError: If an argument is out of its range; the message quotes it.

    >>> test = LRRangeTest(max_lr=1.0, num_steps=50)  # L.Trainer(callbacks=[test]).fit(model)
    >>> test.result is None  # until the first batch of a fit
    True
    """

    def __init__(
        self,
        min_lr: float = protocol.MIN_LR,
        max_lr: float = protocol.MAX_LR,
        num_steps: int = protocol.NUM_STEPS,
        *,
        spacing: str = "exponential",
        rule: str | dict[str, Any] | ReadingRule = "share",
        apply: bool = True,
        repeats: int = 1,
        budget: int | float = protocol.BUDGET,  # in this order: jsonargparse takes the first type that fits
        evaluate: str = "train",
        val_batches: int = 1,
        at_epochs: Sequence[int] = (0,),
        optimizer: int | None = None,
        progress_bar: bool = True,
        name: str = "range_test",
        sandbox: dict[str, Any] | SandboxSettings | None = None,
    ) -> None:
        self.sandbox = sandbox_settings(sandbox)
        self.settings = RangeTestSettings(
            min_lr, max_lr, num_steps, spacing, rule, repeats, self.sandbox.num_batches,
            budget, evaluate, val_batches, at_epochs, optimizer, name,
        )  # fmt: skip
        self.apply, self.progress_bar = check_flag("apply", apply), check_flag("progress_bar", progress_bar)
        self.name = name
        self.result: RangeTestResult | None = None
        self.results: list[RangeTestResult] = []
        self.previous_lr: float | None = None
        self._done: list[int] = []
        self._pending = self._resumed = self._may_run = False
        self._fits, self._applied, self._fresh_wrapper = Fits(), Applied("LRRangeTest"), True

    @cached_property  # Lightning asks for it at every hook
    def state_key(self) -> str:
        """Distinguishes two tests of one trainer in a checkpoint."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """The last finished test and the epochs that had theirs, as plain types."""
        result = self.result.to_dict() if self.result else None
        earlier = [one.to_dict() for one in self.results[:-1]]
        return {"result": result, "earlier": earlier, "previous_lr": self.previous_lr, "done": list(self._done)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over finished tests: they aren't run again.

        Raises:
            ValueError: If it isn't what ``state_dict`` gives; the callback stays as it is then.
        """
        saved = Saved("LRRangeTest", state_dict)
        done, previous = saved.counts("done"), saved.optional("previous_lr", saved.number)
        result = None if saved["result"] is None else RangeTestResult.from_dict(saved["result"])
        results = [RangeTestResult.from_dict(one) for one in saved.items("earlier")]
        self._done, self.previous_lr, self.result = done, previous, result
        self.results = [*results, result] if result else results
        self._fits.give()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check Lightning's internals and go first, so that no other callback sees the LR before the test."""
        if stage != "fit":
            return
        _internals.require(trainer, type(self).__name__)
        trainer.callbacks = [self, *(c for c in trainer.callbacks if c is not self)]
        self._pending = 0 in self.settings.at_epochs
        if self._fits.begins_anew(trainer):
            self._done, self.results = [], []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide whether this fit gets tests."""
        self._fresh_wrapper, self._may_run = True, not trainer.fast_dev_run
        self._resumed, at_start = self._fits.begin(trainer), trainer.global_step == 0
        follow_again(trainer)
        # A fit that goes on in the middle of an epoch has no on_train_epoch_start to say so.
        due = 0 in self.settings.at_epochs and 0 not in self._done
        self._pending = self._may_run and (due if at_start else self.sandbox.rerun_on_resume)
        if not self._may_run:
            rank_zero_info("LRRangeTest: skipped, fast_dev_run only checks the code")
        elif self._done and self._resumed and not self._pending:
            rank_zero_info(f"LRRangeTest: already done before the checkpoint, {_in_words(self.result)}")
            if self.apply and self.result and self.result.suggestion and self.previous_lr:
                # The module was built anew, with the LR before.
                note_lr_in_module(trainer, self.result.suggestion, self.previous_lr, resumed=True)
        elif not at_start:
            rank_zero_info(
                "LRRangeTest: training goes on from a checkpoint, no test; sandbox={'rerun_on_resume': True} runs one"
            )
        if self._may_run:
            check_device_is_here("snapshot_device", self.sandbox.snapshot_device)
            self.sandbox.kept(trainer.callbacks)
            self._swept(trainer)  # these three refuse what can't be done before the first step

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Schedule the epoch's test."""
        epoch = trainer.current_epoch
        due = epoch in self.settings.at_epochs and epoch not in self._done
        # A checkpoint from within epoch 0, made without this callback, is no start.
        fresh = epoch > 0 or trainer.global_step == 0
        self._pending = self._may_run and ((self._pending and self.sandbox.rerun_on_resume) or (due and fresh))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Run the test on the first batch: everything is restored and set up by then, on every strategy."""
        if self._pending:
            self._pending = False
            self.run(trainer)
            self._done.append(trainer.current_epoch)
        warn_of_strays(trainer)
        self._applied.warn_if_lost(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that the strategy's wrapper has been through a real batch."""
        self._fresh_wrapper = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say so if there was nothing to test on."""
        if stage == "fit" and self._pending and trainer.num_training_batches == 0:
            rank_zero_warn("LRRangeTest did not run: training had no batch. The learning rate is unchanged")
        self._pending = self._resumed = self._may_run = False
        self._applied = Applied("LRRangeTest")

    @without_bars
    @searched_once
    def run(self, trainer: Trainer) -> RangeTestResult:
        """Run a test now and apply the LR found if ``apply``; for hooks of your own, e.g. after unfreezing layers.

        Call it from a training hook of the current fit, such as ``on_train_epoch_start`` or ``on_train_batch_start``,
        on all ranks alike.

        Returns:
            The result, also kept in :attr:`result`. Every rank gets the same one.
        """
        optimizers, schedulers = self._swept(trainer), all_schedulers(trainer)
        previous = param_groups.reference_lr(optimizers, schedulers)
        step, epoch = _sandbox.logging_step(trainer), trainer.current_epoch
        at = f"_at_step_{step}" if step else ""
        # Only TensorBoard takes a second step axis; the files land beside any logger's. The sandbox hides the loggers.
        sight = SimpleNamespace(loggers=[x for x, _ in tensorboards(trainer)], is_global_zero=trainer.is_global_zero)
        folder = next(iter(log_folders(trainer.loggers)), None)
        writer = RangeTestWriter(sight, step, f"{self.name}{at}", folder=folder)
        with writer.running(self.settings.record()):
            result = self._test(trainer, optimizers, writer.points)
        new = result.suggestion if self.apply and result.suggestion is not None else previous
        factors = result.group_factors if self.apply else ()
        if new != previous or factors:
            with ends_told(type(self).__name__, schedulers):
                param_groups.rescale(optimizers, schedulers, new, factors)
            note_lr_in_module(trainer, new, previous, at)
            self._applied.note(trainer, optimizers)
        # An earlier suggestion of this callback that held for another effective batch size is worth a word.
        if self.result is not None and (why := self.result.batch_size_warning(result.batch_size)):
            rank_zero_info(f"LRRangeTest: {why}")
        self.result, self.previous_lr = result, previous
        self.results.append(result)
        writer.finish(result)
        publish(trainer, result, f"{self.name}{at}", step)
        write_event(sight, LREvent("range_test", step, epoch, previous, new, result.reason, self.name))
        rank_zero_info(f"LRRangeTest: {_in_words(result)}; LR {previous:.4g} -> {new:.4g}")
        return result

    def _test(self, trainer: Trainer, optimizers: Sequence[Any], points: _driver.Report) -> RangeTestResult:
        training = protocol.Training(
            batches=trainer.num_training_batches,
            momentum=max(param_groups.momentum(g) for o in optimizers for g in o.param_groups),
            train_steps=_planned_steps(trainer),
            decays=decays(trainer),
            adaptive=any(param_groups.adaptive(g) for o in optimizers for g in o.param_groups),
            lrs=tuple(float(lr) for o in optimizers for lr in param_groups.peak_lrs(o, all_schedulers(trainer))),
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(explained_out_of_memory(type(self).__name__, self.sandbox.snapshot_device))
            probe = stack.enter_context(contextlib.closing(Probe(trainer, optimizers, protocol.WINDOW)))
            bar = stack.enter_context(ProgressBar(trainer, self.settings.num_steps, self.progress_bar))
            box = stack.enter_context(_sandbox.sandbox(trainer, probe, self.sandbox, self._fresh_wrapper))
            if self.settings.evaluate == "val":
                probe.evaluate = Validation(box, self.settings.val_batches)

            def report(first: int, lrs: Sequence[float], losses: Sequence[float]) -> None:
                points(first, lrs, losses)
                bar.update(len(losses), lrs[-1], losses[-1])

            return _driver.run(box, probe, self.settings, training, report)

    def _swept(self, trainer: Trainer) -> list[Any]:
        """The optimizers to sweep.

        Raises:
            ValueError: If there is no such optimizer, none has an LR, or its LR isn't a step size.
        """
        optimizers, index = list(trainer.optimizers), self.settings.optimizer
        if index is not None:
            if index >= len(optimizers):
                raise ValueError(f"optimizer must be below {len(optimizers)}, the number of optimizers, got {index}")
            optimizers = [optimizers[index]]
        hint = "; sandbox={'force': True} does all the same"
        check_optimizers("LRRangeTest", optimizers, self.sandbox.force, hint)
        param_groups.reference_lr(optimizers, all_schedulers(trainer))
        return optimizers


def _in_words(result: RangeTestResult | None) -> str:
    if result is None:
        return "no result"
    if result.suggestion is None:
        return f"no suggestion ({result.status}): {result.reason}"
    return f"suggested LR {result.suggestion:.4g} ({result.status}): {result.reason}"


def _planned_steps(trainer: Trainer) -> int | None:
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        steps = trainer.estimated_stepping_batches
        return int(steps) if 0 < steps < float("inf") else None
    return None
