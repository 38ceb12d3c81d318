"""LRFormula from Hydra, and what it leaves in TensorBoard."""

import json

import pytest
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lr_lightning import LRFormula
from tests.helpers.formula_fit import fit


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
