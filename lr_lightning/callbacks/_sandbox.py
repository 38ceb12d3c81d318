"""Optimizer steps inside of a live fit that leave no trace: the only file on Lightning's private API.

A sandbox swaps Lightning's training-epoch loop for a fresh one, takes callbacks, loggers and profiler away, opens a
second iterator on the training data, and then runs Lightning's own batch path: transfer, hooks, precision,
accumulation, clipping, the strategy's backward and optimizer step. On leaving it puts all of that back, bit for bit,
whatever happened inside.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.loops.fetchers import _DataLoaderIterDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.loops.utilities import _select_data_fetcher
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.states import RunningStage
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader

from lr_lightning.callbacks._plain import Restore, plain_state, rng_state
from lr_lightning.callbacks._snapshot import Snapshot

# What is swapped out and put back.
_CONNECTOR_FIELDS = ("_progress_bar_metrics", "_logged_metrics", "_callback_metrics", "_current_fx", "_first_loop_iter")
_LOOP_FIELDS = ("epoch_loop",)
_TRAINER_FIELDS = ("callbacks", "loggers", "should_stop", "profiler")
_DDP_FLAGS = ("require_forward_param_sync", "require_backward_grad_sync")


def logging_step(trainer: Trainer) -> int:
    """The step under which Lightning itself logs: batches that led to an optimizer step so far."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def missing_internals(trainer: Trainer) -> list[str]:
    """Names of the private Lightning attributes that this package needs and this Lightning release lacks."""
    needed = {
        "trainer._logger_connector": [(trainer, "_logger_connector")],
        "trainer.fit_loop": [(trainer.fit_loop, name) for name in ("epoch_loop", "_combined_loader", "max_batches")],
        "_TrainingEpochLoop": [
            (_TrainingEpochLoop, name)
            for name in ("advance", "_update_learning_rates", "_num_ready_batches_reached", "_should_accumulate")
        ],
        "epoch_loop": [(trainer.fit_loop.epoch_loop, name) for name in ("_batches_that_stepped", "batch_progress")],
        "_logger_connector": [(getattr(trainer, "_logger_connector", None), name) for name in _CONNECTOR_FIELDS],
    }
    return [f"{owner}.{name}" for owner, pairs in needed.items() for obj, name in pairs if not hasattr(obj, name)]


