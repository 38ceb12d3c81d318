"""Train one task under many LR rules at once: every rule, cadence and seed is a row of one batched model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import grad_and_value

from lr_lightning.optim.motion import MOST_WEIGHTS
from recipes.benchmarks.plateau.blocks import Task

VALIDATIONS = 225
CADENCES = {"step": 0, "225": 1, "75": 3, "25": 9}  # a run's observations; 0: the train loss of every step

Weights = Callable[[], Tensor]
Observe = Callable[[float, float, Weights], float]


@dataclass
class Arm:
    """One row: an LR rule with its cadence.

    ``observe(value, progress, weights)`` returns the factor for the LR, where ``weights()`` gives the row's weights in
    one dimension; ``schedule(progress)`` the LR over its start; ``average(step)`` the share of the newest weights in an
    average of them, which is then what is validated, also for the rule.
    """

    name: str
    cadence: str = "225"
    observe: Observe | None = None
    schedule: Callable[[float], float] | None = None
    average: Callable[[int], float] | None = None
    factor: float = 1.0


@dataclass
class Result:
    """Final validation loss of each row and seed, and the rows' LR factors at each validation."""

    final: dict[tuple[str, str], list[float]]
    factors: dict[tuple[str, str], list[float]]
    curves: dict[tuple[str, str], list[float]]


def _update(params: dict, grads: dict, memory: dict, lr: Tensor, step: int, adam: bool) -> None:
    for key, p in params.items():
        g = grads[key]
        rate = lr.view(lr.shape + (1,) * (p.dim() - 2))
        if not adam:
            m = memory.setdefault(key, torch.zeros_like(p)).mul_(0.9).add_(g)
            p.sub_(rate * m)
            continue
        m, v = memory.setdefault(key, (torch.zeros_like(p), torch.zeros_like(p)))
        m.mul_(0.9).add_(g, alpha=0.1)
        v.mul_(0.999).addcmul_(g, g, value=0.001)
        bias = math.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
        p.sub_(rate * bias * m / (v.sqrt() + 1e-8 * math.sqrt(1 - 0.999 ** (step + 1))))


def _average(averaged: dict[str, Tensor], params: dict[str, Tensor], shares: list[float]) -> None:
    """Move each row's average towards its weights; a share of 1 copies them."""
    for key, p in params.items():
        averaged[key].lerp_(p, torch.tensor(shares).view(-1, *[1] * (p.dim() - 2)).expand_as(p))


def train(task: Task, optimizer: str, lrs: Sequence[float], arms: Sequence[Sequence[Arm]], steps: int) -> Result:
    """Train all arms; ``arms[seed][row]``, ``lrs[row]`` the starting LR of a row."""
    seeds, rows = len(arms), len(arms[0])
    gens = [torch.Generator().manual_seed(100 + s) for s in range(seeds)]
    starts = [task.init(g) for g in gens]
    params = {
        k: torch.stack([p[k] for p in starts])[:, None].repeat(1, rows, *[1] * starts[0][k].dim()) for k in starts[0]
    }
    gradient = torch.vmap(torch.vmap(grad_and_value(task.loss), (0, None)), (0, 0))
    evaluate = torch.vmap(torch.vmap(task.loss, (0, None)), (0, None))
    memory: dict[str, Any] = {}
    validated = {key: p.clone() for key, p in params.items()} if any(arm.average for arm in arms[0]) else params
    base = torch.tensor(list(lrs)).expand(seeds, rows)
    every = steps // VALIDATIONS
    final, factors, curves = {}, {}, {}
    for step in range(steps):
        progress = step / steps
        scale = [[arm.factor * (arm.schedule(progress) if arm.schedule else 1.0) for arm in seed] for seed in arms]
        batches = [task.sample(g) for g in gens]
        batch = (torch.stack([b[0] for b in batches]), torch.stack([b[1] for b in batches]))
        grads, losses = gradient(params, batch)
        _update(params, grads, memory, base * torch.tensor(scale), step, optimizer == "adam")
        if validated is not params:
            _average(validated, params, [arm.average(step) if arm.average else 1.0 for arm in arms[0]])
        done = (step + 1) / steps
        _observe(arms, losses.tolist(), done, {"step"}, params)
        if (step + 1) % every == 0:
            number = (step + 1) // every
            values = evaluate(validated, task.validation).tolist()
            due = {name for name, n in CADENCES.items() if n and number % n == 0}
            _observe(arms, values, done, due, params)
            for s, seed in enumerate(arms):
                for r, arm in enumerate(seed):
                    if s == 0:
                        factors.setdefault((arm.name, arm.cadence), []).append(arm.factor)
                        curves.setdefault((arm.name, arm.cadence), []).append(values[s][r])
                    if number == VALIDATIONS:
                        final.setdefault((arm.name, arm.cadence), []).append(values[s][r])
    return Result(final, factors, curves)


def _observe(
    arms: Sequence[Sequence[Arm]], values: list[list[float]], progress: float, due: set[str], params: dict[str, Tensor]
) -> None:
    for s, (seed, row) in enumerate(zip(arms, values, strict=True)):
        for r, (arm, value) in enumerate(zip(seed, row, strict=True)):
            if arm.observe and arm.cadence in due:
                arm.factor *= arm.observe(value, progress, partial(_weights, params, s, r))


def _weights(params: dict[str, Tensor], seed: int, row: int) -> Tensor:
    """One row's weights, at most as many as the callback samples: the first of a fixed shuffle."""
    flat = torch.cat([p[seed, row].flatten() for p in params.values()])
    if flat.numel() <= MOST_WEIGHTS:
        return flat
    return flat[torch.randperm(flat.numel(), generator=torch.Generator().manual_seed(0))[:MOST_WEIGHTS]]
