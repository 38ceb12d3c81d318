"""Optimizer steps inside of a live fit that leave no trace: the only file on Lightning's private API.

A sandbox swaps Lightning's training-epoch loop for a fresh one, takes callbacks, loggers and profiler away, opens a
second iterator on the training data, and then runs Lightning's own batch path: transfer, hooks, precision,
accumulation, clipping, the strategy's backward and optimizer step. On leaving it puts all of that back, bit for bit,
whatever happened inside.
"""

import contextlib
import copy
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.states import RunningStage
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.nn.parallel import DistributedDataParallel

from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox.belongings import attributes_back, belongings
from lr_lightning.callbacks._sandbox.data import samplers, state_of_data, twin
from lr_lightning.callbacks._sandbox.muted import muted_callbacks, muted_logger
from lr_lightning.callbacks._sandbox.settings import SandboxSettings
from lr_lightning.callbacks._traces import MACHINERY, warn_of_traces
from lr_lightning.optim.batches import can_copy, copy_batch
from lr_lightning.optim.process import process_state
from lr_lightning.optim.rng import Restore
from lr_lightning.optim.snapshot import Outside, Snapshot

# Found by name: where a release has moved one, this import still works and the fit is refused with words.
_DataLoaderIterDataFetcher = _internals.find("lightning.pytorch.loops.fetchers._DataLoaderIterDataFetcher")
_TrainingEpochLoop = _internals.find("lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop")
_select_data_fetcher = _internals.find("lightning.pytorch.loops.utilities._select_data_fetcher")

# What is swapped out and put back.
_CONNECTOR_FIELDS = _internals.CONNECTOR
_LOOP_FIELDS = ("epoch_loop",)
_FETCHERS = "lightning.pytorch.loops.fetchers"
_DDP_FLAGS = ("require_forward_param_sync", "require_backward_grad_sync")


