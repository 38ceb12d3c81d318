"""On a GPU: what a range test costs in time and memory, and how often callbacks wait for the device."""

from __future__ import annotations

import contextlib
import gc
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch.profiler import ProfilerActivity, profile

from lr_lightning import LRCurves, LRFormula, LRRangeTest, PlateauDecay
from recipes.benchmarks import range_test_cost
from recipes.benchmarks.gpu_models import SIZES, TINY, Size, Synthetic
from recipes.benchmarks.gpu_run import Run
from recipes.benchmarks.harness import bare_trainer, spread

ROUNDS = {"20M": 5, "350M": 3, "1.3B": 2}
FIRST_ROUND = 20  # seconds below which a model isn't begun
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


class WholeFit(range_test_cost.Stopwatch):
    """Seconds from the first batch's start to the last one's end, waiting for the device at these alone."""

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any, **kwargs: Any) -> None:
        """Stop at the last step."""
        if trainer.global_step >= trainer.max_steps:
            super().on_train_batch_end(trainer, module, *args, **kwargs)


class LetGo(L.Callback):
    """Frees weights and optimizer state at the end: Lightning carries them to the host, which takes longer."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave nothing to be carried."""
        trainer.optimizers[0].state.clear()
        for parameter in pl_module.parameters():
            parameter.grad = None
            parameter.data = parameter.data.new_empty(0)


TOOLS: dict[str, Callable[[], Any]] = {
    "bare": WholeFit,
    "LRRangeTest": range_test_cost.Timed,
    "Lightning LearningRateFinder": range_test_cost.TimedFinder,
}


def _fit(run: Run, size: Size, tool: str, steps: int) -> tuple[float, int, int]:
    """Seconds of a tool (of all steps for ``"bare"``), peak bytes over those before the fit, the parameters' bytes."""
    gc.collect()
    before = 0
    if not run.rehearsal:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    callback = TOOLS[tool]()
    module = Synthetic(size, run.device, 2 * range_test_cost.STEPS)
    nbytes = module.nbytes()
    with tempfile.TemporaryDirectory() as root, range_test_cost._muted():
        settings = {"max_steps": steps, "default_root_dir": root, "precision": size.precision, **run.accelerator}
        bare_trainer([callback, LetGo()], **settings).fit(module)
    peak = 0 if run.rehearsal else torch.cuda.max_memory_allocated() - before
    return callback.seconds[0], peak, nbytes


def cost(run: Run) -> dict[str, Any]:
    """A range test of 100 steps over 100 bare steps, and its peak memory over the bare fit's, beside Lightning's."""
    range_test_cost.STEPS = 10 if run.rehearsal else 100
    found: dict[str, Any] = {}
    rows = []
    for name, size in {"tiny": TINY}.items() if run.rehearsal else SIZES.items():
        result = found[name] = _cost_of(run, size, 1 if run.rehearsal else ROUNDS[name], name)
        if not result["rounds"]:
            run.say(f"{name}: no time left for it")
            continue
        for tool in [tool for tool in TOOLS if tool != "bare"]:
            ratios = [one[tool] / one["bare"] for one in result["rounds"]]
            memory = (result["peaks"][tool] - result["peaks"]["bare"]) / result["nbytes"]
            bare = 1e3 * statistics.median(one["bare"] for one in result["rounds"]) / range_test_cost.STEPS
            count = f"{name}: {result['parameters']:,} parameters, {size.precision}, {bare:.1f} ms a step"
            rows.append((count, tool, spread(ratios), f"{memory:.2f}", f"{result['peaks']['bare'] / 2**30:.1f} GiB"))
    head = ("model", "tool", "time / 100 bare steps", "peak memory over bare / parameters", "bare peak")
    run.table(f"A range test of {range_test_cost.STEPS} steps", head, rows)
    return found


