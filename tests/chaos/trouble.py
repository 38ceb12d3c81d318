"""Jobs in which the disk, the log folder, a logger, a metric, the clock, a signal or the user's code fails."""

import ctypes
import math
import os
import resource
import signal
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lr_lightning import LRCurves, LRFormula, LRRangeTest, LRSearch, PlateauDecay
from tests.chaos import fits

BOARD = "board"


class At(L.Callback):
    """Does something at the start of training, before any other callback."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def on_train_start(self, *_: Any) -> None:
        self.action()


def callbacks(kind: str) -> list[L.Callback]:
    step = PlateauDecay("train_loss", mode="max", interval="step", patience=6, factor=0.9, rule={"read_every": 3})
    return [*fits.own_callbacks(kind)[:-3], step, LRCurves()]


def fit(
    own: list[L.Callback], make: Callable[[], L.LightningModule] = fits.Net, logger: Any = None, **settings: Any
) -> dict[str, Any]:
    """Fit, whatever happens, and tell what did: error, warnings, and the state that is left."""
    L.seed_everything(3, verbose=False)
    module = make()
    error: BaseException | None = None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        trainer = L.Trainer(
            callbacks=own, logger=logger if logger is not None else False,
            **{"max_epochs": 2, "log_every_n_steps": 2, "enable_checkpointing": False, **fits.QUIET, **settings},
        )  # fmt: skip
        try:
            trainer.fit(module)
        except BaseException as caught:
            error = caught
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    ours = [c for c in own if type(c).__module__.startswith("lr_lightning")]
    return {
        **fits.state_of(trainer, ours),
        "lrs": [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups],
        "error": None if error is None else f"{type(error).__name__}: {error}",
        "place": None if error is None else places(error),
        "warnings": [str(w.message) for w in heard if issubclass(w.category, (RuntimeWarning, UserWarning))],
        "files": sorted(str(path) for path in Path().rglob("*") if path.is_file()),
        "interrupted": trainer.interrupted,
        "callbacks_back": trainer.callbacks[: len(own)] != [] and all(c in trainer.callbacks for c in own),
    }


def places(error: BaseException) -> list[str]:
    """The functions that an error came through, the innermost last."""
    found, frame = [], error.__traceback__
    while frame is not None:
        found.append(frame.tb_frame.f_code.co_name)
        frame = frame.tb_next
    return found


# The disk


def full_disk(kind: str, size: int, logs: bool, ours: bool = True) -> dict[str, Any]:
    """No file can grow beyond ``size`` bytes from the start of training on."""

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    own = [At(fill), *(callbacks(kind) if ours else [])]
    return fit(own, fits.Net if logs else Silent, TensorBoardLogger(".", "", BOARD, default_hp_metric=False))


def read_only(kind: str) -> dict[str, Any]:
    """The log folder takes no new file from the start of training on."""
    bind_root()
    os.mkdir("logs")
    logger = TensorBoardLogger("logs", "", BOARD, default_hp_metric=False)
    return fit([At(lambda: os.chmod(f"logs/{BOARD}", 0o555)), *callbacks(kind)], logger=logger)


def bind_root() -> None:
    """Give up root's right to write where the mode forbids it."""
    if os.geteuid() != 0:
        return
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    data[0] &= ~(1 << 1)  # CAP_DAC_OVERRIDE, effective
    assert libc.capset(header, data) == 0


