"""A key that the config doesn't have: the nearest one is named; of other errors Hydra tells alone."""

import pytest

from lr_lightning.cli.misspelt import hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.max_epoch=3"], "trainer.max_epoch: did you mean 'trainer.max_epochs'?"),
        (["-m", "model.lrr=1,2"], "model.lrr: did you mean 'model.lr'?"),
        (["lr_range_test.max_lr=3"], "lr_range_test.max_lr: did you mean 'callbacks.lr_range_test.max_lr'?"),
        (["trainr=ddp"], "trainr: did you mean 'trainer'?"),
        (["callbacks=[default,lr_plateau_decay]", "callbacks.lr_plateau_decay.facto=.1"],
         "callbacks.lr_plateau_decay.facto: did you mean 'callbacks.lr_plateau_decay.factor'?"),
        (["--config-name", "search", "callbacks.lr_search.budgt=3"],
         "callbacks.lr_search.budgt: did you mean 'callbacks.lr_search.budget'?"),
        (["bogus=1"], "bogus: known are callbacks, ckpt_path, data, logger, model, name, optimizer, preview"),
    ],
)  # fmt: skip
def test_the_nearest_key_is_named(words, said):
    assert hint(words).startswith(said)


@pytest.mark.parametrize(
    "words",
    [
        ["callbacks=bogus"],
        ["trainer=dpp"],
        ["model.lr=abc"],
        ["-m", "model.lr=1,2", "seed=0,1"],
        ["+more.x=1"],
        ["a=(b"],
        ["hydra.sweeper.param=x"],
        ["--help"],
        [],
    ],
)
def test_of_other_errors_hydra_tells(words):
    assert hint(words) == ""
