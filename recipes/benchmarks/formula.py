"""What formulas cost: one evaluation, hostile strings, and the callback per training step beside torch's LambdaLR.

    python -m recipes.benchmarks.formula [evaluation] [hostile] [step]

``evaluation``: µs for one value; simpleeval and asteval are measured too where they are installed (they are no
dependency). ``hostile``: the slowest and the largest of the strings in the tests. ``step``: training steps of a small
model, interleaved, median of the repeats, as ratio to the bare step.
"""

import argparse
import importlib.util
import itertools
import logging
import math
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable

import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import Formula, FormulaError, FormulaLR, LRFormula
from lr_lightning.rules.formula.presets import PRESETS
from lr_lightning.rules.formula.schedule import Counters, Horizon, Schedule

COSINE = "base_lr * 0.5 * (1 + cos(pi * step / steps))"
RUN = Horizon.of(10, 100)
REPEATS = 7


def microseconds(function: Callable[[], object], calls: int = 5000) -> float:
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        times.append((time.perf_counter() - begin) / calls * 1e6)
    return statistics.median(times)


def evaluation() -> None:
    print(f"\none evaluation, µs (median of {REPEATS}): {COSINE}")
    program = Formula(COSINE, interval="step").program
    env = (0.1, 0.1, 3.0, 300.0, 0.0, 10.0, 1000.0, 100.0, {})
    schedule = Schedule(Formula(COSINE, interval="step"), RUN)
    print(f"  {'Python itself':28}{microseconds(lambda: 0.1 * 0.5 * (1 + math.cos(math.pi * 300.0 / 1000.0))):8.2f}")
    print(f"  {'this, the bare formula':28}{microseconds(lambda: program.scalar(env)):8.2f}")
    print(f"  {'this, with checks':28}{microseconds(lambda: schedule.value(Counters(3, 300, 0), 0.1, 0.1)):8.2f}")
    names = {"base_lr": 0.1, "step": 300.0, "steps": 1000.0, "pi": math.pi}
    if importlib.util.find_spec("simpleeval"):
        from simpleeval import SimpleEval

        peer = SimpleEval(functions={"cos": math.cos}, names=names)
        parsed = peer.parse(COSINE)
        print(f"  {'simpleeval, parsed before':28}{microseconds(lambda: peer.eval(COSINE, parsed)):8.2f}")
    if importlib.util.find_spec("asteval"):
        from asteval import Interpreter

        interpreter = Interpreter(use_numpy=False)
        interpreter.symtable.update(names)
        tree = interpreter.parse(COSINE)
        print(f"  {'asteval, parsed before':28}{microseconds(lambda: interpreter.run(tree), 1000):8.2f}")
    print("\npresets: µs a value, and ms to check a run of 1,000,000 steps")
    for name in PRESETS:
        formula = Formula(preset=name, interval="step", **({"milestones": [300, 600]} if name == "multistep" else {}))
        schedule = Schedule(formula, RUN)
        cost = microseconds(lambda schedule=schedule: schedule.value(Counters(3, 300, 0), 0.1, 0.1), 2000)
        print(f"  {name:28}{cost:8.2f}{_check_ms(formula):10.0f}")
    print(f"  {'lr * 0.999999 (recursive)':36}{_check_ms(Formula('lr * 0.999999', interval='step')):10.0f}")


def _check_ms(formula: Formula) -> float:
    begin = time.perf_counter()
    Schedule(formula, Horizon.of(1000, 1000)).check(0.1)
    return (time.perf_counter() - begin) * 1e3


def hostile() -> None:
    from tests.rules.formula.test_hostile import HOSTILE

    def attempt(text: str) -> None:
        try:
            schedule = Schedule(Formula(text, interval="step"), Horizon.of(2, 2))
            schedule.check(0.1)
            schedule.value(Counters(1, 3, 1), 0.1, 0.05)
        except FormulaError:
            pass

    rows = []
    for text in HOSTILE:
        times = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            attempt(text)
            times.append((time.perf_counter() - begin) * 1e3)
        tracemalloc.start()
        attempt(text)
        rows.append((statistics.median(times), tracemalloc.get_traced_memory()[1] / 1e6, text[:40]))
        tracemalloc.stop()
    print(f"\n{len(HOSTILE)} hostile strings: ms, MB (limits: 100 ms, 50 MB)")
    for row in sorted(rows, reverse=True)[:5]:
        print(f"  {row[0]:8.2f}{row[1]:8.2f}  {row[2]!r}")
    print(f"  largest: {max(row[1] for row in rows):.2f} MB")