class Sandbox:
    """Handle on a running sandbox.

    Attributes:
        passes: How often the training data were started anew.
    """

    def __init__(self, trainer: Trainer, loop: Any, loader: Any, snapshot: Snapshot, cycle: int | None) -> None:
        self.trainer, self._loop, self._loader, self.snapshot = trainer, loop, loader, snapshot
        self.passes = 0
        self._fetcher = _select_data_fetcher(trainer, RunningStage.TRAINING)
        self._fetcher.setup(loader)
        iter(self._fetcher)
        self._cycle = None if isinstance(self._fetcher, _DataLoaderIterDataFetcher) else cycle
        self._kept: list[Any] = []
        self._position = 0
        self._reset_rng = rng_state()

    def micro_batch(self) -> None:
        """One training batch on Lightning's own path.

        A StopIteration must not get out: it would end the fit's own epoch. It comes from a training step that reads
        ``dataloader_iter`` beyond its end, or from an ``on_train_batch_start`` that returns -1: no batch, then.
        """
        owns_data = isinstance(self._fetcher, _DataLoaderIterDataFetcher)
        if owns_data and self._fetcher.done:
            self._restart_data()
        try:
            self._loop.advance(self._fetcher if owns_data else self)
        except StopIteration:
            if owns_data:
                self._restart_data()

    @property
    def window_closed(self) -> bool:
        """Whether the last micro-batch was the last of an accumulation window."""
        return not self._loop._should_accumulate()

    def rewind(self) -> None:
        """Back to the starting state: weights, optimizer, RNGs, and with ``cycle`` the first batch as well."""
        self.snapshot.restore()
        self._loop = _fresh_loop(self.trainer)
        self.trainer.fit_loop.epoch_loop = self._loop
        self.trainer._logger_connector._first_loop_iter = None
        self._reset_rng()
        self._position = 0

    @property
    def done(self) -> bool:
        """Asked by Lightning to close an accumulation window on the epoch's last batch: here epochs don't end."""
        return False

    def __next__(self) -> tuple[Any, int, int]:
        """The next batch, for Lightning's loop: of the kept ones once there are ``cycle`` of them, else fetched."""
        if self._cycle is not None and self._position >= self._cycle:
            item = self._kept[self._position % self._cycle]
        elif self._position < len(self._kept):
            item = self._kept[self._position]
        else:
            item = self._fetch()
            if self._cycle is not None:
                self._kept.append(_clone_batch(item))
        self._position += 1
        return _clone_batch(item) if self._cycle is not None else item  # type: ignore[no-any-return]

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
            for sampler in _samplers(loader):
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
    *,
    keep_callbacks: tuple[type, ...] = (),
    isolate_data: bool = False,
    cycle: int | None = None,
    snapshot_device: str | None = None,
    fresh_wrapper: bool = True,
) -> Iterator[Sandbox]:
    """Run training batches inside of a fit without leaving a trace.

    To be entered in ``on_train_batch_start``: checkpoints are restored and every ``on_train_epoch_start`` has run.

    Args:
        trainer: The fitting trainer.
        probe: Callback that sees the sandbox's batches.
        keep_callbacks: Types of the user's callbacks that take part as well; what they keep isn't restored.
        isolate_data: Fetch through a worker process, so that a dataset's own RNG or position stays as it is.
        cycle: Use the first ``cycle`` batches over and over (None: go through the data).
        snapshot_device: Device for the copies, ``"cpu"`` for models that don't fit twice on the accelerator.
        fresh_wrapper: No real batch has been through the DDP wrapper yet.

    Yields:
        The running sandbox.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(rng_state())
        loader, generators = _twin_loader(trainer.fit_loop._combined_loader, isolate_data)
        assert trainer.strategy.model is not None
        snapshot = Snapshot(
            trainer.strategy.model,
            trainer.optimizers,
            [config.scheduler for config in trainer.lr_scheduler_configs],
            [trainer.precision_plugin],
            [getattr(trainer, "datamodule", None)],
            snapshot_device,
        )
        undo.push(_restore_ddp(trainer, fresh_wrapper))
        undo.callback(snapshot.restore)
        for put_back in generators:
            undo.callback(put_back)
        _swap(undo, trainer, probe, keep_callbacks)
        running = Sandbox(trainer, trainer.fit_loop.epoch_loop, loader, snapshot, cycle)
        undo.callback(running.close)
        yield running


def _swap(undo: contextlib.ExitStack, trainer: Trainer, probe: Callback, keep_callbacks: tuple[type, ...]) -> None:
    connector = trainer._logger_connector
    for owner, names in (
        (trainer.fit_loop, _LOOP_FIELDS),
        (trainer, _TRAINER_FIELDS),
        (connector, _CONNECTOR_FIELDS),
    ):
        for name in names:
            undo.callback(setattr, owner, name, getattr(owner, name))
    trainer.fit_loop.epoch_loop = _fresh_loop(trainer)
    trainer.callbacks = [probe, *(c for c in trainer.callbacks if isinstance(c, keep_callbacks))]
    trainer.loggers = [DummyLogger()] if trainer.loggers else []
    trainer.profiler = PassThroughProfiler()
    connector._progress_bar_metrics, connector._logged_metrics, connector._callback_metrics = {}, {}, {}
    connector._first_loop_iter = None


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

    return restore


def _twin_loader(combined: Any, isolate_data: bool) -> tuple[Any, list[Restore]]:
    """A combined loader over the same datasets whose iterators are independent of those that the fit has opened.

    Returns:
        The twin, and functions that put back the state of generators and of the datasets' own small attributes.
    """
    put_back: list[Restore] = []
    for loader in combined.flattened:
        put_back += [_generator_restore(g) for g in _generators(loader)]
        put_back += [plain_state(d, small=True, skip=frozenset()) for d in _datasets(loader)]
    twin = copy.copy(combined)
    twin._iterator = None
    twin.flattened = [_twin(loader, isolate_data) for loader in combined.flattened]
    return twin, put_back


def _twin(loader: Any, isolate_data: bool) -> Any:
    if not isinstance(loader, DataLoader):
        if isinstance(loader, Iterator):
            raise TypeError(
                f"the training data are a one-shot iterator ({type(loader).__name__}): what a range test reads from it "
                "would be lost for training. Wrap the stream in a DataLoader over an IterableDataset"
            )
        return loader
    twin = copy.copy(loader)
    twin.__dict__["_iterator"] = None  # persistent workers belong to the fit's own loader
    shared = {id(g): g for g in _generators(loader)} | {id(d): d for d in _datasets(loader)}
    for name in ("sampler", "batch_sampler"):
        if twin.__dict__.get(name) is not None:
            twin.__dict__[name] = copy.deepcopy(twin.__dict__[name], shared)
    if isolate_data and twin.num_workers == 0:
        twin.__dict__.update(num_workers=1, prefetch_factor=2)
    return twin


def _samplers(loader: Any) -> Iterator[Any]:
    for sampler in (getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        while sampler is not None:
            yield sampler
            sampler = getattr(sampler, "sampler", None)


def _generators(loader: Any) -> list[torch.Generator]:
    owners = (loader, *_samplers(loader))
    found = {id(g): g for g in (getattr(o, "generator", None) for o in owners) if isinstance(g, torch.Generator)}
    return list(found.values())


def _datasets(loader: Any) -> Iterator[Any]:
    """Datasets and those they wrap; a loader of another kind than torch's is its own dataset."""
    dataset = getattr(loader, "dataset", None) if isinstance(loader, DataLoader) else loader
    while dataset is not None and hasattr(dataset, "__dict__"):
        yield dataset
        dataset = getattr(dataset, "dataset", None)


def _generator_restore(generator: torch.Generator) -> Restore:
    state = generator.get_state()
    return lambda: generator.set_state(state)


def _clone_batch(item: Any) -> Any:
    return tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else copy.copy(x), item)
