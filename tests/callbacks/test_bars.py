"""The trainer's progress bar beside a range test and decays, in a real terminal."""

import sys

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.demos.boring_classes import BoringModel

from lr_lightning.callbacks._sandbox.progress import bars_aside
from tests.helpers.terminal import shown

PROGRAM = """
import sys
import lightning as L
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.demos.boring_classes import BoringModel
from lr_lightning import LRRangeTest, LRSearch, PlateauDecay

class Net(BoringModel):
    def validation_step(self, batch, batch_idx):
        self.log("a_metric_with_a_long_name_so_that_a_rich_bar_has_two_lines", 1.0, prog_bar=True)

metric = "a_metric_with_a_long_name_so_that_a_rich_bar_has_two_lines"
for bar in (TQDMProgressBar, RichProgressBar):
    for floor in (0, 1):
        # Not applied: a suggestion near 0 would leave the decay nothing to do.
        callbacks = [LRRangeTest(num_steps=30, apply=False), PlateauDecay(metric, patience=0, min_lr=floor), bar()]
        trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                            callbacks=callbacks, enable_model_summary=False)
        trainer.fit(Net())
    search = LRSearch(num_steps=8, budget=5)
    L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[search, bar()],
              enable_model_summary=False, limit_train_batches=4).fit(Net())
"""


def test_what_is_said_stands_on_lines_of_its_own():
    lines = shown([sys.executable, "-W", "ignore", "-c", PROGRAM])
    seen = "\n".join(lines)
    for begin, times in (("LRRangeTest: ", 4), ("PlateauDecay(a_metric", 4), ("LRSearch: ", 4)):
        assert sum(line.startswith(begin) for line in lines) == times, seen
        assert seen.count(begin) == times, seen
    assert seen.count("every LR is at min_lr=1") == 2, seen
    for own in ("LR range test:", "LR search:"):
        assert not any(own in line for line in lines), "its own bar is gone"
    assert not any(line.startswith("Epoch 0") for line in lines), "no line is left of a bar that goes on"


class Waits(L.Callback):
    """Works for a while before the second batch, as a range test does."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 1:
            with bars_aside(trainer):
                clock.now += 1000.0


class Clock:
    now = 0.0


clock = Clock()


@pytest.mark.parametrize("kind", [TQDMProgressBar, RichProgressBar])
def test_its_clock_stands_still(kind, monkeypatch):
    import time

    before = time.monotonic
    monkeypatch.setattr("lr_lightning.callbacks._sandbox.progress.time.monotonic", lambda: before() + clock.now)
    bar, ends = kind(), []

    class Notes(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if kind is TQDMProgressBar:
                ends.append(bar.train_progress_bar.start_t)
            elif bar.train_progress_bar is not None:
                ends.append(bar.train_progress_bar.start_time)

    callbacks = [Waits(), Notes(), bar]
    trainer = L.Trainer(
        max_epochs=1, limit_train_batches=3, limit_val_batches=0, accelerator="cpu", callbacks=callbacks, logger=False,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer.fit(BoringModel())
    assert ends[1] - ends[0] == pytest.approx(1000.0, abs=5)
