"""Is a plateau diagnosed rightly, and does the advice pay? Tasks whose kind of plateau is known by construction.

    python -m recipes.benchmarks.plateau.diagnosis              # both tables, on the report half: some 8 minutes
    python -m recipes.benchmarks.plateau.diagnosis --half choose --seeds 2

First table: the kind by construction against the diagnosis of the trend rule's first plateau at constant LR, by what
evidence was at hand: the metric alone, the training loss, the drift of the weights. Rules were
looked at on the half ``choose`` (seeds from 0), figures are of the half ``report`` (seeds from 100).

Second table: final validation loss (mean of the last three of 60) over that of a constant LR, and of a cosine, when
PlateauLR does what its ``on_flat_region`` says; geometric mean over tasks, optimizers and seeds, by kind.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lr_lightning import PlateauLR
from lr_lightning.optim.motion import WeightPath, WeightSampler
from lr_lightning.rules.plateau.configure import configure
from lr_lightning.rules.plateau.diagnosis import WORDS, diagnose
from recipes.benchmarks.plateau.arms import cosine
from recipes.benchmarks.plateau.kinds import HALVES, Known

OBSERVATIONS = 60
SEEN = {
    "metric alone": (False, ()),
    "+ training loss": (True, ()),
    "+ drift": (False, ("drift",)),
    "all": (True, ("drift",)),
}
ARMS: dict[str, dict[str, Any]] = {
    "keep": {"on_flat_region": "keep"},
    "kick": {"on_flat_region": "kick"},
    "decay": {"on_flat_region": "decay"},
}
Observe = Callable[[float, float], None]


def optimizer_of(name: str, parameters: Sequence[torch.Tensor], lr: float) -> Optimizer:
    """SGD, SGD with momentum, or Adam."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr)
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9 if name == "momentum" else 0.0)


def train(known: Known, name: str, seed: int, prepare: Callable[[Optimizer], Observe]) -> list[float]:
    """A run of 60 observations; returns their validation losses.

    ``prepare`` makes of the optimizer what is given each observation's validation and training loss.
    """
    task, gen = known.make(), torch.Generator().manual_seed(seed)
    params = {key: value.clone().requires_grad_() for key, value in task.init(gen).items()}
    optimizer = optimizer_of(name, list(params.values()), known.lrs[name])
    observe = prepare(optimizer)
    values = []
    for _ in range(OBSERVATIONS):
        total = 0.0
        for _ in range(known.every):
            optimizer.zero_grad()
            step_loss = task.loss(params, task.sample(gen))
            step_loss.backward()
            optimizer.step()
            total += step_loss.item()
        with torch.no_grad():
            values.append(float(task.loss(params, task.validation)))
        loss = total / known.every
        observe(loss if known.monitor == "training" else values[-1], loss)
    return values


def diagnoses(known: Known, name: str, seed: int) -> dict[str, str]:
    """The diagnosis of the first plateau whose drift is known, by the evidence at hand; "none": no plateau."""
    found = dict.fromkeys(SEEN, "none")
    rule = configure()
    losses: list[float] = []

    def prepare(optimizer: Optimizer) -> Observe:
        drift, sample = WeightPath(), WeightSampler()
        state = rule.start()

        def observe(value: float, loss: float) -> None:
            nonlocal state
            losses.append(loss)
            at = float(len(losses))
            if drift.is_due(at, OBSERVATIONS):
                drift.add(sample(p for group in optimizer.param_groups for p in group["params"]), at)
            state, decision = rule.observe(state, value, at, OBSERVATIONS)
            if found["all"] != "none" or decision.cause not in ("plateau", "flat") or drift.drift.ratio is None:
                return
            whole = {**decision.evidence, "drift": drift.drift.ratio}
            for seen, (trained, extra) in SEEN.items():
                hidden = {"drift"} - set(extra)
                evidence = {key: number for key, number in whole.items() if key not in hidden}
                found[seen] = diagnose(decision.cause, evidence, losses[-16:] if trained else ())

        return observe

    train(known, name, seed, prepare)
    return found


