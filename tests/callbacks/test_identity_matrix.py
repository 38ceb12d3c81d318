"""Training after a range test is training without one, bit for bit, whatever module, optimizer, schedule and data hold.

Combinations are generated; ``pytest -m slow`` runs 300 and more of them, each commit a part.
"""

import random

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lr_lightning import LRRangeTest
from tests.helpers.features import FEATURES, LOADERS, OPTIMIZERS, SCHEDULERS, Featured
from tests.helpers.spy import digest, rng

combinations = st.fixed_dictionaries(
    {
        "features": st.lists(st.sampled_from(sorted(FEATURES)), max_size=4, unique=True).map(tuple),
        "optimizer": st.sampled_from(sorted(OPTIMIZERS)),
        "scheduler": st.sampled_from(sorted(SCHEDULERS)),
        "loader": st.sampled_from(sorted(LOADERS)),
    }
).filter(lambda made: made["optimizer"] != "growing" or made["scheduler"] in ("none", "own"))  # torch's want all groups


checked: set[str] = set()


class Trail(L.Callback):
    """What each batch and the end look like."""

    def __init__(self):
        self.events = []

    def _add(self, trainer, module, *more):
        groups = [
            {k: v for k, v in g.items() if k not in ("params", "params_names")}
            for o in trainer.optimizers
            for g in o.param_groups
        ]
        lrs = [float(group["lr"]) for group in groups]
        self.events.append((trainer.global_step, digest(list(module.state_dict().values())), lrs, rng(), *more))

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self._add(trainer, module, digest(batch))

    def on_train_end(self, trainer, module):
        self._add(trainer, module)


def trail(combination, test=None):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    seen = Trail()
    # The trail comes second: the test runs on the first batch.
    callbacks = [seen] if test is None else [test, seen]
    trainer = L.Trainer(max_steps=10, max_epochs=2, accelerator="cpu", callbacks=callbacks, **off)
    trainer.fit(Featured(lr=1e-3, **combination))
    return seen.events


def check(combination):
    name = str(sorted(combination.items()))
    if name in checked:
        return
    checked.add(name)
    test = LRRangeTest(min_lr=1e-5, max_lr=0.1, num_steps=12, budget=0, apply=False, progress_bar=False)
    tested, plain = trail(combination, test), trail(combination)
    assert test.result.steps >= 6
    for number, (got, expected) in enumerate(zip(tested, plain, strict=True)):
        assert got == expected, f"batch {number}"


def many(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


@many(20)
@given(combinations)
def test_no_trace_in_a_part_of_the_matrix(combination):
    check(combination)


@pytest.mark.slow
def test_no_trace_in_the_matrix():
    checked.clear()
    many(450)(given(combinations)(check))()
    assert len(checked) >= 300


@pytest.mark.parametrize("feature", sorted(FEATURES))
def test_a_feature_that_is_not_put_back_would_show(feature):
    """Each feature's state goes into the weights: left where the sweep took it, training is another."""
    module = Featured(1e-3, (feature,), "sgd", "none", "shuffled")
    loss, seen = torch.ones(()), []
    for _ in range(8):
        seen.append(module.features[0].step(module, loss))
        module.net[0].weight.data.add_(0.1)
    assert seen[:4] != seen[4:]
