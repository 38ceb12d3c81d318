"""Memory that runs out in a range test: everything is as before, and the error says what to do."""

import lightning as L
import pytest
import torch

from lr_lightning import LRRangeTest, LRSearch
from tests.gpu.device import DEVICE, REHEARSAL, device_generators, trainer_settings
from tests.helpers.identity import LR, RANGE
from tests.helpers.modules import Classifier
from tests.helpers.spy import digest, optimizer_state

NO_MEMORY = r"(out of memory|can't allocate memory)[\s\S]*snapshot_device=.cpu"
TOO_MUCH = 2**50  # bytes: more than any address space, so that nothing is really taken


def state(trainer, module) -> str:
    """Digest of all that a range test touches."""
    values = [list(module.net.parameters()), list(module.net.buffers()), optimizer_state(trainer)]
    return digest([*values, device_generators(), [type(c).__name__ for c in trainer.callbacks], module.seen])


class Watch:
    """Notes the state before a test or a search and when the fit has failed."""

    before = after = ""

    def run(self, trainer):
        self.before = state(trainer, trainer.lightning_module)
        return super().run(trainer)

    def on_exception(self, trainer, module, exception):
        self.after = state(trainer, module)
        module._buffers.pop("wide", None)  # a Trainer that has failed carries all buffers to the host


class WatchedTest(Watch, LRRangeTest):
    pass


class WatchedSearch(Watch, LRSearch):
    pass


class Greedy(Classifier):
    """Takes more memory than there is once its LR is high."""

    def training_step(self, batch, batch_idx):
        if self.optimizers().param_groups[0]["lr"] > 1e-2:
            torch.empty(TOO_MUCH, dtype=torch.uint8, device=self.device)
        return super().training_step(batch, batch_idx)


class Uncopyable(Classifier):
    """Has a buffer of one number that spans more than there is memory for: its copy can't be made."""

    def on_train_start(self):
        self.register_buffer("wide", torch.zeros(1, device=self.device).expand(TOO_MUCH // 4), persistent=False)


def failing_fit(folder, module, test):
    L.seed_everything(3, verbose=False)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_epochs": 1}
    trainer = L.Trainer(
        callbacks=[test],
        default_root_dir=folder,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **trainer_settings(**silent),
    )
    with pytest.raises(RuntimeError, match=NO_MEMORY):
        trainer.fit(module)


def test_in_the_sweep(tmp_path):
    test = WatchedTest(**RANGE)
    failing_fit(tmp_path, Greedy(lr=LR), test)
    assert test.before == test.after != ""
    assert test.result is None


@pytest.mark.parametrize("make", [lambda: WatchedTest(**RANGE), WatchedSearch], ids=["LRRangeTest", "LRSearch"])
def test_with_the_copy_itself(tmp_path, make):
    test = make()
    failing_fit(tmp_path, Uncopyable(lr=LR), test)
    assert test.before == test.after != ""


def peak(folder, callbacks):
    """Most bytes that tensors took in a fit of a few steps, above those before it, and the parameters' size."""
    L.seed_everything(3, verbose=False)
    measured = not REHEARSAL
    if measured:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if measured else 0
    module = Classifier(lr=LR, width=2048)
    settings = trainer_settings(logger=False, enable_checkpointing=False, enable_progress_bar=False, max_steps=3)
    trainer = L.Trainer(callbacks=callbacks, default_root_dir=folder, enable_model_summary=False, **settings)
    trainer.fit(module)
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    return (torch.cuda.max_memory_allocated() if measured else 0) - before, size


@pytest.mark.parametrize(("where", "most"), [(None, 1.1), ("cpu", 0.1)], ids=["on-the-device", "in-host-memory"])
def test_the_copy_takes_the_size_of_the_parameters_or_none_of_the_device(tmp_path, where, most):
    low = {"min_lr": 1e-9, "max_lr": 1e-7, "num_steps": 10, "apply": False, "progress_bar": False}
    peak(tmp_path, [])  # libraries take their workspaces in the first fit of a process
    bare, size = peak(tmp_path, [])
    test = LRRangeTest(**low, sandbox={"snapshot_device": where})
    with_copy, _ = peak(tmp_path, [test])
    assert test.result.coverage.visited >= 10
    assert with_copy - bare <= most * size, (DEVICE, with_copy, bare, size)