def logging_step(trainer: Trainer) -> int:
    """The step under which Lightning itself logs: batches that led to an optimizer step so far."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


class Sandbox:
    """Handle on a running sandbox.

    Attributes:
        passes: How often the training data were started anew.
        val_loader: The fit's combined validation loader, or None.
        on_put_back: Called when a state has been put back.
        outside: Notes what steps do outside of the process.
    """

    def __init__(
        self,
        trainer: Trainer,
        fits_own: Any,
        loader: Any,
        val_loader: Any,
        start: Snapshot,
        take_snapshot: Callable[[], Snapshot],
        fresh_wrapper: bool = True,
    ) -> None:
        self.trainer, self._loader, self._take_snapshot = trainer, loader, take_snapshot
        self._fits_own, self.val_loader, self.passes = fits_own, val_loader, 0
        self.on_put_back: Callable[[], None] = lambda: None
        self.outside = Outside()
        self._kept: list[Any] = []
        self._fresh_wrapper, self._broken_off = fresh_wrapper, False
        self._first, self._count, self._position, self._taken = 0, 0, 0, 0
        self.start, self._process = start, process_state()
        self._fetcher = _select_data_fetcher(trainer, RunningStage.TRAINING)
        self._fetcher.setup(loader)
        iter(self._fetcher)
        self._open_loop()

    def use(self, first: int, count: int, position: int = 0) -> None:
        """Cycle through ``count`` batches from number ``first`` on; the next one is ``first + position % count``.

        Batches are kept in host memory. Data that hand over their iterator (``training_step(dataloader_iter)``) can't
        be cycled and go on. ``count=0`` ends the cycling: the following batches are fetched and not kept.
        """
        self._first, self._count, self._position = first, count, position
        seen, total = self.trainer.fit_loop.epoch_loop.batch_progress.current, self.trainer.num_training_batches
        seen.ready = seen.started = seen.processed = seen.completed = int(position % total)

    @property
    def can_keep_batches(self) -> bool:
        """Whether batches can be copied, and so be shown again; looks at the first one."""
        if not isinstance(self._fetcher, _DataLoaderIterDataFetcher) and not self._kept:
            with self.outside.noting():
                self._kept.append(self._fetch())
        return can_copy(self._kept[:1])

    def micro_batch(self) -> None:
        """One training batch on Lightning's own path.

        A SIGTERM ends the fit here as it does between two of its own batches, and not when all of the sweep is done.
        A StopIteration must not get out: it would end the fit's own epoch. It comes from a training step that reads
        ``dataloader_iter`` beyond its end, or from an ``on_train_batch_start`` that returns -1: no batch, then.
        """
        owns_data, loop = isinstance(self._fetcher, _DataLoaderIterDataFetcher), self.trainer.fit_loop.epoch_loop
        if owns_data and self._fetcher.done:
            self._restart_data()
        seen = loop.batch_progress.current
        if seen.ready >= self.trainer.num_training_batches:  # batch_idx stays within the epoch
            seen.ready = seen.started = seen.processed = seen.completed = 0
        self._taken += 1
        try:
            loop.advance(self._fetcher if owns_data else self)  # type: ignore[arg-type]
        except StopIteration as end:
            if not _is_lightnings(end):
                raise RuntimeError("the training step raised StopIteration: an iterator of its own has ended") from end
            if owns_data:
                self._restart_data()
        if self.trainer.world_size == 1 and self.trainer.received_sigterm:
            raise SIGTERMException  # several ranks agree on it inside of advance()

    @property
    def window_closed(self) -> bool:
        """Whether the last micro-batch was the last of an accumulation window."""
        return not self.trainer.fit_loop.epoch_loop._should_accumulate()

    def state(self) -> Restore:
        """Remember weights, optimizers, RNGs and the place in the data; the returned function puts them back."""
        snapshot, reset_process, place = (
            self._take_snapshot(),
            process_state(),
            (self._first, self._count, self._position),
        )

        def put_back() -> None:
            self._put_back(snapshot, reset_process)
            self.use(*place)

        return put_back

    def can_break_off(self, in_backward: bool) -> bool:
        """Whether steps can be taken again after one that raised on all ranks.

        DDP's wrapper takes no further batch after a backward that broke off, so it is made anew: where the fit hasn't
        used it yet (see :func:`_restore_ddp`).
        """
        ddp = isinstance(self.trainer.strategy.model, DistributedDataParallel)
        return not in_backward or (ddp and self._fresh_wrapper)

    def broke_off(self, in_backward: bool) -> None:
        """A step has raised on all ranks; no further one is taken before a state is put back."""
        self._broken_off = in_backward

    def _put_back(self, snapshot: Snapshot, reset_process: Restore) -> None:
        if self._broken_off:
            _renew_ddp(self.trainer)
            self._broken_off = False
        with self.outside.noting():  # what goes away may write when it does
            snapshot.restore()
        self._open_loop()
        self.on_put_back()
        reset_process()

    def _open_loop(self) -> None:
        loop = _fresh_loop(self.trainer, self._fits_own)
        self._taken = 0
        # Not by batch_idx, which stays within the epoch: windows of accumulation stay whole.
        loop._accumulated_batches_reached = lambda: self._taken % self.trainer.accumulate_grad_batches == 0
        self.trainer.fit_loop.epoch_loop = loop
        self.trainer._logger_connector._first_loop_iter = None

    def rewind(self) -> None:
        """Back to the weights, optimizers and RNGs that the sandbox started with."""
        self._put_back(self.start, self._process)

    @property
    def done(self) -> bool:
        """Asked by Lightning to close an accumulation window on the epoch's last batch: here epochs don't end."""
        return False

    def __next__(self) -> tuple[Any, int, int]:
        """The next batch, for Lightning's loop."""
        if not self._count:
            self._position += 1
            return self._kept.pop(0) if self._kept else self._fetch()  # type: ignore[no-any-return]
        index = self._first + self._position % self._count
        total = self.trainer.num_training_batches
        index = int(index % total) if total < float("inf") else index
        while len(self._kept) <= index:
            self._kept.append(self._fetch())
        self._position += 1
        return copy_batch(self._kept[index])  # type: ignore[no-any-return]

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