def outcome(known: Known, name: str, seed: int, arm: str) -> float:
    """The final validation loss with a rule or schedule; a run that breaks counts as its first loss."""

    def prepare(optimizer: Optimizer) -> Observe:
        if arm in ARMS:
            rule = PlateauLR(optimizer, total=OBSERVATIONS, rule=ARMS[arm])
            return lambda value, loss: rule.step(value) and None
        length = OBSERVATIONS * known.every
        schedule = LambdaLR(optimizer, lambda step: cosine(min(1.0, step / length)) if arm == "cosine" else 1.0)
        optimizer.register_step_post_hook(lambda *_: schedule.step())
        return lambda value, loss: None

    values = train(known, name, seed, prepare)
    last = sum(values[-3:]) / 3
    return last if math.isfinite(last) else values[0]


def cells(half: dict[str, Known]) -> list[tuple[str, Known, str]]:
    """Every task with each of its optimizers."""
    return [(task, known, name) for task, known in half.items() for name in known.lrs]


def confusion(half: dict[str, Known], seeds: Sequence[int]) -> list[str]:
    """The first table, as markdown: kinds by evidence, then tasks with all of it."""
    kinds: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    tasks: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for task, known, name in cells(half):
        for seed in seeds:
            for seen, kind in diagnoses(known, name, seed).items():
                kinds[seen, known.kind][kind] += 1
                if seen == "all":
                    tasks[f"{task}, {name}", known.kind][kind] += 1
    named = [*WORDS, "none"]
    lines = [f"| evidence | by construction | {' | '.join(named)} |", "|---" * (len(named) + 2) + "|"]
    for seen in SEEN:
        lines += [_row(key, found) for key, found in kinds.items() if key[0] == seen]
    return lines + [_row(key, found) for key, found in tasks.items()]


def _row(key: tuple[str, str], found: Counter[str]) -> str:
    shares = (f"{found[name] / found.total():.0%}" for name in [*WORDS, "none"])
    return f"| {key[0]} | {key[1]} | {' | '.join(shares)} |"


def benefit(half: dict[str, Known], seeds: Sequence[int]) -> list[str]:
    """The second table, as markdown."""
    ratios: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for task, known, name in cells(half):
        for seed in seeds:
            constant, annealed = (outcome(known, name, seed, arm) for arm in ("constant", "cosine"))
            for arm in ARMS:
                final = outcome(known, name, seed, arm)
                for row in (known.kind, f"{task}, {name}"):
                    ratios[row, arm].append((final / constant, final / annealed))
    rows = list(dict.fromkeys(row for row, _ in ratios))
    kinds = [known.kind for known in half.values()]
    rows.sort(key=lambda row: row not in kinds)
    lines = [f"| loss / constant's, / cosine's | {' | '.join(ARMS)} |", "|---" * (len(ARMS) + 1) + "|"]
    for row in rows:
        lines.append(f"| {row} | {' | '.join(_ratio(ratios.get((row, arm), [])) for arm in ARMS)} |")
    return lines


def _ratio(pairs: Sequence[tuple[float, float]]) -> str:
    means = [math.exp(sum(map(math.log, column)) / len(column)) for column in zip(*pairs, strict=True)]
    return ", ".join(f"{mean:.3f}" for mean in means) or "—"


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=HALVES, default="report")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", choices=("both", "diagnosis", "benefit"), default="both")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    first = 0 if chosen.half == "choose" else 100
    half, seeds = HALVES[chosen.half], range(first, first + chosen.seeds)
    for part, make in (("diagnosis", confusion), ("benefit", benefit)):
        if chosen.part in (part, "both"):
            begun = time.perf_counter()
            print("\n".join(make(half, seeds)), f"\n{part}: {time.perf_counter() - begun:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
