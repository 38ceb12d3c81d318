"""A GPT of 20 million parameters on real text: hands-off against AdamW at 3e-4 with cosine annealing, and Prodigy."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from math import log
from typing import Any

import lightning as L
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from lr_lightning import LRRangeTest, PlateauDecay
from recipes.benchmarks.gpu_models import SIZES, TINY, OnText, Size, Text
from recipes.benchmarks.gpu_run import Run
from recipes.benchmarks.harness import bare_trainer

VALIDATIONS = 60
SLOWER = 1.8  # a long training's step over that of the short ones that are timed: seen with Prodigy, and not again
MOST = 6000  # steps: 98 million bytes, some three times through the text
Arm = tuple[Callable[[Any], Any], Callable[[], list[Any]]]  # parameters -> optimizer; callbacks


def _adamw(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def _with_cosine(optimizer: torch.optim.Optimizer, steps: int) -> dict[str, Any]:
    scheduler = {"scheduler": CosineAnnealingLR(optimizer, steps), "interval": "step"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


def arms(steps: int) -> dict[str, Arm]:
    """What is compared; nobody gets a warm-up or clipped gradients."""

    def prodigy(parameters: Any) -> Any:
        from prodigyopt import Prodigy

        # Its authors' advice: LR 1, cosine annealing.
        return _with_cosine(Prodigy(parameters, lr=1.0, betas=(0.9, 0.95), weight_decay=0.1), steps)

    return {
        "hands-off: LRRangeTest + PlateauDecay": (
            lambda parameters: _adamw(parameters, 1e-3),
            lambda: [LRRangeTest(progress_bar=False), PlateauDecay("val_loss", verbose=False)],
        ),
        "hands-off, 15 % of the steps for the test": (
            lambda parameters: _adamw(parameters, 1e-3),
            lambda: [LRRangeTest(budget=0.15, progress_bar=False), PlateauDecay("val_loss", verbose=False)],
        ),
        "AdamW 3e-4 + cosine": (lambda parameters: _with_cosine(_adamw(parameters, 3e-4), steps), list),
        "Prodigy + cosine": (prodigy, list),
    }


class StopInTime(L.Callback):
    """Ends a training when the part's time is over: another may be much slower than the one that was timed."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        """Ask the clock."""
        trainer.should_stop = trainer.should_stop or self.run.left() < 1


def _train(run: Run, size: Size, text: Text, steps: int, arm: Arm, seed: int = 1) -> dict[str, Any]:
    L.seed_everything(seed, verbose=False)
    with torch.device(run.device):
        module = OnText(size, text, steps, arm[0], seed)
    used = arm[1]()
    settings = {"max_steps": steps, "precision": size.precision, **run.accelerator}
    settings |= {
        "limit_val_batches": 2 if run.rehearsal else 8,
        "num_sanity_val_steps": 0,
        "val_check_interval": max(1, steps // _validations(run)),
    }
    started = time.monotonic()
    trainer = bare_trainer([*used, StopInTime(run)], **settings)
    trainer.fit(module)
    found: dict[str, Any] = {"seconds": time.monotonic() - started, "losses": module.losses}
    found |= {"steps": trainer.global_step, "done": trainer.global_step == steps}
    for callback in used:
        if isinstance(callback, LRRangeTest) and callback.result is not None:
            found |= {"suggestion": callback.result.suggestion, "why": callback.result.reason}
            found["range_test"] = {"lrs": list(callback.result.lrs), "losses": list(callback.result.losses)}
        if isinstance(callback, PlateauDecay):
            found["decays"] = [str(entry) for entry in callback.history]
    found["last_lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
    return found


def gpt(run: Run) -> dict[str, Any]:
    """Final validation loss after as many steps as the time allows, the same for all."""
    size = TINY if run.rehearsal else SIZES["20M"]
    text = Text(run.device, 200_000 if run.rehearsal else 64_000_000)
    lengths = {name: len(part) for name, part in text.bytes.items()}
    run.say(f"bytes: {lengths}")
    many = arms(1)
    if importlib.util.find_spec("prodigyopt") is None:
        run.say("Prodigy: prodigyopt is not installed, its arm is left out")
        del many["Prodigy + cosine"]
    steps = _affordable(run, size, text, list(many))
    found: dict[str, Any] = {"bytes": lengths, "steps": steps, "arms": {}}
    rows = []
    for name in many:
        longest = max((one["seconds"] for one in found["arms"].values()), default=0.0)
        if run.left() < 0.9 * longest:
            run.say(f"{name}: left out, {run.left():.0f} s are left")
            continue
        one = found["arms"][name] = _train(run, size, text, steps, arms(steps)[name])
        if not one["losses"]:
            run.say(f"{name}: stopped before its first validation")
            continue
        final = one["losses"][-1]
        run.say(f"{name}: validation loss {final:.4f} after {one['seconds']:.1f} s, {one.get('suggestion', '')}")
        rows.append(_row(name, one))
    head = ("arm", "validation loss", "bits a byte", "best on the way", "time", "suggested LR", "decays")
    run.table(f"A GPT on the standard library's sources, {steps} steps of {size.batch} × {size.context}", head, rows)
    return found


def _row(name: str, one: dict[str, Any]) -> tuple[Any, ...]:
    final, lr = one["losses"][-1], one.get("suggestion")
    took = f"{one['seconds']:.1f} s" + ("" if one["done"] else f", stopped at step {one['steps']}")
    losses = f"{final:.4f}", f"{final / log(2):.4f}", f"{min(one['losses']):.4f}"
    return name, *losses, took, f"{lr:.3g}" if lr else "", len(one.get("decays", ()))


def _affordable(run: Run, size: Size, text: Text, many: list[str]) -> int:
    """Steps for each arm: the time of a short fit tells what a step and a validation take."""
    usual, slow = "AdamW 3e-4 + cosine", "Prodigy + cosine"
    step, fixed = _pace(run, size, text, arms(1)[usual])
    slower, _ = _pace(run, size, text, arms(1)[slow]) if slow in many else (0.0, 0.0)
    all_arms = step * (len(many) - (slow in many)) + SLOWER * slower
    steps = int(max(200.0, min(MOST, (0.9 * run.left() - fixed * len(many)) / all_arms)))
    paces = f"{1e3 * step:.2f} ms a step, Prodigy's {1e3 * slower:.2f}"
    run.say(f"{paces}; {run.left():.0f} s left for {len(many)} arms: {steps} steps each")
    return 30 if run.rehearsal else steps


def _pace(run: Run, size: Size, text: Text, arm: Arm) -> tuple[float, float]:
    """Seconds a step, and those of a fit's validations and of the rest: two short fits with as many validations."""
    _train(run, size, text, 3, arm)  # kernels are loaded
    count = _validations(run)
    few, more = (_train(run, size, text, n, arm)["seconds"] for n in (count, 4 * count))
    step = max(1e-4, (more - few) / (3 * count))
    return step, max(0.0, few - count * step)


def _validations(run: Run) -> int:
    return 3 if run.rehearsal else VALIDATIONS