def _is_lightnings(end: StopIteration) -> bool:
    """Whether Lightning ends an epoch with it (or hands on that the data have ended), and not the user's step."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(end.__traceback__)]
    # The data's end may come from torch or from the dataset, but always by way of Lightning's fetcher.
    return _FETCHERS in names or names[-1].startswith("lightning.pytorch.loops.")


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
        undo.callback(process_state())
        fits_own, combined = trainer.fit_loop.epoch_loop, trainer.fit_loop._combined_loader
        val_loader = fits_own.val_loop._combined_loader
        kept = how.kept(trainer.callbacks)
        start = take_snapshot()  # before the first fetch: an iterable may train the model, or play with it
        data = state_of_data(combined, val_loader, belongings(trainer, kept), start)
        loader = _twin_loader(combined, how.isolate_data)
        undo.callback(attributes_back(trainer))  # callbacks, loggers, profiler, should_stop, and users' own
        undo.push(_restore_ddp(trainer, fresh_wrapper))
        _swap(undo, trainer, probe, kept)
        running = Sandbox(trainer, fits_own, loader, val_loader, start, take_snapshot, fresh_wrapper)
        running.on_put_back = getattr(probe, "begin", running.on_put_back)
        undo.callback(warn_of_traces, running.start, data, running.outside)
        undo.callback(data.restore)
        undo.callback(running.rewind)
        undo.callback(running.close)
        yield running


def _swap(undo: contextlib.ExitStack, trainer: Trainer, probe: Callback, kept: Sequence[Callback]) -> None:
    connector, callbacks = trainer._logger_connector, trainer.callbacks
    for owner, names in (
        (trainer.fit_loop, _LOOP_FIELDS),
        (connector, _CONNECTOR_FIELDS),
    ):
        for name in names:
            undo.callback(setattr, owner, name, getattr(owner, name))
    trainer.callbacks = [probe]
    for callback in callbacks:
        trainer.callbacks += [callback] if any(callback is one for one in kept) else muted_callbacks([callback])
    trainer.loggers = [muted_logger(logger) for logger in trainer.loggers]
    trainer.profiler = PassThroughProfiler()
    for name in _internals.METRIC_FIELDS:
        setattr(connector, name, dict(getattr(connector, name)))  # what was logged so far can be read
    connector._first_loop_iter = None


def _fresh_loop(trainer: Trainer, fits_own: Any) -> Any:
    """A loop in the place of the fit's own: its counters go on from there, apart."""
    loop = _TrainingEpochLoop(trainer, fits_own.min_steps, fits_own.max_steps)
    loop._batches_that_stepped = fits_own._batches_that_stepped
    for kind, name in _internals.STEP_COUNTERS:
        setattr(getattr(loop, kind), name, copy.deepcopy(getattr(getattr(fits_own, kind), name)))
    loop.batch_progress.total = copy.deepcopy(fits_own.batch_progress.total)
    loop._update_learning_rates = lambda *_, **__: None  # schedulers stay visible to the module but aren't stepped
    loop._num_ready_batches_reached = lambda: False  # no epoch end: accumulation windows stay whole
    return loop


def _restore_ddp(trainer: Trainer, fresh: bool) -> Callable[..., None]:
    """DDP settles its gradient buckets after the first backward; with three ranks and more that changes the last bit.

    Before the first real batch a new wrapper starts from the initial buckets, as a fit without range test does. Later
    the buckets are settled and only the sync flags go back: a new wrapper would broadcast rank 0's buffers. After an
    exception there is no new wrapper either: its collectives would wait for ranks that may be elsewhere.
    """
    wrapper: Any = trainer.strategy.model
    flags = {name: getattr(wrapper, name) for name in _DDP_FLAGS if hasattr(wrapper, name)}

    def restore(error: type[BaseException] | None, *_: Any) -> None:
        if not isinstance(wrapper, DistributedDataParallel):
            return
        if fresh and error is None:
            _renew_ddp(trainer)
            return
        for name, value in flags.items():
            setattr(wrapper, name, value)

    return restore


def _renew_ddp(trainer: Trainer) -> None:
    strategy: Any = trainer.strategy
    wrapper = strategy.model
    strategy.model = strategy.lightning_module  # drops the old reducer and its autograd hooks
    if hasattr(strategy, "_pl_static_graph_delay_done"):
        strategy._pl_static_graph_delay_done = False
    strategy.configure_ddp()
    # A strategy registers its own communication hook again; one that a user put on the old wrapper must follow.
    for hook, state in getattr(wrapper, "_comm_hooks", ())[len(getattr(strategy.model, "_comm_hooks", ())) :]:
        strategy.model.register_comm_hook(state, hook)


def _twin_loader(combined: Any, isolate_data: bool) -> Any:
    """A combined loader over the same datasets whose iterators are independent of those that the fit has opened."""
    copied = copy.copy(combined)
    copied._iterator = None
    copied.flattened = [twin(loader, isolate_data) for loader in combined.flattened]
    return copied
