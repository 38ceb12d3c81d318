"""A run resumed in the middle equals one that was never interrupted, bit for bit."""

import lightning as L
import pytest
import torch

from lr_lightning import LRFormula
from lr_lightning.optim import param_groups
from tests.helpers.formula_fit import Net, Save, Validated, fit

# Lightning cannot go on in the middle of a plain DataLoader: here all batches are alike.
pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")

LOSSES = [3.0, 1.0, 2.0, 0.5, 0.25]


class Decay(L.Callback):
    """A plateau decay in the middle of epoch 1, by a factor that binary fractions round."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 6:
            param_groups.decay(trainer.optimizers, [], 0.3)


class Rescale(L.Callback):
    """A range test's result, once at the start of the run."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 0:
            param_groups.rescale(trainer.optimizers, [], 0.07)


FORMULAS = {
    "closed": lambda: LRFormula("base_lr / (1 + 0.7 * epoch)"),
    "closed by step": lambda: LRFormula(preset="one_cycle", pct_start=0.4),
    "closed, with the step at the epoch's start": lambda: LRFormula("base_lr / (1 + 0.1 * step)"),
    "recursive": lambda: LRFormula("lr * 0.7"),
    "recursive by step": lambda: LRFormula("lr * (0.9 + 0.01 * batch)", interval="step"),
    "warm-up by step": lambda: LRFormula("lr * 0.7", warmup_steps=7),
    "warm-up by epoch": lambda: LRFormula("lr * 0.7", warmup_epochs=2, interval="step"),
    "function": lambda: LRFormula(lambda epoch, lr: lr if epoch < 2 else lr * 0.7),
    "metric": lambda: LRFormula('lr * (0.7 if metric("val_loss") > 0.9 else 0.6)'),
    "metric by step": lambda: LRFormula('base_lr * metric("val_loss", 3) * 0.99 ** step', interval="step"),
    "groups": lambda: LRFormula("lr * 0.7", groups={"head": "base_lr * 0.3 ** epoch"}),
}


@pytest.fixture(scope="module", params=FORMULAS)
def run(request, tmp_path_factory):
    """An uninterrupted run with a checkpoint after each step."""
    folder = tmp_path_factory.mktemp("run")
    lrs, net, _ = start(FORMULAS[request.param], [Save(folder)])
    return FORMULAS[request.param], folder, lrs, net


def start(formula, more=(), ckpt_path=None, **options):
    callbacks = [Rescale(), formula(), Decay(), *more]
    return fit(callbacks, Validated(LOSSES, optimizer="adam"), ckpt_path, max_epochs=5, **options)


@pytest.mark.parametrize("step", [1, 3, 4, 6, 9, 16])
def test_resuming_equals_no_interruption(run, step):
    formula, folder, lrs, net = run
    path = folder / f"step={step}.ckpt"
    resumed, resumed_net, _ = start(formula, ckpt_path=path)
    assert resumed.seen == lrs.seen[step:]
    for one, other in zip(net.parameters(), resumed_net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_state_is_plain(run):
    formula, folder, _, _ = run
    state = torch.load(folder / "step=9.ckpt", weights_only=True)["callbacks"]
    key = formula().state_key
    assert set(state[key]) == {"formulas", "at", "values", "bases", "metrics", "next_metrics", "next_due"}
    assert state[key]["at"] == [2, 8, 0]


def test_a_closed_formula_takes_another_horizon(tmp_path):
    def make():
        return LRFormula(preset="linear", interval="step")

    fit([make(), Save(tmp_path)], max_epochs=2)
    lrs, _, _ = fit([make()], ckpt_path=tmp_path / "step=5.ckpt", max_epochs=4)
    assert lrs.of(0) == [0.1 * (1 + (0 - 1) * (step / 16)) for step in range(5, 16)]


def test_another_formula_goes_on_from_the_old_values(tmp_path):
    fit([LRFormula("lr * 0.5"), Save(tmp_path)], max_epochs=2)
    lrs, _, _ = fit([LRFormula("lr * 0.1")], ckpt_path=tmp_path / "step=8.ckpt", max_epochs=3)
    assert lrs.of(0) == pytest.approx([0.0025] * 4, rel=1e-15)


def test_a_formula_that_is_new_in_a_resumed_run(tmp_path):
    fit([Save(tmp_path)], max_epochs=2)
    lrs, _, _ = fit([LRFormula("base_lr * 0.5 ** epoch")], Net(lr=7.0), ckpt_path=tmp_path / "step=6.ckpt")
    assert lrs.of(0) == [0.05] * 2 + [0.025] * 4


@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_formula_by_step_loses_no_factor(tmp_path, accumulate, step):
    def run(ckpt_path=None, more=()):
        callbacks = [LRFormula("lr * 0.9", interval="step"), *more]
        return fit(callbacks, Net(batches=6), ckpt_path, max_epochs=2, accumulate_grad_batches=accumulate)[0].of(0)

    class Keep(L.Callback):
        """A checkpoint at each batch's end, in windows of accumulation too."""

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if not trainer.is_last_batch:
                trainer.save_checkpoint(tmp_path / f"step={trainer.global_step}.ckpt")

    whole = run(more=[Keep()])
    assert whole == pytest.approx([0.1 * 0.9 ** (at + 1) for at in range(len(whole))], rel=1e-12)
    path = tmp_path / f"step={step}.ckpt"
    if path.exists():
        assert run(path) == whole[step:]
    else:
        assert step > len(whole) - 1 or accumulate * step % 6 == 0


def test_the_same_object_starts_anew_and_goes_on_where_it_should(tmp_path):
    formula = LRFormula("lr * 0.5", interval="step")
    first, _, _ = fit([formula, Save(tmp_path)], max_epochs=1)
    again, _, _ = fit([formula], max_epochs=1)
    assert again.of(0) == first.of(0)
    resumed, _, _ = fit([formula], ckpt_path=tmp_path / "step=1.ckpt", max_epochs=1)
    assert resumed.of(0) == first.of(0)[1:]
    assert fit([formula], max_epochs=1)[0].of(0) == first.of(0)
