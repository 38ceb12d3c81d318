"""Everything that needs a GPU, in one run that ends by itself: tests first, then costs, then a training on real text.

    python -m recipes.benchmarks.gpu --out results                      # all, at most eight minutes
    python -m recipes.benchmarks.gpu --out results --part cost syncs    # parts, in this order
    python -m recipes.benchmarks.gpu --out results --device cpu         # rehearsal: the same code, tiny sizes

``identity``: tests/gpu. ``cost``: time and peak memory of a range test of 100 steps, GPT-style models of 20 million,
350 million and 1.3 billion parameters, beside Lightning's finder. ``syncs``: how often the host waits for the device.
``callbacks``: the host's time in their hooks. ``gpt``: a GPT of 20 million parameters on the standard library's
sources, LRRangeTest + PlateauDecay against AdamW at 3e-4 with cosine annealing and Prodigy.

What comes out: ``report.md`` with all tables, ``results.json`` with all numbers, ``tests.xml``. A part that fails is
reported and the next goes on; one for which too little time is left is skipped.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from recipes.benchmarks import gpu_callbacks, gpu_cost, gpu_training
from recipes.benchmarks.gpu_run import Run, describe
from recipes.benchmarks.harness import quiet

ROOT = Path(__file__).parents[2]
BUDGET = 480.0
ONE_TEST = 60  # seconds
AROUND = 20.0  # seconds of the budget for what is outside of the parts: Python imports everything, and ends


def identity(run: Run) -> dict[str, Any]:
    """tests/gpu in a process of its own, which a hanging collective can't outlive."""
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-v", "-W", "default", "--disable-warnings", "--tb=short"]
    command += ["-p", "no:cacheprovider", "--durations=6", f"--junitxml={run.out / 'tests.xml'}"]
    command += ["-o", f"faulthandler_timeout={ONE_TEST - 10}"]
    if importlib.util.find_spec("pytest_timeout"):
        command += [f"--timeout={ONE_TEST}"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "REHEARSE_GPU": "1" if run.rehearsal else "0"}
    environment |= {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    killer = threading.Timer(run.left(), os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    outcomes: dict[str, str] = {}
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if match := re.match(r"(tests/gpu/\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)", line):
            outcomes[match[1]] = match[2].lower()
    code = process.wait()
    killer.cancel()
    counts = Counter(outcomes.values())
    run.table("tests/gpu", ("outcome", "tests"), sorted(counts.items()))
    for name, outcome in outcomes.items():
        if outcome != "passed":
            run.say(f"{outcome}: {name}")
    run.say(f"pytest ended with {code}" + (" (stopped at its limit)" if code == -signal.SIGKILL else ""))
    return {"code": code, "outcomes": outcomes}


PARTS = {  # name: (function, seconds it needs, seconds it may take); the most important first
    "identity": (identity, 60, 170),
    "cost": (gpu_cost.cost, 40, 120),
    "syncs": (gpu_cost.syncs, 15, 40),
    "callbacks": (gpu_callbacks.callbacks, 20, 35),
    "gpt": (gpu_training.gpt, 50, 170),
}


def main() -> int:
    """Run the parts asked for; 0 if none of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--budget-seconds", type=float, default=BUDGET)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    started = time.monotonic()
    deadline = started + max(0.0, given.budget_seconds - AROUND)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu rehearses the same code with tiny sizes")
    given.out.mkdir(parents=True, exist_ok=True)
    quiet()
    run = Run(given.device, given.out, deadline)
    run.results["machine"] = describe(given.device)
    for key, value in run.results["machine"].items():
        run.say(f"{key}: {value}")
    for name in [name for name in PARTS if name in given.part]:
        run.part(name, *PARTS[name])
    failed = [name for name in given.part if str(run.results[name]).startswith("failed")]
    tests = run.results.get("identity")
    failed += ["identity"] if isinstance(tests, dict) and tests["code"] else []
    run.say(f"\n{time.monotonic() - started:.0f} s in all; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
