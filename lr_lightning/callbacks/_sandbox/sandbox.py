"""Optimizer steps inside of a live fit that leave no trace: the only file on Lightning's private API.

A sandbox swaps Lightning's training-epoch loop for a fresh one, takes callbacks, loggers and profiler away, opens a
second iterator on the training data, and then runs Lightning's own batch path: transfer, hooks, precision,
accumulation, clipping, the strategy's backward and optimizer step. On leaving it puts all of that back, bit for bit,
whatever happened inside.
"""

import contextlib
import copy
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.nn.parallel import DistributedDataParallel

from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox.data import clone_batch, samplers, state_of_data, twin
from lr_lightning.callbacks._sandbox.settings import SandboxSettings
from lr_lightning.callbacks._traces import MACHINERY, warn_of_traces
from lr_lightning.optim.rng import Restore, rng_state
from lr_lightning.optim.snapshot import Snapshot

# Found by name: where a release has moved one, this import still works and the fit is refused with words.
_DataLoaderIterDataFetcher = _internals.find("lightning.pytorch.loops.fetchers._DataLoaderIterDataFetcher")
_TrainingEpochLoop = _internals.find("lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop")
_select_data_fetcher = _internals.find("lightning.pytorch.loops.utilities._select_data_fetcher")
_call_strategy_hook = _internals.find("lightning.pytorch.trainer.call._call_strategy_hook")

# What is swapped out and put back.
_CONNECTOR_FIELDS = _internals.CONNECTOR
_LOOP_FIELDS = ("epoch_loop",)
_TRAINER_FIELDS = ("callbacks", "loggers", "should_stop", "profiler")
_DDP_FLAGS = ("require_forward_param_sync", "require_backward_grad_sync")


def logging_step(trainer: Trainer) -> int:
    """The step under which Lightning itself logs: batches that led to an optimizer step so far."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


class Sandbox:
    """Handle on a running sandbox.

    Attributes:
        passes: How often the training data were started anew.
        val_loader: The fit's combined validation loader, or None.
    """

    def __init__(self, trainer: Trainer, loader: Any, val_loader: Any, take_snapshot: Callable[[], Snapshot]) -> None:
        self.trainer, self._loader, self._take_snapshot = trainer, loader, take_snapshot
        self.val_loader, self.passes = val_loader, 0
        self._kept: list[Any] = []
        self._first, self._count, self._position = 0, 0, 0
        # Before the first fetch: an iterable may train the model, or play with it.
        self.start = take_snapshot()
        self._rng = rng_state()
        self._fetcher = _select_data_fetcher(trainer, RunningStage.TRAINING)
        self._fetcher.setup(loader)
        iter(self._fetcher)

    def use(self, first: int, count: int, position: int = 0) -> None:
        """Cycle through ``count`` batches from number ``first`` on; the next one is ``first + position % count``.

        Batches are kept in host memory. Data that hand over their iterator (``training_step(dataloader_iter)``) can't
        be cycled and go on. ``count=0`` ends the cycling: the following batches are fetched and not kept.
        """
        self._first, self._count, self._position = first, count, position

    def micro_batch(self) -> None:
        """One training batch on Lightning's own path.

        A SIGTERM ends the fit here as it does between two of its own batches, and not when all of the sweep is done.
        A StopIteration must not get out: it would end the fit's own epoch. It comes from a training step that reads
        ``dataloader_iter`` beyond its end, or from an ``on_train_batch_start`` that returns -1: no batch, then.
        """
        owns_data = isinstance(self._fetcher, _DataLoaderIterDataFetcher)
        if owns_data and self._fetcher.done:
            self._restart_data()
        try:
            self.trainer.fit_loop.epoch_loop.advance(self._fetcher if owns_data else self)  # type: ignore[arg-type]
        except StopIteration:
            if owns_data:
                self._restart_data()
        if self.trainer.world_size == 1 and self.trainer.received_sigterm:
            raise SIGTERMException  # several ranks agree on it inside of advance()

    @property
    def window_closed(self) -> bool:
        """Whether the last micro-batch was the last of an accumulation window."""
        return not self.trainer.fit_loop.epoch_loop._should_accumulate()

    def state(self) -> Restore:
        """Remember weights, optimizers and RNGs as they are now; the returned function puts them back."""
        snapshot, reset_rng = self._take_snapshot(), rng_state()
        return lambda: self._put_back(snapshot, reset_rng)

    def _put_back(self, snapshot: Snapshot, reset_rng: Restore) -> None:
        snapshot.restore()
        self.trainer.fit_loop.epoch_loop = _fresh_loop(self.trainer)
        self.trainer._logger_connector._first_loop_iter = None
        reset_rng()

    def rewind(self) -> None:
        """Back to the weights, optimizers and RNGs that the sandbox started with."""
        self._put_back(self.start, self._rng)

    @property
    def done(self) -> bool:
        """Asked by Lightning to close an accumulation window on the epoch's last batch: here epochs don't end."""
        return False

    def __next__(self) -> tuple[Any, int, int]:
        """The next batch, for Lightning's loop."""
        if not self._count:
            return self._fetch()  # type: ignore[no-any-return]
        index = self._first + self._position % self._count
        total = self.trainer.num_training_batches
        index = int(index % total) if total < float("inf") else index
        while len(self._kept) <= index:
            self._kept.append(clone_batch(self._fetch()))
        self._position += 1
        return clone_batch(self._kept[index])  # type: ignore[no-any-return]

    def _fetch(self) -> Any:
        try:
            if self._fetcher.done:
                self._restart_data()
            return next(self._fetcher)
        except StopIteration:
            self._restart_data()
        try:
            return next(self._fetcher)
        except StopIteration:
            raise ValueError("the training dataloader gave no batch: a range test needs at least one") from None

    def _restart_data(self) -> None:
        self.passes += 1
        for loader in self._loader.flattened:
            for sampler in samplers(loader):
                if hasattr(sampler, "set_epoch"):
                    sampler.set_epoch(self.trainer.current_epoch + self.passes)
        iter(self._fetcher)

    def close(self) -> None:
        """Shut down the workers that this sandbox started."""
        self._fetcher.teardown()


