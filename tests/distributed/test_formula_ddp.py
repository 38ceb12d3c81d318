"""Two real processes: the ranks use the same LRs, also where their metrics differ."""

import json

import lightning as L
import pytest
from lightning.pytorch.strategies import DDPStrategy

from lr_lightning import LRFormula
from tests.helpers.formula_fit import Lrs, Net


class Disagreeing(Net):
    """Validation losses that differ between ranks and are not reduced by the module; rank 1 logs one more metric."""

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", [[4.0, 1.0], [2.0, 3.0]][self.global_rank][self.current_epoch % 2], sync_dist=False)
        if self.global_rank == 1:
            self.log("only_one", 0.5, sync_dist=False)

    def val_dataloader(self):
        return self._data()


class Report(Lrs):
    """Writes each rank's LRs."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_fit_end(self, trainer, pl_module):
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.seen))


@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist=True")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_ranks_agree(tmp_path):
    formula = LRFormula(
        'lr * metric("val_loss", 1) / 2 if epoch < 2 else lr * metric("only_one")',
        groups={"head": "base_lr / (1 + epoch)"},
    )
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=2,
        strategy=DDPStrategy(process_group_backend="gloo", start_method="spawn", find_unused_parameters=True),
        callbacks=[formula, Report(tmp_path)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(Disagreeing(batches=4))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert [lrs[0] for lrs in first] == [0.05] * 2 + [0.05 * 3 / 2] * 2 + [0.05 * 3 / 2 * 0.5] * 2
    assert [lrs[1] for lrs in first] == [1.0] * 2 + [0.5] * 2 + [1 / 3] * 2
