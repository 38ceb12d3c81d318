"""What a range test of 100 steps costs beside 100 bare training steps: ours, Lightning's finder and torch-lr-finder.

    python -m recipes.benchmarks.range_test_cost [--repetitions 5] [--models tiny small large]
    python -m recipes.benchmarks.range_test_cost --strategy ddp --devices 2     # ours alone

Time: the whole test (snapshot, its own data iterator, 100 steps at rising LRs so low that nothing changes, losses
read, everything restored) over 100 bare steps of the same Lightning trainer, all taken in turn in one process: median
of the repetitions, minimum and maximum. Memory and disk: each tool in a fresh process of its own at the start of a fit
that goes on for 10 steps; peak resident memory above that of the bare fit, in sizes of the parameters (of which a tiny
model is no measure), and bytes written above the bare fit's.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateFinder

from lr_lightning import LRRangeTest
from recipes.benchmarks.harness import (
    MODELS,
    Perceptron,
    bare_trainer,
    clocks,
    machine,
    print_table,
    quiet,
    since,
    spread,
)

# LRs without any effect, and one batch: a loss that never changes isn't looked at twice, so that the steps are so many.
STEPS, LOW, HIGH = 100, 1e-30, 1e-28
EXACTLY = {"min_lr": LOW, "max_lr": HIGH, "apply": False, "progress_bar": False, "sandbox": {"num_batches": 1}}
Seconds = tuple[float, float]


class Timed(LRRangeTest):
    """A range test that times itself."""

    def __init__(self) -> None:
        super().__init__(num_steps=STEPS, **EXACTLY)

    def run(self, trainer: L.Trainer) -> Any:
        """Time the whole test."""
        start = clocks()
        result = super().run(trainer)
        self.seconds = since(start)
        assert result.steps == STEPS
        return result


class TimedFinder(LearningRateFinder):
    """Lightning's finder, timed."""

    def __init__(self) -> None:
        super().__init__(min_lr=LOW, max_lr=HIGH, num_training_steps=STEPS, early_stop_threshold=None)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Time the whole search; its suggestion isn't used, so that all train on alike."""
        start, before = clocks(), pl_module.lr
        super().on_fit_start(trainer, pl_module)
        self.seconds = since(start)
        pl_module.lr = before


class TimedTorchFinder(L.Callback):
    """torch-lr-finder on the same model, optimizer and loader, at the same moment; it keeps its copy in memory."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Run it as its README shows."""
        from torch_lr_finder import LRFinder

        start = clocks()
        optimizer = torch.optim.AdamW(pl_module.parameters(), lr=LOW)  # it refuses one that has a scheduler's marks
        finder = LRFinder(pl_module.net, optimizer, torch.nn.functional.cross_entropy, device="cpu")
        loader = pl_module.train_dataloader()
        finder.range_test(loader, end_lr=HIGH, num_iter=STEPS, diverge_th=1e9)
        finder.reset()
        self.seconds = since(start)


class Stopwatch(L.Callback):
    """Seconds from the first batch's start to the last one's end."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        """Start."""
        if batch_idx == 0:
            self.start = clocks()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop."""
        self.seconds = since(self.start)


TOOLS: dict[str, Callable[[], Any]] = {
    "bare": Stopwatch,
    "lr_lightning LRRangeTest": Timed,
    "Lightning LearningRateFinder": TimedFinder,
    "torch-lr-finder": TimedTorchFinder,
}


def fit(model: str, tool: str, steps: int, root: str, **settings: Any) -> Any:
    """A fit with one tool at its start; returns the tool."""
    callback = TOOLS[tool]()
    # Lightning's finder leaves its checkpoint behind only if it crashes, but writes it where the trainer lives.
    trainer = bare_trainer([callback], max_steps=steps, default_root_dir=root, **settings)
    with _muted():
        trainer.fit(Perceptron(model, 4 * STEPS))
    callback.rank = trainer.global_rank
    return callback