@contextlib.contextmanager
def sandbox(
    trainer: Trainer,
    probe: Callback,
    settings: SandboxSettings | None = None,
    fresh_wrapper: bool = True,
) -> Iterator[Sandbox]:
    """Run training batches inside of a fit without leaving a trace.

    To be entered in ``on_train_batch_start``: checkpoints are restored and every ``on_train_epoch_start`` has run.

    Args:
        trainer: The fitting trainer.
        probe: Callback that sees the sandbox's batches.
        settings: Which of the user's callbacks take part as well, how data are fetched, where the copies are kept.
        fresh_wrapper: No real batch has been through the DDP wrapper yet.

    Yields:
        The running sandbox.
    """
    how = settings or SandboxSettings()

    def take_snapshot() -> Snapshot:
        assert trainer.strategy.model is not None
        return Snapshot(
            trainer.strategy.model,
            trainer.optimizers,
            [config.scheduler for config in trainer.lr_scheduler_configs],
            {"precision": trainer.precision_plugin, "datamodule": getattr(trainer, "datamodule", None)},
            how.snapshot_device,
            MACHINERY,
        )

    with contextlib.ExitStack() as undo:
        undo.callback(rng_state())
        combined, val_loader = trainer.fit_loop._combined_loader, trainer.fit_loop.epoch_loop.val_loop._combined_loader
        data, loader = state_of_data(combined, val_loader), _twin_loader(combined, how.isolate_data)
        undo.push(_restore_ddp(trainer, fresh_wrapper))
        _swap(undo, trainer, probe, how.kept(trainer.callbacks))
        running = Sandbox(trainer, loader, val_loader, take_snapshot)
        undo.callback(warn_of_traces, running.start, data)
        undo.callback(data.restore)
        undo.callback(running.rewind)
        undo.callback(running.close)
        yield running


def _swap(undo: contextlib.ExitStack, trainer: Trainer, probe: Callback, kept: Sequence[Callback]) -> None:
    connector = trainer._logger_connector
    for owner, names in (
        (trainer.fit_loop, _LOOP_FIELDS),
        (trainer, _TRAINER_FIELDS),
        (connector, _CONNECTOR_FIELDS),
    ):
        for name in names:
            undo.callback(setattr, owner, name, getattr(owner, name))
    trainer.fit_loop.epoch_loop = _fresh_loop(trainer)
    trainer.callbacks = [
        probe,
        *(c if c in kept else _muted(c) for c in trainer.callbacks if c in kept or isinstance(c, ProgressBar)),
    ]
    trainer.loggers = [DummyLogger()] if trainer.loggers else []
    trainer.profiler = PassThroughProfiler()
    connector._progress_bar_metrics, connector._logged_metrics, connector._callback_metrics = {}, {}, {}
    connector._first_loop_iter = None


