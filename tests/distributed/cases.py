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

from lr_lightning import LRRangeTest
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.callbacks._sandbox.steps import Probe, take_steps
from lr_lightning.optim.snapshot import Snapshot
from tests.distributed.modules import FSDP2, Guarded, Known, LayerNorm, Manual, TensorParallel, Wide, Workers
from tests.helpers.identity import RANGE
from tests.helpers.modules import Classifier


class Counts(Counter, L.Callback):
    """What a sweep's steps count: a sandbox doesn't put back what a callback is."""


class Counted(LRRangeTest):
    """Counts its runs, the training steps in them and the collectives that Python code asks for."""

    runs, calls, collectives, nbytes, aside = 0, 0, None, 0, None
    _functions = ("all_reduce", "barrier", "broadcast", "all_gather", "all_gather_object", "broadcast_object_list")

    def run(self, trainer):
        self.runs += 1
        # On the class: what hangs on the module itself would be put back.
        kind, counts = type(trainer.lightning_module), Counts()
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
    "groups": Case(test={**RANGE, "rule": {"groups": "search"}}, alone=True),
    "groups-fsdp2": Case(
        strategy=model_parallel(2, 1), module=LayerNorm, test={**RANGE, "rule": {"groups": "search"}}, alone=True
    ),
    "groups-manual": Case(module=Manual, test={**RANGE, "rule": {"groups": "search"}}, alone=True),
    "failing": known((1, 7, fail), callbacks=lambda: [OnFailure()]),
    "dying0": known((0, 7, die), test=LADDER),
    "dying1": known((1, 7, die), test=LADDER),
    "dying-alone": known((0, 7, die), test=LADDER, devices=1, strategy=lambda: "auto"),
}
