"""LRRangeTest: finds the learning rate at the start of a fit, applies it, and leaves no other trace."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lr_lightning import param_groups
from lr_lightning.callbacks import _sandbox
from lr_lightning.callbacks._sweep import OnWindow, Probe, take_steps
from lr_lightning.reporting.events import LREvent, RangeTestWriter, log_folders, tensorboards, write_event
from lr_lightning.rules import protocol
from lr_lightning.rules.range_test import DEFAULT_RULE, RangeTestResult, analyze, check_rule, diverged
from lr_lightning.rules.sweep import SPACINGS, check_count, check_range, ladder

HPARAMS = ("lr", "learning_rate")


class LRRangeTest(Callback):
    """LR range test inside of a fit (Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, section 3.3).

    On the first training batch it raises the LR step by step over the ladder, reads the loss curve, puts weights,
    optimizer, RNGs, data order, counters, metrics and loggers back bit for bit, and trains on with the LR found: base
    LRs and schedulers are rescaled as if they had been built with it, ratios between param groups survive. If the curve
    gives no LR, the user's stays and :attr:`result` says what to change.

    Args:
        min_lr: First LR of the ladder, for the first param group; the others keep their ratio to it.
        max_lr: Last LR of the ladder.
        num_steps: Optimizer steps of the ladder, at least 2. The sweep ends early when the loss diverges.
        spacing: ``"exponential"`` (even in log LR) or ``"linear"``.
        rule: How the curve is read, a name in :data:`lr_lightning.rules.range_test.RULES`.
        apply: Whether to train on with the suggestion; otherwise it is only reported.
        num_batches: How many training batches the sweep cycles through; None goes through the data instead.
        keep_callbacks: Types of other callbacks that must see the sweep's batches; what they keep is not restored.
        isolate_data: Fetch the sweep's batches in a worker process, for datasets with an RNG or a position of their
            own; only needed with ``num_workers=0``.
        snapshot_device: Where to keep the copy of the training state, e.g. ``"cpu"`` for models that don't fit twice on
            the accelerator; None keeps it beside the original.
        rerun_on_resume: Test again when a fit is resumed from a checkpoint. By default a finished test isn't repeated,
            and one that is new in a resumed fit doesn't start.
        progress_bar: Whether to show the sweep's progress where the trainer shows a progress bar.
        name: Tag of the records in TensorBoard and name of the files; two tests in one trainer need two names.

    Attributes:
        result: The last test's :class:`~lr_lightning.RangeTestResult`, or None.
        previous_lr: The LR before the test, or None.

    Raises:
        ValueError: If an argument is out of its range; the message quotes it.
    """

    def __init__(
        self,
        min_lr: float = protocol.MIN_LR,
        max_lr: float = protocol.MAX_LR,
        num_steps: int = protocol.NUM_STEPS,
        *,
        spacing: str = "exponential",
        rule: str = DEFAULT_RULE,
        apply: bool = True,
        num_batches: int | None = protocol.CYCLED_BATCHES,
        keep_callbacks: Sequence[type] = (),
        isolate_data: bool = False,
        snapshot_device: str | None = None,
        rerun_on_resume: bool = False,
        progress_bar: bool = True,
        name: str = "range_test",
    ) -> None:
        check_range(min_lr, max_lr)
        check_count("num_steps", num_steps, 2)
        if spacing not in SPACINGS:
            raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
        if num_batches is not None:
            check_count("num_batches", num_batches, 1)
        if not isinstance(name, str) or not name.strip("/"):
            raise ValueError(f"name must be a tag such as 'range_test', got {name!r}")
        self.min_lr, self.max_lr, self.num_steps, self.spacing = min_lr, max_lr, num_steps, spacing
        self.rule = check_rule(rule)
        self.apply, self.num_batches = apply, num_batches
        self.keep_callbacks = tuple(keep_callbacks)
        self.isolate_data, self.snapshot_device = isolate_data, snapshot_device
        self.rerun_on_resume, self.progress_bar, self.name = rerun_on_resume, progress_bar, name
        self.result: RangeTestResult | None = None
        self.previous_lr: float | None = None
        self._pending = self._resumed = False
        self._fresh_wrapper = True

    @property
    def state_key(self) -> str:
        """Distinguishes two tests of one trainer in a checkpoint."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """The finished test, as plain types."""
        result = self.result.to_dict() if self.result else None
        return {"result": result, "previous_lr": self.previous_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a finished test: it isn't run again."""
        if state_dict["result"] is not None:
            self.result = RangeTestResult.from_dict(state_dict["result"])
            self.previous_lr = state_dict["previous_lr"]
            self._resumed = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check Lightning's internals and go first, so that no other callback sees the LR before the test."""
        if stage != "fit":
            return
        if missing := _sandbox.missing_internals(trainer):
            raise RuntimeError(
                f"this release of lightning lacks {', '.join(missing)}, which LRRangeTest needs to leave no trace; "
                "install a release that lr_lightning supports, or take LRRangeTest out"
            )
        trainer.callbacks = [self, *(c for c in trainer.callbacks if c is not self)]
        self._pending = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decide whether this fit gets a test."""
        self._fresh_wrapper = True
        if trainer.fast_dev_run:
            rank_zero_info("LRRangeTest: skipped, fast_dev_run only checks the code")
        elif self._resumed and not self.rerun_on_resume:
            rank_zero_info(f"LRRangeTest: already done before the checkpoint, {_in_words(self.result)}")
        elif trainer.global_step > 0 and not self.rerun_on_resume:
            rank_zero_info(
                "LRRangeTest: skipped, training goes on from a checkpoint (rerun_on_resume=True tests anyway)"
            )
        else:
            return
        self._pending = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Run the test on the first batch: everything is restored and set up by then, on every strategy."""
        if self._pending:
            self._pending = False
            self.run(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that the strategy's wrapper has been through a real batch."""
        self._fresh_wrapper = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say so if there was nothing to test on."""
        if stage == "fit" and self._pending:
            rank_zero_warn("LRRangeTest did not run: training had no batch. The learning rate is unchanged")
        self._pending = self._resumed = False

    def run(self, trainer: Trainer) -> RangeTestResult:
        """Run the test now, from inside of an ``on_train_batch_start`` hook, and apply the LR found if ``apply``.

        Returns:
            The result, also kept in :attr:`result`. Every rank gets the same one.
        """
        optimizers, schedulers = trainer.optimizers, [c.scheduler for c in trainer.lr_scheduler_configs]
        previous = param_groups.reference_lr(optimizers, schedulers)
        # Only TensorBoard takes a second step axis; the files land beside any logger's. The sandbox hides the loggers.
        sight = SimpleNamespace(loggers=[x for x, _ in tensorboards(trainer)], is_global_zero=trainer.is_global_zero)
        step, epoch = _sandbox.logging_step(trainer), trainer.current_epoch
        writer = RangeTestWriter(sight, step, self.name, folder=next(iter(log_folders(trainer.loggers)), None))
        lrs = ladder(self.min_lr, self.max_lr, self.num_steps, self.spacing)
        writer.start({"rule": self.rule, "min_lr": self.min_lr, "max_lr": self.max_lr, "num_steps": self.num_steps})
        try:
            losses, samples = self._sweep(trainer, optimizers, lrs, writer)
        except BaseException as error:
            writer.abort(f"{type(error).__name__}: {error}")
            raise
        result = analyze(
            lrs[: len(losses)],
            losses,
            rule=self.rule,
            planned=self.num_steps,
            spacing=self.spacing,
            cycle=self.num_batches or 1,
            batch_size=samples,
        )
        self.result, self.previous_lr = result, previous
        new = result.suggestion if self.apply and result.suggestion is not None else previous
        if new != previous:
            param_groups.rescale(optimizers, schedulers, new)
            _note_in_hparams(trainer.lightning_module, new)
        writer.finish(result)
        write_event(sight, LREvent("range_test", step, epoch, previous, new, result.reason, self.name))
        rank_zero_info(f"LRRangeTest: {_in_words(result)}; LR {previous:.4g} -> {new:.4g}")
        return result

    def _sweep(
        self, trainer: Trainer, optimizers: Sequence[Any], lrs: Sequence[float], writer: RangeTestWriter
    ) -> tuple[list[float], int]:
        probe = Probe(trainer, optimizers, protocol.WINDOW)
        accumulate = trainer.accumulate_grad_batches
        cycle = (
            None if self.num_batches is None else int(min(self.num_batches * accumulate, trainer.num_training_batches))
        )
        try:
            with (
                _ProgressBar(trainer, len(lrs), self.progress_bar) as bar,
                _sandbox.sandbox(
                    trainer,
                    probe,
                    keep_callbacks=self.keep_callbacks,
                    isolate_data=self.isolate_data,
                    cycle=cycle,
                    snapshot_device=self.snapshot_device,
                    fresh_wrapper=self._fresh_wrapper,
                ) as box,
            ):
                return take_steps(box, probe, lrs, protocol.WINDOW, self._watch(lrs, writer, bar)), probe.step_samples
        finally:
            probe.close()

    def _watch(self, lrs: Sequence[float], writer: RangeTestWriter, bar: "_ProgressBar") -> OnWindow:
        def on_window(first: int, losses: list[float]) -> bool:
            writer.points(first, lrs[first : len(losses)], losses[first:])
            bar.update(len(losses) - first, lrs[len(losses) - 1], losses[-1])
            return not diverged(losses, planned=self.num_steps)

        return on_window


class _ProgressBar:
    """A bar of its own for the sweep, shown where the trainer shows one."""

    def __init__(self, trainer: Trainer, total: int, wanted: bool) -> None:
        bars = [c for c in trainer.callbacks if isinstance(c, ProgressBar)]
        self._shown = wanted and trainer.is_global_zero and any(getattr(b, "is_enabled", True) for b in bars)
        self._total = total

    def __enter__(self) -> "_ProgressBar":
        from tqdm.auto import tqdm

        self._bar = tqdm(total=self._total, desc="LR range test", leave=False, disable=not self._shown)
        return self

    def update(self, steps: int, lr: float, loss: float) -> None:
        self._bar.set_postfix_str(f"lr={lr:.2e}, loss={loss:.4g}", refresh=False)
        self._bar.update(steps)

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


def _in_words(result: RangeTestResult | None) -> str:
    if result is None:
        return "no result"
    if result.suggestion is None:
        return f"no suggestion ({result.status}): {result.reason}"
    return f"suggested LR {result.suggestion:.4g} ({result.status}): {result.reason}"


def _note_in_hparams(module: LightningModule, lr: float) -> None:
    """The module's own ``lr`` or ``learning_rate``, where it has one, is what a checkpoint will be rebuilt with."""
    for name in HPARAMS:
        if name in module.hparams:
            module.hparams[name] = lr
        if isinstance(getattr(module, name, None), float):
            setattr(module, name, lr)