def _muted(bar: Any) -> Callback:
    """The same progress bar without its hooks: RichProgressBar's own thread looks for it in the trainer."""
    hooks: dict[str, Any] = {name: lambda *_, **__: None for name in dir(Callback) if name.startswith("on_")}
    muted: Callback = object.__new__(type(f"Muted{type(bar).__name__}", (type(bar),), hooks))
    muted.__dict__ = bar.__dict__
    return muted


def _fresh_loop(trainer: Trainer) -> Any:
    old = trainer.fit_loop.epoch_loop
    loop = _TrainingEpochLoop(trainer, old.min_steps, old.max_steps)
    loop._update_learning_rates = lambda *_, **__: None  # schedulers stay visible to the module but aren't stepped
    loop._num_ready_batches_reached = lambda: False  # no epoch end: accumulation windows stay whole
    return loop


def _restore_ddp(trainer: Trainer, fresh: bool) -> Callable[..., None]:
    """DDP settles its gradient buckets after the first backward; with three ranks and more that changes the last bit.

    Before the first real batch a new wrapper starts from the initial buckets, as a fit without range test does. Later
    the buckets are settled and only the sync flags go back: a new wrapper would broadcast rank 0's buffers. After an
    exception there is no new wrapper either: its collectives would wait for ranks that may be elsewhere.
    """
    strategy = trainer.strategy
    wrapper = strategy.model
    flags = {name: getattr(wrapper, name) for name in _DDP_FLAGS if hasattr(wrapper, name)}

    def restore(error: type[BaseException] | None, *_: Any) -> None:
        if not isinstance(wrapper, DistributedDataParallel):
            return
        if not fresh or error is not None:
            for name, value in flags.items():
                setattr(wrapper, name, value)
            return
        strategy.model = strategy.lightning_module  # drops the old reducer and its autograd hooks
        if hasattr(strategy, "_pl_static_graph_delay_done"):
            strategy._pl_static_graph_delay_done = False
        strategy.configure_ddp()
        # A strategy registers its own communication hook again; one that a user put on the old wrapper must follow.
        renewed: Any = strategy.model
        for hook, state in getattr(wrapper, "_comm_hooks", ())[len(getattr(renewed, "_comm_hooks", ())) :]:
            renewed.register_comm_hook(state, hook)

    return restore


def _twin_loader(combined: Any, isolate_data: bool) -> Any:
    """A combined loader over the same datasets whose iterators are independent of those that the fit has opened."""
    copied = copy.copy(combined)
    copied._iterator = None
    copied.flattened = [twin(loader, isolate_data) for loader in combined.flattened]
    return copied


class Validation:
    """Mean validation loss of the running weights on a few fixed batches.

    Args:
        box: The running sandbox.
        num_batches: How many of the first validation batches are used.

    Raises:
        ValueError: If there are no validation data.
    """

    def __init__(self, box: Sandbox, num_batches: int) -> None:
        if box.val_loader is None:
            raise ValueError('evaluate="val" needs a val_dataloader; this fit has none')
        self._trainer = box.trainer
        loaders = [twin(loader, isolate_data=False) for loader in box.val_loader.flattened]
        self._batches = list(itertools.islice(itertools.chain.from_iterable(loaders), num_batches))
        if not self._batches:
            raise ValueError('evaluate="val" needs at least one validation batch; the val_dataloader gave none')

    @torch.no_grad()
    def __call__(self) -> list[tuple[torch.Tensor, Any]]:
        """Each batch's loss with the batch, in evaluation mode; the modules' modes come back.

        Raises:
            ValueError: If ``validation_step`` doesn't return its loss.
        """
        trainer, module = self._trainer, self._trainer.lightning_module
        modes = [(m, m.training) for m in module.modules()]
        trainer.validating = True
        module.eval()
        try:
            return [(self._loss(index, clone_batch(batch)), batch) for index, batch in enumerate(self._batches)]
        finally:
            trainer.training = True
            for submodule, mode in modes:
                submodule.training = mode

    def _loss(self, index: int, batch: Any) -> torch.Tensor:
        trainer = self._trainer
        batch = trainer.precision_plugin.convert_input(batch)
        batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
        batch = _call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=0)
        assert trainer._results is not None
        trainer._results.batch = batch
        takes_index = len(inspect.signature(trainer.lightning_module.validation_step).parameters) > 1
        output = _call_strategy_hook(trainer, "validation_step", batch, *((index,) if takes_index else ()))
        loss = output.get("loss") if isinstance(output, dict) else output
        if not isinstance(loss, torch.Tensor):
            raise ValueError(
                f'evaluate="val" reads the loss that validation_step returns; it returned {type(output).__name__}'
            )
        return loss.detach().mean()