class Silent(fits.Net):
    """Logs nothing itself."""

    def log(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        return


# Loggers


class Raising(Logger):
    """Fails where it is told to, for our callbacks as for Lightning."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.ours = where, False

    def _fail(self, where: str) -> None:
        if where == self.where:
            raise ConnectionError("the tracking server is gone")

    @property
    def name(self) -> str:
        return "raising"

    @property
    def version(self) -> int:
        return 0

    @property
    def experiment(self) -> Any:
        self._fail("experiment")
        return None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # Lightning's own metrics come through: what Lightning does with a failing logger is its own affair.
        if any(name.startswith(("lr-", "curves/", "range_test/")) for name in metrics):
            self._fail("log_metrics")

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        if set(params) & {"lr_found"}:
            self._fail("log_hyperparams")

    @property
    def log_dir(self) -> str | None:
        self._fail("log_dir")
        return None


class RaisingBoard(TensorBoardLogger):
    """A TensorBoardLogger whose writer can't be had once training has begun."""

    broken = False

    @property
    def experiment(self) -> Any:
        if self.broken:
            raise ConnectionError("the bucket is gone")
        return super().experiment

    def save(self) -> None:
        if not self.broken:
            super().save()

    def finalize(self, status: str) -> None:
        return

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if not self.broken:
            super().log_metrics(metrics, step)


def raising(kind: str, where: str) -> dict[str, Any]:
    """A logger that raises, beside one that works."""
    works = CSVLogger("logs", "works", "0")
    if where == "board":
        board = RaisingBoard(".", "", BOARD, default_hp_metric=False)
        return fit([At(lambda: setattr(board, "broken", True)), *callbacks(kind)], logger=[board, works])
    return fit(callbacks(kind), logger=[Raising(where), works])


def healthy(kind: str) -> dict[str, Any]:
    """The fit that the troubled ones must equal."""
    return fit(callbacks(kind), logger=CSVLogger("logs", "works", "0"))


# Metrics


class Poisoned(fits.Net):
    """Its losses are not finite from a training step on; validation, from an epoch on."""

    # All that a module or its class holds by itself comes back after each trial.
    taken = memoryview(bytearray(8)).cast("q")

    def __init__(self, value: float, step: int = 10**9, epoch: int = 10**9, **options: Any) -> None:
        super().__init__(**options)
        self.value, self.from_step, self.from_epoch = value, step, epoch

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.taken[0] += 1
        loss = super().training_step(batch, batch_idx)
        return loss * self.value if self.taken[0] > self.from_step else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        bad = self.current_epoch >= self.from_epoch
        self.log("val_loss", self.value if bad else 1.0 / (1 + self.current_epoch))


def poisoned_sweep(kind: str, value: float, step: int) -> dict[str, Any]:
    """The loss is not finite from a step of the sweep on; training's own steps come later and are alike."""
    test = fits.own_callbacks(kind)[0]
    return {**fit([test, LRCurves()], partial(Poisoned, value, step), max_steps=1), "lr": 1e-3, **found(test)}


def found(test: Any) -> dict[str, Any]:
    if isinstance(test, LRSearch):
        return {"best": test.best_lr, "statuses": [t.status for t in test.trials]}
    return {"status": test.result.status, "reason": test.result.reason}


def poisoned_metric(value: float) -> dict[str, Any]:
    """The validation loss is not finite from epoch 2 on."""
    decay = PlateauDecay(patience=3, factor=0.5)
    formula = LRFormula('base_lr * 0.5 if metric("val_loss", 1.0) < 0.6 else base_lr')
    report = fit([decay, formula, LRCurves()], partial(Poisoned, value, epoch=2), max_epochs=8)
    return {**report, "history": [entry["epoch"] for entry in decay.history]}


def poisoned_formula(value: float) -> dict[str, Any]:
    """A formula whose value follows a metric that is not finite from epoch 2 on."""
    formula = LRFormula('base_lr * metric("val_loss", 1.0)')
    return fit([formula, LRCurves()], partial(Poisoned, value, epoch=2), max_epochs=5)


# Validation, clocks, interruptions, the user's errors


def no_validation(**settings: Any) -> dict[str, Any]:
    """All callbacks where there is nothing to validate."""
    decay = PlateauDecay(patience=1, factor=0.5)
    test, formula = LRRangeTest(1e-4, 10.0, 40), LRFormula("base_lr * 0.99 ** step", interval="step")
    return fit([test, formula, decay, LRCurves()], **settings)


def clock(kind: str) -> dict[str, Any]:
    """Every look at a clock sees it an hour further back, or forth."""
    jumps = iter(range(1, 10**9))

    def jumping(clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + 3600.0 * math.sin(next(jumps)) * 5

    own = callbacks(kind)
    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, jumping(getattr(time, name)))
    return fit(own, logger=CSVLogger("logs", "works", "0"))


class Interrupting(fits.Net):
    """Interrupts itself in a training step: of the sweep, if ``step`` is one of it."""

    def __init__(self, how: str, step: int) -> None:
        super().__init__()
        self.how, self.at, self.taken = how, step, 0

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.taken += 1
        if self.taken == self.at:
            self._interrupt()
        return super().training_step(batch, batch_idx)

    def _interrupt(self) -> None:
        if self.how == "error":
            raise LookupError("the user's own bug")
        os.kill(os.getpid(), {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}[self.how])


class Before(L.Callback):
    """What the state is right before the sweep, and when the fit ends early."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.before = self._state(trainer)

    def on_exception(self, trainer: L.Trainer, *_: Any) -> None:
        self.after = self._state(trainer)

    @staticmethod
    def _state(trainer: L.Trainer) -> dict[str, Any]:
        state = fits.state_of(trainer, [])
        state["rng"] = fits.digest(torch.get_rng_state())
        state["mode"] = trainer.lightning_module.training
        state["callbacks"] = [type(c).__name__ for c in trainer.callbacks]
        state["loggers"] = [type(x).__name__ for x in trainer.loggers]
        return state


def interrupted(kind: str, how: str, step: int) -> dict[str, Any]:
    """An interruption in the middle of the sweep."""
    before = Before()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    report = fit([*callbacks(kind), before], partial(Interrupting, how, step), CSVLogger("logs", "works", "0"))
    return {**report, "before": before.before, "after": before.after}