def _cost_of(run: Run, size: Size, rounds: int, name: str) -> dict[str, Any]:
    steps = range_test_cost.STEPS
    started = time.monotonic()
    parameters = sum(p.numel() for p in Synthetic(size, "meta", 1).parameters())
    result: dict[str, Any] = {"parameters": parameters, "rounds": [], "peaks": {}, "nbytes": 0}
    _fit(run, size, "bare", 5)  # kernels are loaded, libraries take their workspaces
    longest = 0.0
    for number in range(rounds):
        if run.left() < (longest if number else FIRST_ROUND):
            break
        begun, seconds = time.monotonic(), {}
        for tool in TOOLS:
            # A few steps after the test: its peak must not be the one of training on.
            seconds[tool], result["peaks"][tool], result["nbytes"] = _fit(
                run, size, tool, steps if tool == "bare" else 3
            )
            run.say(f"{name} round {number + 1}, {tool}: {seconds[tool]:.3f} s")
        result["rounds"].append(seconds)
        longest = max(longest, time.monotonic() - begun)
    run.say(f"{name}: {time.monotonic() - started:.1f} s in all")
    return result


def _waits(run: Run, steps: int, callbacks: Callable[[], list[Any]], logger: bool) -> dict[str, int]:
    """How often a fit of ``steps`` steps copies to the host, waits for the device, and is warned of waiting."""
    module = Synthetic(TINY, run.device, steps)
    kinds = [ProfilerActivity.CPU] + ([] if run.rehearsal else [ProfilerActivity.CUDA])
    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = {"max_steps": steps, "default_root_dir": root, **run.accelerator}
        settings |= {"logger": TensorBoardLogger(root) if logger else False}
        trainer = bare_trainer(callbacks(), **settings)
        with profile(activities=kinds) as profiler, _warned_of_waiting(run):
            trainer.fit(module)
    counts = {event.key: event.count for event in profiler.key_averages()}
    return {
        "copies": sum(count for key, count in counts.items() if key.startswith("Memcpy DtoH")),
        "waits": sum(counts.get(key, 0) for key in WAITS),
        "warnings": sum("synchronizing CUDA operation" in str(w.message) for w in caught),
        "items": counts.get("aten::_local_scalar_dense", 0),
    }


@contextlib.contextmanager
def _warned_of_waiting(run: Run) -> Iterator[None]:
    if run.rehearsal:
        yield
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def syncs(run: Run) -> dict[str, Any]:
    """Copies to the host and waits for the device in ten steps: the slope from a short fit to a long one."""
    lengths = (3, 6) if run.rehearsal else (20, 60)
    # A long run reads its losses every 64 steps, LRCurves logs every 50.
    longer = (3, 6) if run.rehearsal else (64, 192)
    others = lambda: [  # noqa: E731
        LRFormula("base_lr / (1 + 0.0001 * step)", interval="step"),
        PlateauDecay("train_loss", interval="step", rule={"read_every": 64}, verbose=False),
        LRCurves(hparams=False),
    ]
    tested = lambda n: lambda: [LRRangeTest(num_steps=n, **range_test_cost.EXACTLY)]  # noqa: E731
    cases: dict[str, tuple[tuple[int, int], Callable[[int], Any]]] = {
        "bare steps": (lengths, lambda n: (n, list, False)),
        "steps of a range test": (lengths, lambda n: (1, tested(n), False)),
        "formula, decay per step and curves": (longer, lambda n: (n, others, True)),
    }
    found: dict[str, Any] = {}
    _waits(run, 2, list, False)  # the profiler's own start
    for name, ((short, long), case) in cases.items():
        less, more = (_waits(run, *case(n)) for n in (short, long))
        found[name] = {key: 10 * (more[key] - less[key]) / (long - short) for key in less} | {"in all": more}
    rows = [
        (name, *(f"{found[name][key]:.2f}" for key in ("copies", "waits", "warnings", "items")), found[name]["in all"])
        for name in found
    ]
    head = ("ten steps", "copies to the host", "waits", "warned of", "values read", "in the longer fit")
    run.table("Waiting for the device, per ten steps", head, rows)
    return found
