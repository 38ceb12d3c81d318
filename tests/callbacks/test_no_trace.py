"""Training after a range test is training with that LR set by hand, bit for bit; each part of the restore counts."""

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lr_lightning import LRRangeTest
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.optim.snapshot import containers, tensors
from tests.helpers.modules import Classifier
from tests.helpers.spy import Spy, first_difference

RANGE = {"min_lr": 1e-5, "max_lr": 1.0, "num_steps": 40}


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def one_cycle(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, [g["lr"] for g in optimizer.param_groups], total_steps=40)


def fit(folder, callbacks, lr=1e-3, epochs=3, model=Classifier, trainer=None, **kwargs):
    L.seed_everything(3, verbose=False)
    module, spy = model(lr=lr, **kwargs), Spy()
    settings = {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5, **(trainer() if trainer else {})}
    runner = L.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=[spy, *callbacks], log_every_n_steps=1, barebones=False,
        logger=CSVLogger(folder, name="", version=""), enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, **settings,
    )  # fmt: skip
    runner.fit(module)
    return spy, (folder / "metrics.csv").read_text()


def compare(tmp_path, epochs=3, test=None, **kwargs):
    """The first difference between a run with a range test and one with its LR set by hand."""
    test = test or LRRangeTest(**RANGE)
    tested, tested_csv = fit(tmp_path / "tested", [test], epochs=epochs, **kwargs)
    assert test.result.suggestion is not None, test.result.reason
    plain, plain_csv = fit(tmp_path / "plain", [], lr=test.result.suggestion, epochs=epochs, **kwargs)
    return first_difference(tested, plain) or (None if tested_csv == plain_csv else "metrics.csv differs")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"scheduler": cosine},
        {"scheduler": one_cycle, "optimizer": "sgd"},
        {"scheduler": cosine, "workers": 2},
        {"workers": 2, "persistent": True, "optimizer": "sgd"},
    ],
    ids=["cosine", "one-cycle", "workers", "persistent-workers"],
)
def test_no_trace(tmp_path, kwargs):
    assert compare(tmp_path, **kwargs) is None


def test_no_trace_when_going_through_the_data(tmp_path):
    # 8 batches an epoch, 40 steps of 2 batches: the data are started anew nine times.
    assert compare(tmp_path, test=LRRangeTest(**RANGE, sandbox={"num_batches": None})) is None


class Offset(Classifier):
    """Whose loss falls by a small share of itself, so that trials follow under Adam too."""

    def training_step(self, batch, batch_idx):
        return 20 + super().training_step(batch, batch_idx)


@pytest.mark.parametrize("kwargs", [{"optimizer": "sgd"}, {"model": Offset}], ids=["sgd", "adamw"])
def test_no_trace_of_trials(tmp_path, kwargs):
    test = LRRangeTest(**RANGE, budget=200)
    assert compare(tmp_path, test=test, scheduler=cosine, **kwargs) is None
    assert len(test.result.trials) >= 2
    assert test.result.steps <= 200


PARTS = {
    "tensors": (tensors.Tensors, "parameters", r"module\.net\.0\.weight \(a tensor its content"),
    "attributes": (containers.Items, "attributes", r"its attributes didn't come back"),
    "lists": (containers.Elements, "attributes", r"module\.seen \(its elements"),
}


@pytest.mark.parametrize("part", PARTS)
def test_leaving_out_a_part_of_the_restore_is_caught_and_named(tmp_path, monkeypatch, part):
    kind, leak, named = PARTS[part]
    monkeypatch.setattr(kind, "restore", lambda self: None)
    with pytest.warns(UserWarning, match=named):
        assert leak in compare(tmp_path, epochs=1)


def test_leaving_out_the_generators_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(_sandbox, "process_state", lambda: lambda: None)
    assert "rng" in compare(tmp_path, epochs=1)


def test_no_trace_in_a_scaler(tmp_path):
    # With a short growth interval its scale changes within a sweep.
    assert compare(tmp_path, epochs=1, trainer=lambda: {"plugins": scaler_plugin()}) is None


def scaler_plugin():
    from lightning.pytorch.plugins.precision import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3)
    return MixedPrecision("16-mixed", "cpu", scaler)


SWAPPED = {
    "epoch_loop": "_LOOP_FIELDS",
    "_callback_metrics": "_CONNECTOR_FIELDS",
    "_first_loop_iter": "_CONNECTOR_FIELDS",
}


def test_leaving_out_the_trainers_attributes_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr(_sandbox, "attributes_back", lambda trainer: lambda: None)
    with pytest.raises(FileNotFoundError):  # nothing gets logged any more
        compare(tmp_path, epochs=1)


@pytest.mark.parametrize("name", SWAPPED)
def test_leaving_a_swapped_part_of_the_trainer_is_caught(tmp_path, monkeypatch, name):
    fields = getattr(_sandbox, SWAPPED[name])
    monkeypatch.setattr(_sandbox, SWAPPED[name], tuple(field for field in fields if field != name))
    try:
        difference = compare(tmp_path, epochs=1)
    except (AssertionError, FileNotFoundError) as error:  # Lightning itself notices, or nothing gets logged any more
        difference = repr(error)
    assert difference is not None
