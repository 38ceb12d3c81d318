"""The fits that the distributed tests launch, by name."""

import functools
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn
from torch.utils.data import DataLoader

from lr_lightning import LRRangeTest
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.callbacks._sandbox.steps import Probe, take_steps
from lr_lightning.optim.snapshot import Snapshot
from tests.helpers.identity import RANGE
from tests.helpers.modules import Classifier, Noisy, network


class Counted(LRRangeTest):
    """Counts its runs, the training steps in them and the collectives that Python code asks for."""

    runs, calls, collectives, nbytes, aside = 0, 0, None, 0, None
    _functions = ("all_reduce", "barrier", "broadcast", "all_gather", "all_gather_object", "broadcast_object_list")

    def run(self, trainer):
        self.runs += 1
        # On the class: what hangs on the module itself would be put back.
        kind, counts = type(trainer.lightning_module), Counter()
        originals = {name: getattr(torch.distributed, name) for name in self._functions}
        step = kind.training_step
        for name, original in originals.items():
            setattr(torch.distributed, name, _counting(original, counts, name))
        kind.training_step = _counting(step, counts, "calls")
        try:
            return super().run(trainer)
        finally:
            kind.training_step = step
            for name, original in originals.items():
                setattr(torch.distributed, name, original)
            self.calls, self.collectives = counts.pop("calls", 0), dict(counts)
            self.nbytes = Snapshot(trainer.strategy.model, trainer.optimizers).nbytes()


class Aside(Counted):
    """Takes steps, sets the state aside, takes others from the start, and goes on from the state set aside."""

    def run(self, trainer):
        self.runs += 1
        probe = Probe(trainer, trainer.optimizers, 10)
        with _sandbox.sandbox(trainer, probe) as box:
            self._steps(box, probe, 1e-2, 0)
            aside, accumulate = box.state(), trainer.accumulate_grad_batches
            first = self._steps(box, probe, 1e-2, 10 * accumulate)
            box.rewind()
            self._steps(box, probe, 1e-1, 0)
            aside()
            second = self._steps(box, probe, 1e-2, 10 * accumulate)
        probe.close()
        self.aside = [first, second]

    def _steps(self, box, probe, lr, position):
        box.use(0, 4 * box.trainer.accumulate_grad_batches, position)
        return take_steps(box, probe, [lr] * 10)


def _counting(function, counts, name):
    @functools.wraps(function)
    def counted(*args, **kwargs):
        counts[name] += 1
        return function(*args, **kwargs)

    return counted


@dataclass(frozen=True)
class Case:
    """One fit: how to make its parts; ``alone`` leaves out the fit with the LR set by hand."""

    devices: int = 2
    strategy: Callable[[], Any] = lambda: "ddp"
    module: Callable[[float], L.LightningModule] = lambda lr: Classifier(lr=lr)
    settings: Callable[[], dict] = dict
    callbacks: Callable[[], list] = list
    test: dict = field(default_factory=lambda: RANGE)
    alone: bool = False
    kind: type = Counted


class CPUFSDP(FSDPStrategy):
    """FSDP1 on CPU: as a subclass it passes Lightning's check for an accelerator; torch needs the device named."""

    def _setup_model(self, model):
        from torch.distributed.fsdp import FullyShardedDataParallel

        return FullyShardedDataParallel(
            module=model,
            cpu_offload=self.cpu_offload,
            mixed_precision=self.mixed_precision_config,
            sharding_strategy=self.sharding_strategy,
            device_id=torch.device("cpu"),
            **self.kwargs,
        )


def fsdp1(**kwargs):
    return CPUFSDP(auto_wrap_policy={nn.Linear}, process_group_backend="gloo", **kwargs)


def deepspeed(stage):
    from lightning.pytorch.strategies import DeepSpeedStrategy

    class CPUDeepSpeed(DeepSpeedStrategy):
        """Without the two checks that refuse everything but CUDA, and without a C++ build for shared memory."""

        def setup_environment(self):
            DDPStrategy.setup_environment(self)

        def setup_distributed(self):
            import deepspeed

            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
            self.set_world_ranks()
            self._init_deepspeed_distributed()

        @property
        def root_device(self):
            return torch.device("cpu", 0)  # DeepSpeed wants an index

    return CPUDeepSpeed(stage=stage, process_group_backend="gloo", zero_allow_untested_optimizer=True)


class FSDP2(Classifier):
    """Sharded by ``fully_shard``, with or without BatchNorm."""

    norm: type | None = nn.BatchNorm1d

    def __init__(self, lr):
        super().__init__(lr=lr)
        self.net = None

    def configure_model(self):
        try:
            from torch.distributed.fsdp import fully_shard
        except ImportError:  # torch 2.4 and 2.5
            from torch.distributed._composable.fsdp import fully_shard

        if self.net is not None:
            return
        torch.manual_seed(11)
        self.net = network(norm=self.norm)
        mesh = self.device_mesh["data_parallel"]
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                fully_shard(layer, mesh=mesh)
        fully_shard(self.net, mesh=mesh)


