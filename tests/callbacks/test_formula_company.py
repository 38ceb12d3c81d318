"""LRFormula from Hydra, what it leaves in TensorBoard, and beside others that set the LR."""

import json

import lightning as L
import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lr_lightning import LRFormula, LRRangeTest, PlateauDecay
from tests.helpers.formula_fit import Net, Validated, fit


def from_hydra(*overrides):
    with initialize_config_module("lr_lightning.conf", version_base="1.3"):
        return instantiate(compose("config", overrides=list(overrides)).callbacks.lr_formula)


def test_from_hydra():
    quoted = from_hydra(
        "callbacks=[default,lr_formula]", 'callbacks.lr_formula.expression="base_lr / (1 + 0.05 * epoch)"'
    )
    assert quoted.formulas[""].expression == "base_lr / (1 + 0.05 * epoch)"
    bare = from_hydra("callbacks=lr_formula", "callbacks.lr_formula.expression=base_lr * 0.99 ** epoch")
    assert bare.formulas[""].expression == "base_lr * 0.99 ** epoch"
    preset = from_hydra(
        "callbacks=lr_formula",
        "callbacks.lr_formula.preset=multistep",
        "+callbacks.lr_formula.milestones=[2,3]",
        "callbacks.lr_formula.groups={head: 'lr * 0.5', body: {preset: cosine, final_factor: 0.1}}",
    )
    lrs, _, _ = fit([preset])
    assert lrs.of(1) == [0.5] * 4 + [0.25] * 4 + [0.125] * 4


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ({"expression": "base_lr * 0.5 ** epoch"}, "LR = base_lr * 0.5 ** epoch (warmup_steps=1) per epoch"),
        ({"preset": "cosine"}, "preset cosine: LR = "),
    ],
)
def test_one_event_at_the_start(tmp_path, formula, reason):
    logger = TensorBoardLogger(tmp_path, name="", version="")
    fit([LRFormula(**formula, warmup_steps=1)], logger=logger)
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if "text_summary" not in tag]
    records = [json.loads(e.tensor_proto.string_val[0]) for tag in tags for e in events.Tensors(tag)]
    found = [record for record in records if record.get("kind") == "formula"]
    assert len(found) == 1
    assert found[0]["reason"].startswith(reason)
    assert (found[0]["old_lr"], found[0]["new_lr"], found[0]["step"]) == (0.1, 0.05, 0)


HOOKS = ("on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end")


class ByHand(Net):
    """Sets its LR itself, as in the recipes for a warm-up: at a hook, and from an epoch on."""

    def __init__(self, hook, first=0):
        super().__init__()
        self.hook, self.first = hook, first

    def _write(self, hook):
        if hook == self.hook and self.current_epoch >= self.first:
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = 0.001

    def on_train_start(self):
        self._write("on_train_start")

    def on_train_epoch_start(self):
        self._write("on_train_epoch_start")

    def on_train_batch_start(self, batch, batch_idx):
        self._write("on_train_batch_start")

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self._write("on_train_batch_end")


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_an_lr_that_something_else_sets_is_told_once(hook, interval):
    said = r"LRFormula left the learning rate at 0\.\d+, and something else has set it to 0.001 since"
    with pytest.warns(UserWarning, match=said) as caught:
        fit([LRFormula("base_lr * 0.9 ** epoch", interval=interval)], ByHand(hook), max_epochs=2)
    assert sum("something else" in str(one.message) for one in caught) == 1


def test_one_epoch_is_enough_to_tell_of_an_lr_set_by_hand():
    with pytest.warns(UserWarning, match="has set it to 0.001 since"):
        fit([LRFormula("base_lr * 0.5")], ByHand("on_train_batch_end"), max_epochs=1)


class Again(L.Callback):
    """A new optimizer, and a checkpoint's optimizer state, in mid-fit."""

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            trainer.strategy.setup_optimizers(trainer)
        if trainer.current_epoch == 2:
            trainer.optimizers[0].load_state_dict(trainer.optimizers[0].state_dict())


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_what_the_package_changes_itself_is_not_told_of(interval):
    module = Validated([1.0] * 6)
    plateau = PlateauDecay(patience=0, verbose=False)
    test = LRRangeTest(num_steps=20, at_epochs=[0, 3], progress_bar=False)
    fit([test, plateau, LRFormula("base_lr * 0.9 ** epoch", interval=interval), Again()], module, max_epochs=6)
    assert plateau.history
