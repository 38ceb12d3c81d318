"""The peers of the suggestion benchmark, run as their users run them, on the same weights and batches."""

import contextlib
import functools
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning.optim.range_test import Loop
from lr_lightning.rules.range_test.ladder import ladder
from lr_lightning.rules.range_test.peers import PEERS, peer_suggestions
from lr_lightning.rules.range_test.protocol import Steps
from recipes.benchmarks.suggestion_oracle import CACHE, SEEDS, batches, fresh
from recipes.benchmarks.suggestion_tasks import Task

Answer = tuple[float | None, int]
"""Suggested LR and optimizer steps spent."""


def loader(task: Task, seed: int, steps: int = 300) -> DataLoader:
    """The seed's batches in their fixed order."""
    data = task.data()
    return DataLoader(TensorDataset(data.x, data.y), batch_sampler=batches(task, seed, steps))


def lightning(task: Task, seed: int) -> dict[str, Answer]:
    """``Tuner.lr_find`` with its defaults."""
    import lightning as L
    from lightning.pytorch.tuner import Tuner

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.lr = 1e-3
            self.net = fresh(task, seed)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return task.criterion(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return task.optimizer(self.net.parameters(), lr=self.lr)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        finder = Tuner(trainer).lr_find(Module(), train_dataloaders=loader(task, seed), update_attr=False)
    return {"Lightning lr_find": (finder.suggestion(), len(finder.results["loss"])) if finder else (None, 0)}


def torch_lr_finder(task: Task, seed: int) -> dict[str, Answer]:
    """``LRFinder.range_test`` from 1e-7 to 10 in 100 steps and the suggestion of its plot."""
    import matplotlib as mpl
    from torch_lr_finder import LRFinder

    mpl.use("Agg")
    model = fresh(task, seed)
    criterion = nn.Module()
    criterion.forward = task.criterion
    finder = LRFinder(model, task.optimizer(model.parameters(), lr=1e-7), criterion, device="cpu")
    finder.range_test(loader(task, seed), end_lr=10, num_iter=100)
    steps = len(finder.history["lr"])
    answer = finder.plot(suggest_lr=True)
    return {"torch-lr-finder": (float(answer[1]) if isinstance(answer, tuple) else None, steps)}


def fastai(task: Task, seed: int) -> dict[str, Answer]:
    """``Learner.lr_find`` with all four of its rules. Needs fastai; raises ImportError without."""
    from fastai.callback.schedule import minimum, slide, steep, valley
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    rules = {"valley": valley, "steep": steep, "slide": slide, "minimum": minimum}
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(
            DataLoaders(loader(task, seed), loader(task, seed)), fresh(task, seed), loss_func=task.criterion,
            opt_func=functools.partial(OptimWrapper, opt=task.optimizer), path=folder,
        )  # fmt: skip
        with learner.no_bar(), learner.no_logging():
            found = learner.lr_find(num_it=100, suggest_funcs=tuple(rules.values()), show_plot=False)
        return {f"fastai {n}": (float(lr), len(learner.recorder.lrs)) for n, lr in zip(rules, found, strict=True)}


def published(task: Task, seed: int) -> dict[str, Answer]:
    """Peers' published rules on a sweep as they do it: a fresh batch a step, 1e-7 to 10 in 100 steps."""
    model = fresh(task, seed)
    optimizer = task.optimizer(model.parameters(), lr=1e-3)
    loop = Loop(model, optimizer, lambda m, b: task.criterion(m(b[0]), b[1]), loader(task, seed, 100))
    lrs = ladder(1e-7, 10.0, 100)
    losses = loop.take(Steps("all", 0, lrs, cycle=100))
    return {f"{name} (rule)": (lr, 100) for name, lr in peer_suggestions(lrs, losses, 100).items()}


def fixed(task: Task, seed: int) -> dict[str, Answer]:
    """No test at all."""
    return {"fixed 1e-3": (1e-3, 0)}


RUNNERS: tuple[Callable[[Task, int], dict[str, Answer]], ...] = (lightning, torch_lr_finder, fastai, published, fixed)


def peers(task: Task) -> dict[str, list[Answer]]:
    """Every peer's answers by seed, from disk if there. A peer that isn't installed or crashes gives None."""
    path = CACHE / "peers" / f"{task.name}.json"
    known: dict[str, list[Answer]] = json.loads(path.read_text()) if path.exists() else {}
    for runner in RUNNERS:
        if runner.__name__ in known.get("_done", []):
            continue
        try:
            found = [_quietly(runner, task, seed) for seed in SEEDS]
        except ImportError:
            continue
        for name in found[0]:
            known[name] = [answers[name] for answers in found]
        known.setdefault("_done", []).append(runner.__name__)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known))
    return {name: answers for name, answers in known.items() if name != "_done"}


def _quietly(runner: Callable[[Task, int], dict[str, Answer]], task: Task, seed: int) -> dict[str, Answer]:
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            return runner(task, seed)
        except ImportError:
            raise
        except Exception as error:  # a peer's crash is its answer: no suggestion
            logging.getLogger(__name__).warning("%s on %s: %r", runner.__name__, task.name, error)
            names = {
                "lightning": ["Lightning lr_find"],
                "torch_lr_finder": ["torch-lr-finder"],
                "fastai": [f"fastai {rule}" for rule in ("valley", "steep", "slide", "minimum")],
                "published": [f"{name} (rule)" for name in PEERS],
            }
            return dict.fromkeys(names[runner.__name__], (None, 100))