class _muted:
    """torch-lr-finder and Lightning's finder draw bars; writes to /dev/null would count as bytes written."""

    def __enter__(self) -> None:
        self.kept = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = _Nowhere()

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self.kept


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def times(model: str, repetitions: int, tools: list[str], **settings: Any) -> tuple[dict[str, list[Seconds]], float]:
    """Ratios of each tool to the bare steps of its round, by wall and processor time, and the bare ms a step."""
    ratios: dict[str, list[Seconds]] = {tool: [] for tool in tools}
    bare = []
    with tempfile.TemporaryDirectory() as root:
        for tool in ("bare", *tools):
            fit(model, tool, 5, root, **settings)  # caches, imports
        for _ in range(repetitions):
            base = fit(model, "bare", STEPS, root, **settings).seconds
            bare.append(base[0])
            for tool in tools:
                seconds = fit(model, tool, 1, root, **settings).seconds
                ratios[tool].append((seconds[0] / base[0], seconds[1] / base[1]))
    return ratios, 1e3 * sorted(bare)[len(bare) // 2] / STEPS


def footprint(model: str, tool: str) -> tuple[int, int]:
    """Peak resident bytes of this process and bytes it wrote to files, after one fit with the tool.

    Neither depends on the length of the test: 20 steps do.
    """
    global STEPS
    STEPS = 20
    files = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and set(str(arguments[1])) & set("wax+"):
            files.append(arguments[0])

    with tempfile.TemporaryDirectory() as root:
        sys.addaudithook(note)
        before = _written()
        fit(model, tool, 10, root)
        wrote = _written() - before
    # Threads wake each other through pipes, which count as written too.
    return _peak(), wrote if files else 0


def _peak() -> int:
    """Peak resident bytes (Linux). ``getrusage`` won't do: its peak is that of the process which started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def _written() -> int:
    """Bytes that this process handed to write() so far (Linux)."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["wchar"])


def footprints(model: str, tools: list[str], repetitions: int = 3) -> dict[str, tuple[list[float], int]]:
    """Each tool's peak above the bare fit in sizes of the parameters (one a repetition), and its bytes written."""
    size = sum(p.numel() * p.element_size() for p in Perceptron(model, 1).parameters())
    found: dict[str, tuple[list[float], int]] = {}
    rounds: dict[str, list[tuple[int, int]]] = {tool: [] for tool in ("bare", *tools)}
    for _ in range(repetitions):
        for tool in rounds:
            rounds[tool].append(_elsewhere(model, tool))
    base = sorted(peak for peak, _ in rounds["bare"])[repetitions // 2]
    for tool in tools:
        wrote = max(written for _, written in rounds[tool]) - min(written for _, written in rounds["bare"])
        found[tool] = ([(peak - base) / size for peak, _ in rounds[tool]], wrote)
    return found


def _elsewhere(model: str, tool: str) -> tuple[int, int]:
    """``footprint`` in a process of its own: a peak can't be taken back."""
    command = [sys.executable, "-m", "recipes.benchmarks.range_test_cost", "--models", model, "--footprint", tool]
    peak, wrote = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )
    return peak, wrote


def report(models: list[str], repetitions: int) -> None:
    """Both tables."""
    tools = [tool for tool in TOOLS if tool != "bare"]
    rows = []
    for model in models:
        count = sum(p.numel() for p in Perceptron(model, 1).parameters())
        ratios, milliseconds = times(model, repetitions, tools)
        memory = footprints(model, tools)
        for tool in tools:
            wall, processor = (spread(r[i] for r in ratios[tool]) for i in (0, 1))
            peaks, wrote = memory[tool]
            size = f"{count:,} parameters, {milliseconds:.1f} ms a step"
            rows.append((f"{model} ({size})", tool, wall, processor, spread(peaks, 2), f"{wrote:,}"))
    head = ("model", "tool", "wall", "processor time", "peak memory / parameters", "bytes written")
    print_table(f"A range test of {STEPS} steps over {STEPS} bare steps", head, rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--footprint", choices=list(TOOLS), help="one fit with this tool: peak memory, bytes written")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    options = parser.parse_args()
    quiet()
    if options.footprint:
        print(json.dumps(footprint(options.models[0], options.footprint)))
        return
    if options.strategy == "auto":
        print(machine())
        report(options.models, options.repetitions)
        return
    name = "lr_lightning LRRangeTest"
    for model in options.models:
        where = {"strategy": options.strategy, "devices": options.devices}
        ratios, milliseconds = times(model, options.repetitions, [name], **where)
        wall, processor = (spread(r[i] for r in ratios[name]) for i in (0, 1))
        print(f"{model}, {options.strategy} x {options.devices}, {milliseconds:.1f} ms a step: {wall}; CPU {processor}")


if __name__ == "__main__":
    main()
