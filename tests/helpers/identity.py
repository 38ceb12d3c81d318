"""Fits with and without a range test, and what differs between them."""

import lightning as L
from lightning.pytorch.loggers import CSVLogger

from lr_lightning import LRRangeTest
from tests.helpers.modules import Classifier
from tests.helpers.spy import Spy, first_difference

RANGE = {"min_lr": 1e-5, "max_lr": 1.0, "num_steps": 40}
CSV = "metrics.csv"
LR = 1e-3  # of a fit whose range test suggests nothing


def fit(folder, make, callbacks, **settings):
    """A short fit of the module that ``make()`` gives; its spy is the first callback."""
    L.seed_everything(3, verbose=False)
    spy = Spy()
    defaults = {"max_epochs": 2, "accelerator": "cpu", "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        callbacks=[spy, *callbacks],
        logger=CSVLogger(folder, name="", version=""),
        log_every_n_steps=1,
        enable_model_summary=False,
        default_root_dir=folder,
        **{**defaults, **settings},
    )
    trainer.fit(make())
    return spy, trainer


def difference(folder, make=Classifier, test=None, callbacks=lambda: [], settings=lambda: {}):
    """What differs between a fit with a range test and one with its LR set by hand; None if nothing does.

    Args:
        folder: Empty folder for the logs.
        make: LR -> module.
        test: The range test.
        callbacks: Makes the other callbacks, anew for each fit.
        settings: Makes the trainer's further arguments, anew for each fit.
    """
    test = test or LRRangeTest(**RANGE)
    tested, _ = fit(folder / "tested", lambda: make(lr=LR), [*callbacks(), test], **settings())
    assert test.result.coverage.visited >= 10, "the range test hardly did anything"
    lr = test.result.suggestion or LR
    plain, _ = fit(folder / "plain", lambda: make(lr=lr), callbacks(), **settings())
    logged = [path.read_text() if path.exists() else "" for path in (folder / n / CSV for n in ("tested", "plain"))]
    return first_difference(tested, plain) or (None if logged[0] == logged[1] else CSV)
