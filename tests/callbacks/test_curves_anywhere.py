"""LRCurves beside unusual optimizers, gradients and metrics: no fit ended, no value lost."""

import os
import subprocess
import sys
import textwrap

import lightning as L
import pytest
import torch
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import ConstantLR

from lr_lightning import LRCurves
from tests.callbacks.test_curves import Manual, Net, fit, scalars, scheduled, sgd


def dense(module):
    return sum(float((p.grad.to_dense() if p.grad.is_sparse else p.grad).abs().square().sum()) for p in module) ** 0.5


class Embedding(Net):
    """Rows that stand several times in a batch."""

    def __init__(self, build, sparse=True):
        super().__init__(build)
        del self.one, self.two
        self.table = torch.nn.Embedding(4, 3, sparse=sparse)

    def training_step(self, batch, index):
        return self.table(batch[0].abs().mul(2).long().clamp(max=3)).square().mean()


class Complex(Net):
    def __init__(self, build):
        super().__init__(build)
        self.two = torch.nn.Linear(4, 1, dtype=torch.cfloat)

    def training_step(self, batch, index):
        return self.one(batch[0]).square().mean() + self.two(batch[0].to(torch.cfloat)).abs().mean()


class Half(Net):
    def __init__(self, build):
        super().__init__(build)
        self.two = torch.nn.Linear(4, 1, dtype=torch.bfloat16)

    def training_step(self, batch, index):
        return self.one(batch[0]).square().mean() + self.two(batch[0].bfloat16()).float().square().mean()


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        (Embedding, lambda m: torch.optim.SparseAdam(list(m.parameters()), lr=0.01)),
        (Embedding, sgd),
        (Complex, sgd),
        (Half, sgd),
    ],
)
def test_the_norm_of_gradients_of_any_kind(tmp_path, kind, build):
    norms = []

    class Truth(L.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            norms.append(dense(list(module.parameters())))

    fit(tmp_path, kind(build), LRCurves(grad_norm=True, every_n_steps=1), Truth(), batches=8)
    assert [v for _, v in scalars(tmp_path / "run")["curves/grad_norm"]] == pytest.approx(norms, rel=1e-3)


class OwnStep(SGD):
    """Finds its step itself, as Adafactor does; some such optimizers say so by None, some by a word."""

    def __init__(self, params, lr):
        super().__init__(params, lr=0.01)
        self.param_groups[0]["lr"] = lr

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            closure()
        for p in self.param_groups[0]["params"]:
            p.sub_(0.01 * p.grad)


@pytest.mark.parametrize("lr", [None, "auto"])
def test_an_optimizer_without_an_lr_has_its_loss_drawn(tmp_path, lr):
    trainer = fit(tmp_path, Net(lambda m: OwnStep(m.parameters(), lr)), LRCurves(momentum=True))
    found = scalars(tmp_path / "run")
    assert trainer.global_step == 24
    assert len(found["curves/loss"]) == 5
    assert "lr-OwnStep" not in found


class Staged(L.Callback):
    """In epoch 1 the module's optimizers are made anew."""

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            module.build = lambda module: Adam(module.parameters(), lr=0.5)
            trainer.strategy.setup_optimizers(trainer)


def test_curves_follow_new_optimizers(tmp_path):
    fit(tmp_path, Net(sgd), LRCurves(), Staged(), max_epochs=2)
    found = scalars(tmp_path / "run")
    assert {value for _, value in found["lr-Adam"]} == {0.5}
    assert min(step for step, _ in found["lr-Adam"]) == 24
    assert max(step for step, _ in found["lr-SGD"]) < 24


def test_a_group_added_to_an_optimizer_that_rests(tmp_path):
    class Turns(Manual):
        def training_step(self, batch, index):
            loss = Net.training_step(self, batch, index)
            first, second = self.optimizers()
            self.manual_backward(loss)
            if index == 6:
                second.param_groups.append({**second.param_groups[0], "params": [], "lr": 0.3})
            (second if index > 12 else first).step()
            return loss

    trainer = fit(tmp_path, Turns(scheduled), LRCurves(every_n_steps=1), log_every=2)
    assert trainer.global_step == 24
    found = scalars(tmp_path / "run")
    assert [step for step, _ in found["lr-Adam"]] == list(range(24))
    assert [value for _, value in found["lr-SGD/pg2"]] == pytest.approx([0.3] * len(found["lr-SGD/pg2"]))


def test_an_error_of_its_own_ends_the_curves_alone(tmp_path, monkeypatch):
    def broken(self, step):
        raise RuntimeError("no such curve")

    monkeypatch.setattr(LRCurves, "_take", broken)
    with pytest.warns(UserWarning, match="LRCurves: no more curves of this fit: RuntimeError: no such curve"):
        trainer = fit(tmp_path / "a", Net(sgd), LRCurves())
    assert trainer.global_step == 24

    class Crash(Net):
        def training_step(self, batch, index):
            if index == 3:
                raise KeyError("the user's own")
            return super().training_step(batch, index)

    with pytest.raises(KeyError, match="the user's own"), pytest.warns(UserWarning, match="no such curve"):
        fit(tmp_path / "b", Crash(sgd), LRCurves())


def test_lrs_are_among_the_metrics_of_callbacks(tmp_path):
    class Seen(L.Callback):
        def on_train_end(self, trainer, module):
            self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}

    seen = Seen()
    fit(tmp_path, Net(lambda m: AdamW(m.parameters(), lr=torch.tensor(0.02))), LRCurves(momentum=True), seen)
    assert seen.metrics == pytest.approx({"lr-AdamW": 0.02, "lr-AdamW-momentum": 0.9})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps must be an integer of at least 1, got 0"),
        ({"loss": "yes"}, "loss must be true or false, got 'yes'"),
        ({"log_key_prefix": 3}, "log_key_prefix must be a string, got 3"),
        ({"log_key_prefix": None}, "log_key_prefix must be a string, got None"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LRCurves(**options)


def test_two_ranks_log_their_mean_once(tmp_path):
    code = f"""
        import lightning as L, torch, warnings
        warnings.simplefilter("ignore")
        from lr_lightning import LRCurves
        from tests.callbacks.test_curves import Net, sgd
        from tests.helpers import logs
        from torch.utils.data import DataLoader, TensorDataset

        class Rank(Net):
            def training_step(self, batch, index):
                return super().training_step(batch, index) * 0 + self.global_rank + index

        if __name__ == "__main__":
            trainer = L.Trainer(
                max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", logger=logs.board({str(tmp_path)!r}, "run"),
                callbacks=[LRCurves()], log_every_n_steps=4, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(Rank(sgd), DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=4))
    """
    script = tmp_path / "ranks.py"
    script.write_text(textwrap.dedent(code))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=120)
    found = scalars(tmp_path / "run")
    assert found["curves/loss"] == [(3, 2.0), (7, 6.0)]
    assert [step for step, _ in found["lr-SGD"]] == [0, 3, 7]


def test_a_constant_scheduler_alone_makes_no_jump(tmp_path):
    def build(module):
        optimizer = sgd(module)
        return [optimizer], [{"scheduler": ConstantLR(optimizer, 1.0), "interval": "step"}]

    fit(tmp_path, Net(build), LRCurves(), log_every=8)
    assert [step for step, _ in scalars(tmp_path / "run")["lr-SGD"]] == [0, 7, 15, 23]
