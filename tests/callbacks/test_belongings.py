"""What users keep around a module comes back: functions' variables, callbacks, loggers, a trainer's attributes."""

import collections
import enum
import functools
import itertools
import logging
import os

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lr_lightning import LRRangeTest, LRSearch
from tests.callbacks.test_range_test import Line, trainer
from tests.helpers.spy import Spy, first_difference

RANGE = {"min_lr": 1e-5, "max_lr": 1.0, "num_steps": 40, "apply": False}


class Phase(enum.Enum):
    WARM = 1


class Drawn:
    """A descriptor that counts."""

    def __init__(self):
        self.n = 0

    def __get__(self, owner, kind):
        self.n += 1
        return self.n


class Averages(L.Callback):
    def __init__(self):
        self.shadow, self.notes = torch.zeros(4), {"n": []}

    def update(self, module):
        self.shadow.lerp_(module.weight.detach(), 0.1)
        self.notes["n"].append(len(self.notes["n"]))
        return len(self.notes["n"])


class History(Logger):
    name, version = "history", 0

    def __init__(self):
        super().__init__()
        self.rows, self.store = [], {"steps": []}

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def remember(self, value):
        self.store["steps"].append(value)
        return len(self.store["steps"])


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.count: int = 0
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: torch.Tensor):
        self.count += 1
        self.seen += 1
        return x.sum() * 0 + self.count + self.seen.sum()


def around():
    """A module whose class is defined in a function: its variables, a helper's, a decorator's, a data set's."""
    count, seen, reads, teacher = 0, [], collections.Counter(), nn.Linear(2, 1)
    numbers = (itertools.count(),)

    def helper():
        seen.append(len(seen))
        with torch.no_grad():
            teacher.weight += 1
        return len(seen) + next(numbers[0]) + int(teacher.weight.sum())

    def counted(function):
        @functools.wraps(function)
        def wrapper(*args):
            reads["decorated"] += 1
            return function(*args) + reads["decorated"]

        return wrapper

    class Data(Dataset):
        def __len__(self):
            return 64

        def __getitem__(self, index):
            reads[index] += 1
            return torch.ones(4) * reads[index] / 64, torch.ones(())

    class Net(Line):
        drawn = Drawn()

        def __init__(self):
            super().__init__()
            self.scripted = torch.jit.script(Scripted())

        @counted
        def extra(self):
            nonlocal count
            count += 1
            Phase.WARM.n = getattr(Phase.WARM, "n", 0) + 1
            np.seterr(over="raise" if count > 3 else "warn")
            if count == 5:
                os.chdir("/")
                Net.extra = Net.later
            return count + helper() + self.drawn + Phase.WARM.n + int(self.scripted(torch.ones(1)))

        def later(self):
            return helper()

        def training_step(self, batch, batch_idx):
            averages = next(one for one in self.trainer.callbacks if isinstance(one, Averages))
            self.trainer.kept["n"] += 1
            self.trainer.own = getattr(self.trainer, "own", 0) + 1
            total = averages.update(self) + self.logger.remember(1) + self.trainer.kept["n"] + self.trainer.own
            return super().training_step(batch, batch_idx) * (1 + 1e-3 * ((self.extra() + total) % 7))

        def train_dataloader(self):
            return DataLoader(Data(), batch_size=8, shuffle=True)

        def state(self):
            return count, seen, dict(reads), teacher.weight.tolist(), vars(Phase.WARM)["n"], self.trainer.own

    return Net


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    "make", [lambda: LRRangeTest(**RANGE), lambda: LRSearch(1e-4, 1e-2, num_steps=8, budget=5, apply=False)]
)
def test_a_fit_goes_on_as_without_a_sweep(make, tmp_path, monkeypatch, recwarn):
    def fitted(*tests):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(Phase.WARM, "n", 0, raising=False)
        L.seed_everything(3, verbose=False)
        spy, averages, logger, module = Spy(), Averages(), History(), around()()
        runner = trainer([spy, averages, *tests], logger=logger, log_every_n_steps=1)
        runner.kept = {"n": 0}
        with np.errstate(over="warn"):
            runner.fit(module)
        return spy, (module.state(), averages.shadow.tolist(), averages.notes, logger.store, runner.kept, os.getcwd())

    tested, plain = fitted(make()), fitted()
    assert first_difference(tested[0], plain[0]) is None
    assert tested[1] == plain[1]
    assert not [one for one in recwarn if "can put back" in str(one.message)]


def test_a_file_that_a_step_appends_to_is_named(tmp_path):
    path = tmp_path / "notes.txt"

    class Notes(Line):
        def training_step(self, batch, batch_idx):
            with open(path, "a") as file:
                file.write("step\n")
            return super().training_step(batch, batch_idx)

    with pytest.warns(UserWarning, match=rf"{path} \(a file created: open in Notes.training_step\)"):
        trainer([LRRangeTest(**RANGE)]).fit(Notes())


def test_the_ends_of_schedules_are_told_where_they_are_scaled_along(caplog):
    class Scheduled(Line):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=1e-5)]

    test = LRRangeTest(min_lr=1e-5, max_lr=1.0, num_steps=40)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        trainer([test]).fit(Scheduled())
    new = test.result.suggestion * 1e-5 / test.previous_lr
    assert [text for text in caplog.messages if f"CosineAnnealingLR.eta_min 1e-05 -> {new:.4g}: " in text]