class LayerNorm(FSDP2):
    norm = nn.LayerNorm


class TensorParallel(FSDP2):
    def configure_model(self):
        from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

        if self.net is not None:
            return
        torch.manual_seed(11)
        self.net = nn.Sequential(*(layer for layer in network(norm=None) if not isinstance(layer, nn.Dropout)))
        mesh = self.device_mesh["tensor_parallel"]
        parallelize_module(self.net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


class Manual(Classifier):
    def __init__(self, lr):
        super().__init__(lr=lr)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        x, y = batch
        optimizers, loss = self.optimizers(), nn.functional.cross_entropy(self.net(x), y)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer, scheduler in zip(optimizers, self.lr_schedulers(), strict=True):
            optimizer.step()
            scheduler.step()
        return loss

    def configure_optimizers(self):
        parameters = list(self.net.parameters())
        first = torch.optim.AdamW(parameters[:-2], lr=self.lr)
        second = torch.optim.SGD(parameters[-2:], lr=self.lr * 10.0, momentum=0.9)
        return [first, second], [torch.optim.lr_scheduler.StepLR(o, 7) for o in (first, second)]


class Workers(Classifier):
    """A worker from a fork server: a plain fork beside gloo's threads hangs now and then, range test or not."""

    def train_dataloader(self):
        return DataLoader(Noisy(), 16, shuffle=True, num_workers=1, multiprocessing_context="forkserver")


class Wide(Classifier):
    """Several DDP buckets."""

    def __init__(self, lr):
        super().__init__(lr=lr, width=1024)


class Known(L.LightningModule):
    """Losses known in closed form: 100 + ``rank`` - number of the call, at 4 samples on rank 0 and 12 on rank 1.

    Args:
        special: ``(rank, call, what)``: there ``what`` happens instead.
    """

    def __init__(self, lr=1e-3, special=None):
        super().__init__()
        self.lr, self.special, self.calls = lr, special, 0
        self.weight = nn.Parameter(torch.zeros(2))

    def training_step(self, batch, batch_idx):
        call, self.calls = self.calls, self.calls + 1
        if self.special is not None and self.special[0] == self.global_rank and call >= self.special[1]:
            return self.special[2](self) + self.weight.sum() * 0
        return 100.0 + self.global_rank - call + self.weight.sum() * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return DataLoader(torch.zeros(20 * 4 * (1 + 2 * self.global_rank), 1), 4 * (1 + 2 * self.global_rank))


class Guarded(L.LightningModule):
    """A line that diverges; its guard raises where the weights are too large, or ``where`` says.

    Args:
        where: ``"all"``: on all ranks; ``"backward"``: in the backward of all; ``"one"``: on rank 1 alone;
            ``"healthy"``: on all ranks, while the loss falls.
    """

    def __init__(self, lr=1e-3, where="all"):
        super().__init__()
        self.lr, self.where = lr, where
        self.net = nn.Linear(4, 1)

    def configure_model(self):
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            from torch.distributed.fsdp import fully_shard

            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch, batch_idx):
        x = batch + 0.1 * self.global_rank
        loss = nn.functional.mse_loss(self.net(x).squeeze(1), x.sum(1))
        # By the weights, which all ranks share: their losses differ.
        bad = batch_idx == 7 if self.where == "healthy" else float(self.net.weight.detach().abs().max()) > 100
        if bad and self.where == "backward":
            loss.register_hook(_raise)
        elif bad and (self.where != "one" or self.global_rank == 1):
            _raise(loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return DataLoader(torch.randn(320, 4, generator=torch.Generator().manual_seed(1)), 16)


def _raise(value):
    raise ValueError("too large")


def nan(module):
    return float("nan")


def fail(module):
    raise ZeroDivisionError(f"inside of rank {module.global_rank}")


def die(module):
    if os.environ.get("DIES") == "yes":
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


class OnFailure(L.Callback):
    """Says whether the weights of a failing rank came back."""

    def on_train_start(self, trainer, module):
        self.callbacks = list(trainer.callbacks)

    def on_exception(self, trainer, module, exception):
        restored = trainer.callbacks == self.callbacks and module.weight.tolist() == [0.0, 0.0]
        print(f"rank {trainer.global_rank} restored={restored} {type(exception).__name__}", flush=True)


class Halved(L.Callback):
    """A communication hook that a user puts on the DDP wrapper: half of the mean gradient."""

    def on_fit_start(self, trainer, module):
        def halve(state, bucket: torch.distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
            share = bucket.buffer() / (2 * trainer.world_size)
            sent = torch.distributed.all_reduce(share, async_op=True).get_future()
            return sent.then(lambda done: done.value()[0])

        trainer.strategy.model.register_comm_hook(None, halve)


def model_parallel(data, tensor, **kwargs):
    return lambda: ModelParallelStrategy(data_parallel_size=data, tensor_parallel_size=tensor, **kwargs)


def known(special=None, **kwargs):
    settings = {"use_distributed_sampler": False, "max_epochs": 1}
    module = lambda lr: Known(lr=lr, special=special)  # noqa: E731
    return Case(module=module, settings=lambda: settings, alone=True, **kwargs)


GUARDED = {"min_lr": 1e-6, "max_lr": 1e3, "num_steps": 100}


def guarded(where="all", **kwargs):
    return Case(module=lambda lr: Guarded(lr, where), test=kwargs.pop("test", GUARDED), **kwargs)


def busy():
    return {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "precision": "bf16-mixed"}


def ddp(devices, strategy="ddp"):
    part = {"devices": devices, "strategy": lambda: strategy}
    return {
        f"{strategy}{devices}": Case(**part),
        f"{strategy}{devices}-busy": Case(settings=busy, **part),
        f"{strategy}{devices}-manual": Case(module=Manual, **part),
        f"{strategy}{devices}-wide": Case(module=Wide, settings=lambda: {"max_epochs": 1}, **part),
        f"{strategy}{devices}-workers": Case(module=Workers, settings=lambda: {"max_epochs": 1}, **part),
    }


def cold(**settings):
    """No sanity check: the first forward of all, in which strategies set up the rest of theirs, is the sweep's."""
    return lambda: {"num_sanity_val_steps": 0, **settings}


LADDER = {"min_lr": 1e-8, "max_lr": 1e-7, "num_steps": 15, "sandbox": {"num_batches": None}}
MID = {**RANGE, "at_epochs": [1], "apply": False}  # the LR stays, so that the fit without a test is the same one

KINDS = {
    "ddp2": {},
    "fsdp1": {"strategy": fsdp1},
    "fsdp2": {"strategy": model_parallel(2, 1), "module": LayerNorm},
    "tp2": {"strategy": model_parallel(1, 2), "module": TensorParallel},
    **{f"zero{n}": {"strategy": lambda n=n: deepspeed(n)} for n in (1, 2, 3)},
}

CASES = {
    **ddp(2),
    **ddp(3),
    **{name: Case(**parts) for name, parts in KINDS.items()},
    **{f"{name}-mid": Case(**parts, test=MID) for name, parts in (*KINDS.items(), ("ddp3", {"devices": 3}))},
    **{f"{name}-aside": Case(**parts, kind=Aside) for name, parts in KINDS.items()},
    "ddp_spawn2": Case(strategy=lambda: "ddp_spawn"),
    "ddp_fork2": Case(strategy=lambda: "ddp_fork"),
    "ddp2-unused": Case(strategy=lambda: "ddp_find_unused_parameters_true"),
    "ddp2-static": Case(strategy=lambda: DDPStrategy(static_graph=True)),
    "ddp2-hook": Case(callbacks=lambda: [Halved()]),
    "fsdp2-repeats": Case(strategy=model_parallel(2, 1), module=LayerNorm, test={**RANGE, "repeats": 2}),
    "ddp2-views": Case(strategy=lambda: DDPStrategy(gradient_as_bucket_view=True)),
    "fsdp1-accumulate": Case(strategy=fsdp1, settings=lambda: {"accumulate_grad_batches": 2}),
    **{f"{name}-cold": Case(**parts, settings=cold()) for name, parts in KINDS.items()},
    "fsdp1-flat-cold": Case(strategy=lambda: fsdp1(use_orig_params=False), settings=cold()),
    "fsdp2-full-cold": Case(
        strategy=model_parallel(2, 1, save_distributed_checkpoint=False),
        module=LayerNorm,
        settings=cold(enable_checkpointing=True),
    ),
    "fsdp2-batchnorm": Case(strategy=model_parallel(2, 1), module=FSDP2),
    "fsdp2-busy": Case(strategy=model_parallel(2, 1), module=LayerNorm, settings=busy),
    **{
        f"zero{n}-accumulate": Case(
            strategy=lambda n=n: deepspeed(n), settings=lambda: {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5}
        )
        for n in (1, 2, 3)
    },
    "losses": known(test=LADDER),
    "nan": known((1, 13, nan), test={**LADDER, "num_steps": 60}),
    "guarded": guarded(),
    "guarded-backward": guarded("backward", test={**GUARDED, "repeats": 2}),
    "guarded-fsdp2": guarded(strategy=model_parallel(2, 1)),
    "guarded-one": guarded("one", alone=True),
    "guarded-healthy": guarded("healthy", alone=True),
    "failing": known((1, 7, fail), callbacks=lambda: [OnFailure()]),
    "dying0": known((0, 7, die), test=LADDER),
    "dying1": known((1, 7, die), test=LADDER),
    "dying-alone": known((0, 7, die), test=LADDER, devices=1, strategy=lambda: "auto"),
}
