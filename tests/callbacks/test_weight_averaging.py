"""PlateauDecay beside Lightning's WeightAveraging: which weights the metric, the drift and a resumed run are of."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lr_lightning import LRCurves, PlateauDecay, TailAverage
from tests.helpers.formula_fit import Net, Save, fit


class Validated(Net):
    """Validates its weights, or logs what the test says."""

    def __init__(self, script=None):
        torch.manual_seed(0)
        super().__init__(lr=0.3)
        self.script, self.values = script, []

    def validation_step(self, batch, batch_idx):
        loss = self.training_step(batch, batch_idx)
        self.log("val_loss", loss if self.script is None else self.script)
        if not self.trainer.sanity_checking:
            self.values.append(loss.item())

    def val_dataloader(self):
        return self._data()


class Weights(L.Callback):
    """Notes the weights that each optimizer step leaves."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append([p.detach().clone() for p in pl_module.parameters()])


def averaging():
    return WeightAveraging(multi_avg_fn=TailAverage(0.5))


def test_the_metric_is_of_the_averaged_weights_and_the_lr_falls_by_it():
    decay, weights = PlateauDecay(patience=0, threshold=0.9, factor=0.8, verbose=False), Weights()
    lrs, net, _ = fit([decay, averaging(), weights, LRCurves()], Validated(), max_epochs=6)
    counts = torch.arange(1.0, 25.0)
    oracle, expected = Validated(), []
    torch_optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    torchs = ReduceLROnPlateau(torch_optimizer, patience=0, threshold=0.9, factor=0.8)
    values = [value for place, value in enumerate(net.values) if place % 4 == 0]  # each batch is the same
    for epoch in range(6):
        expected.append(torch_optimizer.param_groups[0]["lr"])
        torchs.step(values[epoch])
        seen = weights.seen[: 4 * (epoch + 1)]
        share = counts[: len(seen)] / counts[: len(seen)].sum()
        for p, steps in zip(oracle.parameters(), zip(*seen, strict=True), strict=True):
            p.data = sum(s * step for s, step in zip(share, steps, strict=True))
        loss = oracle.training_step(next(iter(oracle._data())), 0).item()
        assert values[epoch] == pytest.approx(loss, rel=1e-2)
    assert lrs.of()[::4] == expected
    assert len(decay.history) >= 3
    for p, ends in zip(net.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(p, ends, rtol=1e-4, atol=1e-5)  # the run ends with the average


def test_the_drift_is_of_the_weights_that_are_trained():
    def decided(*others):
        decay = PlateauDecay(rule={"gate": True, "window": 4, "endgame": 0.2}, verbose=False)
        fit([decay, *others], Validated(script=1.0), max_epochs=20)
        return decay.history

    plain = decided()
    assert any("drift" in entry["evidence"] for entry in plain)
    assert decided(EMAWeightAveraging(decay=0.99)) == plain


def test_resumed_it_decides_and_averages_as_if_uninterrupted(tmp_path):
    def pair():
        return [PlateauDecay(patience=0, threshold=0.9, factor=0.8, verbose=False), averaging()]

    whole = pair()
    _, net, _ = fit([*whole, Save(tmp_path)], Validated(), max_epochs=6)
    for step in (8, 16):
        again = pair()
        _, resumed, _ = fit(again, Validated(), ckpt_path=tmp_path / f"step={step}.ckpt", max_epochs=6)
        assert again[0].history == whole[0].history
        for one, other in zip(resumed.parameters(), net.parameters(), strict=True):
            assert torch.equal(one, other)


def test_the_best_weights_come_from_a_checkpoint_as_memory_has_others(tmp_path):
    def both(source):
        keep = ModelCheckpoint(tmp_path, monitor="val_loss")
        decay = PlateauDecay(patience=0, threshold=0.9, restore_best=source, verbose=False)
        fit([decay, keep, averaging()], Validated(), max_epochs=4, enable_checkpointing=True)
        return decay.history

    with pytest.raises(MisconfigurationException, match="validates their average: take restore_best='checkpoint'"):
        both("memory")
    assert all("back to the weights of" in entry["reason"] for entry in both("checkpoint"))
