"""What the parts of the GPU's benchmark share: the time that is left, tables, the machine's description."""

from __future__ import annotations

import json
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recipes.benchmarks.harness import machine, print_table

SMALL = 0.02  # share of its time that a part needs in rehearsal


@dataclass
class Run:
    """One run of the benchmark: where, until when, and what it found.

    Args:
        device: ``"cuda"``, or ``"cpu"`` to rehearse the same code with tiny sizes.
        out: Folder for what it writes.
        deadline: ``time.monotonic()`` at which everything must be over.
    """

    device: str
    out: Path
    deadline: float
    until: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)

    @property
    def rehearsal(self) -> bool:
        """Whether sizes are tiny."""
        return self.device == "cpu"

    @property
    def accelerator(self) -> dict[str, Any]:
        """The Trainer's arguments for the device."""
        return {"accelerator": "cpu" if self.rehearsal else "gpu", "devices": 1}

    def left(self) -> float:
        """Seconds that the part under way still has."""
        return self.until - time.monotonic()

    def say(self, words: str) -> None:
        """Print a line at once and keep it."""
        print(words, flush=True)
        self.text.append(words)
        self.save()

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table at once and keep it."""
        print_table(title, head, rows)
        lines = [f"\n{title}\n", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        self.text += [*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows), ""]
        self.save()

    def save(self) -> None:
        """Write what there is so far: a run that is killed leaves what it had."""
        (self.out / "report.md").write_text("\n".join(self.text) + "\n")
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1, default=str) + "\n")

    def part(self, name: str, function: Callable[[Run], Any], needs: float, most: float) -> None:
        """Run a part within its seconds; one that raises is reported, and the next goes on.

        Args:
            name: Key of what it returns in :attr:`results`.
            function: The part.
            needs: Seconds below which it isn't worth starting.
            most: Seconds it may take; it looks at :meth:`left` itself.
        """
        started, rest = time.monotonic(), max(0.0, self.deadline - time.monotonic())
        if rest < needs * (SMALL if self.rehearsal else 1):
            self.results[name] = "skipped"
            self.say(f"\n## {name}: skipped, {rest:.0f} s are left and it needs {needs:.0f}")
            return
        # A rehearsal shares its machine with others: only its end is limited.
        self.until = self.deadline if self.rehearsal else min(self.deadline, started + most)
        self.say(f"\n## {name} ({rest:.0f} s left)")
        try:
            self.results[name] = function(self)
        except Exception as error:
            self.results[name] = f"failed: {type(error).__name__}: {error}"
            self.say(f"{name} FAILED\n```\n{traceback.format_exc()}```")
        self.say(f"{name}: {time.monotonic() - started:.1f} s")


def describe(device: str) -> dict[str, Any]:
    """The machine, its accelerator and the libraries' versions."""
    found: dict[str, Any] = {"host": machine(), "device": device}
    if device == "cpu":
        return found
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem", "--format=csv,noheader"]
    try:
        found["nvidia-smi"] = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        found["nvidia-smi"] = str(error)
    nccl = torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else None
    return {
        **found,
        "gpu": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {properties.multi_processor_count} SMs",
        "gpus": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": nccl,
    }
