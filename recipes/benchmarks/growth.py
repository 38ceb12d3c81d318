"""How costs grow: observations of a plateau rule, points of a curve, trials of a search, runs in the tab.

    python -m recipes.benchmarks.growth [rules] [curves] [search] [tab]

Processor time: other work on the machine doesn't count. A cost per item that stays level is constant, amortised.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lr_lightning.rules.plateau.configure import configure
from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.curve import stop_index
from lr_lightning.rules.range_test.protocol import WINDOW
from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round
from recipes.benchmarks.harness import print_table, run_parts

ROUNDS = 5


def seconds(task: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor seconds, median of the rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return statistics.median(times)


def observations(rule: str, count: int) -> Callable[[], None]:
    """A noisy decay that a rule follows to its end."""
    chosen = configure(rule, interval="step")
    values = [1 / (1 + i / count * 20) + 0.05 * math.sin(i * i) for i in range(count)]

    def follow() -> None:
        state = chosen.start()
        for i, value in enumerate(values):
            state, _ = chosen.observe(state, value, i + 1, count)

    return follow


def rules() -> None:
    """Microseconds an observation."""
    counts = [10**n for n in range(2, 7)]
    rows = []
    for rule in ("trend", "patience"):
        costs = [seconds(observations(rule, n), 1 if n > 10**5 else ROUNDS) / n * 1e6 for n in counts]
        rows.append((rule, *(f"{cost:.1f}" for cost in costs)))
    print_table("Plateau rules: µs an observation", ("rule", *(f"{n:,} observations" for n in counts)), rows)


def sweep(count: int) -> tuple[list[float], list[float]]:
    """LRs and losses of a range test: flat, falling, exploding, with noise."""
    lrs = np.logspace(-8, 0, count)
    x = np.log10(lrs)
    losses = 2.3 - 1.8 / (1 + np.exp(-2 * (x + 3))) + np.exp(np.minimum(8 * (x + 0.4), 5))
    return lrs.tolist(), (losses + 0.02 * np.random.default_rng(0).standard_normal(count)).tolist()


def curves() -> None:
    """The whole analysis, and what watching a sweep for divergence takes in all."""
    rows = []
    for count in (10**2, 10**3, 10**4, 10**5):
        lrs, losses = sweep(count)
        whole = seconds(lambda lrs=lrs, losses=losses: analyze(lrs, losses), 3)
        stops = range(WINDOW, count, max(WINDOW, count // 100))  # a hundred of the windows stand for all
        watch = seconds(lambda seen=losses, stops=stops, n=count: [stop_index(seen[:i], planned=n) for i in stops], 3)
        each = watch / len(stops) * (count / WINDOW) / count
        rows.append((f"{count:,}", f"{whole * 1e3:.0f}", f"{whole / count * 1e6:.0f}", f"{each * 1e6:.1f}"))
    head = ("points", "analyze, ms", "µs a point", f"asking every {WINDOW} steps whether to stop, µs a step")
    print_table("Range test: its rules over the length of the ladder", head, rows)


def search(counts: tuple[int, ...] = (10, 100, 1000)) -> None:
    """One decision of the search after so many trials."""
    rows = []
    random = np.random.default_rng(0)
    for axes in (1, 2):
        names = [Axis("lr", 1e-6, 1.0), Axis("dropout", 0.0, 0.5, scale="linear")][:axes]
        cells = []
        for count in counts:
            settings = SearchSettings(tuple(names), budget=2 * count)
            places = random.random((count, axes))
            trials = [
                Trial(tuple(a.value(p) for a, p in zip(names, place, strict=True)), float(abs(place[0] - 0.6)), i // 5)
                for i, place in enumerate(places)
            ]
            cells.append(f"{seconds(lambda s=settings, t=trials: next_round(s, t), 3) * 1e3:.0f}")
        rows.append((axes, *cells))
    print_table("Search: ms for one decision", ("axes", *(f"{n:,} trials" for n in counts)), rows)


def tab(counts: tuple[int, ...] = (1, 20, 200)) -> None:
    """Reading and drawing copies of one run of 2,000 steps with a range test of 100 points."""
    from lr_lightning.cli import review
    from lr_lightning.reporting.tensorboard import views
    from tests.helpers import logs

    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            logger, _ = logs.write_range_test(folder, "run0")
            logs.write_training(logger)
            logger.experiment.close()
            for i in range(1, count):
                shutil.copytree(Path(folder) / "run0", Path(folder) / f"run{i}")
            start = time.process_time()
            store = review._store(Path(folder))
            load = time.process_time() - start
            cells = []
            for view in ("range_test", "training"):
                runs = sorted(store.views())
                chosen = {"metrics": views.default_metrics(store)}
                cost = seconds(lambda v=view, r=runs, s=store, c=chosen: views.payload(s, v, r, c), 3)
                size = len(json.dumps(views.to_json(views.payload(store, view, runs, chosen)))) / 1e6
                cells += [f"{cost * 1e3:.0f}", f"{size:.1f}"]
            rows.append((count, f"{load * 1e3:.0f}", *cells))
    head = ("runs", "TensorBoard reads the files, ms", "range test, ms", "MB", "training, ms", "MB")
    print_table("Learning rate tab: the server's work for one view of all runs", head, rows)


if __name__ == "__main__":
    run_parts({"rules": rules, "curves": curves, "search": search, "tab": tab}, __doc__)
