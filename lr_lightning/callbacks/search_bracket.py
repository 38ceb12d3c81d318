"""SearchBracket: a range test as a job of a search, which ends when the test is done."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lr_lightning.callbacks.range_test import LRRangeTest
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.sweeper.adapt import FILE
from lr_lightning.sweeper.files import write_json
from lr_lightning.sweeper.trial import here


class SearchBracket(LRRangeTest):
    """An :class:`~lr_lightning.LRRangeTest` whose result tells a search where to look.

    The sweeper adds it to its first job. It writes the result to ``bracket.json`` in the search's shared folder and
    ends the fit after the batch. Another app's range test does the same through ``range_test_overrides``.

    Args:
        min_lr: Lower end of the search's range.
        max_lr: Upper end.
        settings: Further arguments of ``LRRangeTest``.
    """

    def __init__(self, min_lr: float, max_lr: float, **settings: Any) -> None:
        super().__init__(min_lr, max_lr, **{"name": "search_bracket", "apply": False, **settings})

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Run the test and leave the result; the fit ends after this batch."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        trainer.should_stop = True

    def run(self, trainer: Trainer) -> RangeTestResult:
        """Run the test and leave its result."""
        result = super().run(trainer)
        trial = here()
        if trial is not None and trainer.is_global_zero:
            write_json(trial.folder / FILE, result.to_dict())
        return result
