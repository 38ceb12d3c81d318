"""Log directories as users have them, written through the package's own writers and a real TensorBoardLogger."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lr_lightning.reporting import events
from lr_lightning.reporting.range_test_writer import RangeTestWriter
from lr_lightning.rules.range_test.analyze import analyze

HOSTILE = "bad_<script>window.hacked=1</script>"
LOW, HIGH = 1e-7, 10.0
LRS = np.logspace(math.log10(LOW), math.log10(HIGH), 100)


def rank_zero(*loggers):
    """What the reporting module needs of a Trainer."""
    return SimpleNamespace(loggers=list(loggers), is_global_zero=True)


def read(folder):
    """TensorBoard's own reader, with all that was written."""
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def board(folder, name):
    return TensorBoardLogger(str(folder), name="", version=name, default_hp_metric=False)


def losses(shift=0.0, noise=0.04, seed=0):
    """Flat, falling, exploding: a range test as in the books."""
    x = np.log10(LRS) + shift
    curve = 2.3 - 1.4 / (1 + np.exp(-3 * (x + 2.2))) + np.exp(np.minimum(5 * (x - 0.1), 20))
    return curve + np.random.default_rng(seed).normal(0, noise, len(LRS))


def result(shift=0.0, seed=0):
    return analyze(LRS.tolist(), losses(shift, seed=seed).tolist())


def write_range_test(folder, name, shift=0.0, **options):
    logger = board(folder, name)
    writer = RangeTestWriter(rank_zero(logger), 0, image=False, html=False, **options)
    found = result(shift)
    writer.start({"rule": found.rule})
    writer.points(0, found.lrs, found.losses, found.smoothed)
    writer.finish(found)
    return logger, found


def write_training(logger, lr=0.1, steps=2000, every=20, reason="no downward trend (p = .61) <b>bold</b>"):
    """LRs and losses over steps, with two decays."""
    trainer = rank_zero(logger)
    for step in range(0, steps, every):
        now = lr * 0.5 ** (3 * step // steps)
        loss = 2 * math.exp(-step / 800) + 0.2
        scalars = {"lr-SGD": now, "curves/loss": loss, "epoch": step // (steps // 10)}
        events.log_scalars(trainer, scalars, step)
    for part in (1, 2):
        step = math.ceil(steps * part / 3)
        old, new = lr * 0.5 ** (part - 1), lr * 0.5**part
        event = events.LREvent("decay", step, step // (steps // 10), old, new, reason, "PlateauDecay")
        events.write_event(trainer, event)
    logger.experiment.flush()


def write_search(folder):
    """Three rounds; the highest LRs diverge, one trial crashed."""
    rounds = [{"low": 1e-6, "high": 10.0}, {"low": 1e-3, "high": 0.3}, {"low": 0.008, "high": 0.06}]
    trials = []
    for number, bounds in enumerate(rounds):
        for lr in np.geomspace(bounds["low"], bounds["high"], 8):
            failed = lr > 0.25
            score = None if failed else 0.3 + 0.1 * (math.log10(lr) + 1.7) ** 2
            status = "ok" if not failed else "crashed" if lr > 5 else "diverged"
            trials.append({"lr": float(lr), "score": score, "round": number, "status": status, "seed": 0})
    events.write_search(Path(folder), trials, rounds, metric="val_loss", status="done")
    return trials, rounds
