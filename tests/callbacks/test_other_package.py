"""pytorch_lightning, which comes with lightning, has loops, loggers and callbacks of its own: refused in words."""

import pytest

from lr_lightning import LRCurves, LRFormula, LRRangeTest, LRSearch, PlateauDecay


@pytest.mark.parametrize("make", [LRRangeTest, LRSearch, LRCurves, PlateauDecay, lambda: LRFormula("base_lr * 0.9")])
def test_its_trainer_is_refused_before_the_first_step(make):
    import pytorch_lightning
    from pytorch_lightning.demos.boring_classes import BoringModel

    trainer = pytorch_lightning.Trainer(
        accelerator="cpu", max_steps=1, callbacks=[make()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="this Trainer is of pytorch_lightning: write 'import lightning"):
        trainer.fit(BoringModel())
    assert trainer.global_step == 0