class Small(L.LightningModule):
    """Two linear layers, one param group."""

    def __init__(self, scheduler: Callable | None = None):
        super().__init__()
        self.scheduler = scheduler
        self.net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}


class Clock(L.Callback):
    """Times each step from end to end; a median over steps leaves out those that the machine interrupted."""

    def __init__(self):
        self.ends: list[float] = []

    def on_train_batch_end(self, *_):
        self.ends.append(time.perf_counter())

    def median(self) -> float:
        later = self.ends[len(self.ends) // 2 :]
        return statistics.median(after - before for before, after in itertools.pairwise(later)) * 1e6


def timed(kind: type, method: str, calls: list[float]) -> type:
    """A subclass that notes how long each call of a method takes."""

    def call(self, *arguments, **named):
        begin = time.perf_counter()
        result = getattr(kind, method)(self, *arguments, **named)
        calls.append((time.perf_counter() - begin) * 1e6)
        return result

    return type(kind.__name__, (kind,), {method: call})


def step(steps: int = 400) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 32, generator=generator), torch.randint(10, (32,), generator=generator)
    # One batch over and over, ready made: the loader is not what is measured.
    loader = DataLoader(TensorDataset(x.expand(steps, 32, 32), y.expand(steps, 32)), batch_size=None)
    text = "base_lr / (1 + 0.001 * step)"
    calls: dict[str, list[float]] = {name: [] for name in ("bare", "LambdaLR", "FormulaLR", "per step", "per epoch")}
    torch_lambda = timed(torch.optim.lr_scheduler.LambdaLR, "step", calls["LambdaLR"])
    formula_lr = timed(FormulaLR, "step", calls["FormulaLR"])
    per_step = timed(LRFormula, "on_train_batch_start", calls["per step"])
    per_epoch = timed(LRFormula, "on_train_batch_start", calls["per epoch"])
    kinds: dict[str, tuple[Callable | None, list]] = {
        "bare": (None, []),
        "LambdaLR": (lambda o: torch_lambda(o, lambda t: 1 / (1 + 0.001 * t)), []),
        "FormulaLR": (lambda o: formula_lr(o, text, interval="step", steps=2 * steps), []),
        "per step": (None, [lambda: per_step(text, interval="step")]),
        "per epoch": (None, [lambda: per_epoch("base_lr / (1 + 0.1 * epoch)")]),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(REPEATS):
        for name, (scheduler, callbacks) in kinds.items():
            clock = Clock()
            trainer = L.Trainer(
                max_epochs=2,
                accelerator="cpu",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[*(make() for make in callbacks), clock],
            )
            trainer.fit(Small(scheduler), loader)
            times[name].append(clock.median())
    bare = statistics.median(times["bare"])
    print(f"\none step of a small model, {REPEATS} interleaved runs, each the median of {steps} steps")
    print("  'own': the median time inside of the scheduler's step() or the callback's hook, over the median bare step")
    for name, values in times.items():
        ratio = statistics.median(value / base for value, base in zip(values, times["bare"], strict=True))
        own, whole = statistics.median(calls[name] or [0.0]), statistics.median(values)
        print(
            f"  {name:12}{whole:8.1f} µs ({min(values):.0f} to {max(values):.0f}), ratio {ratio:.3f}"
            f"   own {own:6.2f} µs, ratio {1 + own / bare:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], "evaluation", "hostile", "step"])
    parts = parser.parse_args().parts or ["evaluation", "hostile", "step"]
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for part in parts:
        {"evaluation": evaluation, "hostile": hostile, "step": step}[part]()


if __name__ == "__main__":
    main()
