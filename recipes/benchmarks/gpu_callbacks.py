"""On a GPU: the host's time inside of each callback's hooks, per step of a GPT whose step takes some 5 ms."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger

from lr_lightning import LRCurves, LRFormula, LRRangeTest, PlateauDecay
from recipes.benchmarks.gpu_models import TINY, Size, Synthetic
from recipes.benchmarks.gpu_run import Run
from recipes.benchmarks.harness import bare_trainer, clocks, since

STEP = 5000.0  # µs of the step that the callbacks' share is given of
STEPS, WARM = 600, 50
PLANNED = 20_000  # steps of the run that the fit is the beginning of: step losses are read less often in a long one
# The first that takes no more than 5.5 ms is used: small batches wait for the host, whose pace goes with the layers.
CANDIDATES = [Size(layers, 512, 8, 256, 256, 16) for layers in (12, 8, 6, 4, 3, 2, 1)]
RANGE_TEST, FORMULA, CURVES = "LRRangeTest, done", "LRFormula, per step", "LRCurves"
PER_EPOCH, PER_STEP = "PlateauDecay(val_loss)", "PlateauDecay(train_loss, step)"
TOGETHER = {
    "all four, formula per step": (RANGE_TEST, FORMULA, PER_EPOCH, CURVES),
    "all four, formula and decay per step": (RANGE_TEST, FORMULA, PER_STEP, CURVES),
}


class HostTime(Callback):
    """Adds up, step by step, the seconds inside of every hook of each callback; stands in front of them.

    What Lightning takes to call a hook isn't in it; waiting for the device within a hook is.

    Args:
        callbacks: Name -> callback; their hooks are replaced by timed ones.
        steps: Where the fit is ended.
    """

    def __init__(self, callbacks: dict[str, Callback], steps: int) -> None:
        self._last, self._warm = steps, min(WARM, steps // 3)
        self._counted = steps - self._warm
        self.spent: dict[str, list[float]] = {name: [0.0] for name in callbacks}
        self.seconds, self._start = 0.0, (0.0, 0.0)
        for name, callback in callbacks.items():
            for hook in [hook for hook in dir(Callback) if hook.startswith("on_")]:
                setattr(callback, hook, self._timed(self.spent[name], getattr(callback, hook)))

    @staticmethod
    def _timed(steps: list[float], hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return hook(*args, **kwargs)
            finally:
                steps[-1] += time.perf_counter() - started

        return timed

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """A new step; warm by now, the clock starts."""
        for steps in self.spent.values():
            steps.append(0.0)
        if batch_idx == self._warm:
            self._start = clocks()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After the last one, the clock stops: seconds a step."""
        if trainer.global_step >= self._last:
            trainer.should_stop = True
            self.seconds = since(self._start)[0] / self._counted

    def of(self, names: Sequence[str]) -> list[float]:
        """Microseconds in the hooks of these callbacks, of each step but the warm ones and the last, the fit's end."""
        warm = [self.spent[name][-self._counted : -1] for name in names]
        return [1e6 * sum(step) for step in zip(*warm, strict=True)]


class Validated(Synthetic):
    """Logs a validation loss at the end."""

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        """The loss of a batch."""
        self.log("val_loss", self.net(batch[0]))

    def val_dataloader(self) -> Any:
        """The training data."""
        return self.train_dataloader()


def _fit(run: Run, size: Size, steps: int, callbacks: dict[str, Callback]) -> HostTime:
    clock = HostTime(callbacks, steps)
    with tempfile.TemporaryDirectory() as root:
        settings = {"max_steps": PLANNED, "log_every_n_steps": 50, "precision": size.precision, **run.accelerator}
        settings |= {"limit_val_batches": 1, "num_sanity_val_steps": 0}
        logger = TensorBoardLogger(root, default_hp_metric=False)
        trainer = bare_trainer([clock, *callbacks.values()], logger=logger, **settings)
        trainer.fit(Validated(size, run.device, steps))
    return clock


def _chosen(run: Run, steps: int) -> Size:
    for size in CANDIDATES[-1:] if run.rehearsal else CANDIDATES:
        paced = TINY if run.rehearsal else size
        pace = 1e6 * _fit(run, paced, steps, {}).seconds
        run.say(f"{size.layers} layers: {pace:.0f} µs a step")
        if pace <= 1.1 * STEP:
            break
    return paced


def callbacks(run: Run) -> dict[str, Any]:
    """Each callback's and all callbacks' microseconds a step in one fit with all of them."""
    if not run.rehearsal:
        _fit(run, CANDIDATES[0], 5, {})  # kernels are loaded
    size = _chosen(run, 9 if run.rehearsal else 75)
    everyone: dict[str, Callback] = {
        "LearningRateMonitor(step)": LearningRateMonitor("step"),
        RANGE_TEST: LRRangeTest(num_steps=20, apply=False, progress_bar=False),
        FORMULA: LRFormula("base_lr / (1 + 0.0001 * step)", interval="step"),
        PER_EPOCH: PlateauDecay("val_loss", verbose=False),
        PER_STEP: PlateauDecay("train_loss", interval="step", verbose=False),
        CURVES: LRCurves(hparams=False),
    }
    clock = _fit(run, size, 30 if run.rehearsal else STEPS + WARM, everyone)
    found: dict[str, Any] = {"step_us": 1e6 * clock.seconds, "layers": size.layers, "us": {}}
    rows = []
    for name, members in {**{name: (name,) for name in everyone}, **TOGETHER}.items():
        each = clock.of(members)
        middle, mean = statistics.median(each), statistics.fmean(each)
        found["us"][name] = {"median": middle, "mean": mean, "largest": max(each), "steps": len(each)}
        shares = (f"{100 * one / STEP:.2f} %" for one in (middle, mean))
        rows.append((name, f"{middle:.1f}", f"{mean:.1f}", f"{max(each):.0f}", *shares))
    head = ("hooks of", "µs a step, median", "mean", "largest", "median of a 5 ms step", "mean of it")
    title = f"The host's time in hooks, {len(each)} steps of {found['step_us']:.0f} µs with all of them in the Trainer"
    run.table(title, head, rows)
    return found
