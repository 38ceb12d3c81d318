"""PlateauDecay's kicks and gradients in real fits."""

import logging
import math

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision

from lr_lightning import PlateauDecay, PlateauLR
from tests.callbacks.test_plateau_gate import Chain, Two, run
from tests.helpers.scripted import Scripted, fit

pytestmark = [
    # The resumed fit's ModelCheckpoint saves nothing, so it needs no folder.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # The data are drawn by the module and don't depend on the loader.
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


class Watched(Chain):
    """Tells LR and momentum of every step; ``adam`` has the momentum in its betas."""

    def __init__(self, start=0.1, lr=0.002, adam=False):
        super().__init__(start, lr)
        self.adam, self.seen = adam, []

    def training_step(self, batch, batch_idx):
        group = self.trainer.optimizers[0].param_groups[0]
        self.seen.append((group["lr"], group["betas"][0] if self.adam else group["momentum"]))
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr / 10) if self.adam else super().configure_optimizers()


KICKS = {"on_flat_region": "kick", "gate": False}


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize(("kick", "lr", "momentum"), [("lr", 2, 0.9), ("momentum", 1, 0.95), ("both", 2, 0.95)])
def test_a_kick_raises_what_it_is_to_raise_for_a_while(adam, kick, lr, momentum):
    module, callback = Watched(adam=adam), PlateauDecay(kick=kick, **KICKS)
    run(module, callback, max_epochs=80)
    (began, first), (ended, second) = [
        (entry["step"] + 1, entry) for entry in callback.history if entry["action"] in ("kick", "unkick")
    ]
    before, during, after = module.seen[:began], module.seen[began:ended], module.seen[ended : ended + 10]
    base = module.seen[0][0]
    assert set(before) == set(after) == {(base, 0.9)}
    assert {(now, round(m, 9)) for now, m in during} == {(base * lr, momentum)}
    assert 40 <= ended - began <= 2 * 0.08 * 800 + 10
    assert ended < 400, "before the endgame"
    assert ("momentum 0.9 → 0.95" in first["reason"]) == ("momentum 0.95 → 0.9" in second["reason"]) == (kick != "lr")
    assert (first["factor"], second["factor"]) == ((2.0, 0.5) if lr == 2 else (1.0, 1.0))
    assert "the raised" in second["reason"]
    assert module.seen[-1][1] == 0.9


class Helped(Watched):
    """What is observed falls only while LR or momentum is above its start."""

    def __init__(self):
        super().__init__(lr=1e-6)
        self.level = 1.0

    def validation_step(self, batch, batch_idx):
        group = self.trainer.optimizers[0].param_groups[0]
        self.level -= 0.02 * (group["lr"] > self.lr or group["momentum"] > 0.9)
        self.log("val_loss", self.level + 0.01 * float(torch.randn((), generator=self.random)))


@pytest.mark.parametrize("kick", ["lr", "momentum", "both"])
def test_a_kick_that_helps_stays_until_a_cut_is_due(kick, caplog):
    chosen = {} if kick == "lr" else {"kick_momentum": 0.97}
    module, callback = Helped(), PlateauDecay(kick=kick, **chosen, **KICKS)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        run(module, callback, max_epochs=60)
    assert "brings progress (p = " in caplog.text
    actions = [entry["action"] for entry in callback.history]
    assert actions[:2] == ["kick", "decay"]
    assert "unkick" not in actions
    cut = callback.history[1]
    during = set(module.seen[callback.history[0]["step"] + 1 : cut["step"] + 1])
    assert during == {(1e-6 if kick == "momentum" else 2e-6, 0.9 if kick == "lr" else 0.97)}
    assert cut["cause"] == "endgame"
    assert ("momentum 0.97 → 0.9" in cut["reason"]) == (kick != "lr")
    assert {momentum for _, momentum in module.seen[cut["step"] + 1 :]} == {0.9}
    # The endgame's cuts are counted from the start's LR, whatever a kick did.
    assert module.seen[-1][0] == pytest.approx(1e-6 / 2**10)


@pytest.mark.filterwarnings("ignore:PlateauDecay. the noise of train_loss is strongly correlated")
@pytest.mark.parametrize(
    ("kind", "adam"), [({"monitor": "val_loss"}, True), ({"monitor": "train_loss", "interval": "step"}, False)]
)
def test_resumed_in_a_kick_is_not_interrupted(tmp_path, kind, adam):
    def callback():
        return PlateauDecay(**kind, kick="both", on_flat_region="kick", diagnose="gradients", min_lr=1e-9)

    module, whole = Watched(adam=adam), callback()
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=15)
    run(module, whole, saver, max_epochs=60, enable_checkpointing=True)
    began, ended = [entry["step"] + 1 for entry in whole.history if entry["action"] in ("kick", "unkick")][:2]
    assert whole._gradients.path.chunks
    inside = [step for step in range(15, 600, 15) if began < step < ended and step % 10]
    for step in (*inside[:2], 315):
        path, again = tmp_path / f"step={step}.ckpt", callback()
        saved = torch.load(path, weights_only=True)["callbacks"][again.state_key]["writer"]
        assert bool(saved["raised"]) == (step in inside)
        resumed = Watched(adam=adam)
        own = ModelCheckpoint(save_top_k=0, every_n_train_steps=15)
        run(resumed, again, own, max_epochs=60, enable_checkpointing=True, ckpt_path=path)
        assert resumed.seen == module.seen[step:], f"resumed at {step}"
        assert again.history == whole.history
        assert repr(again.state_dict()) == repr(whole.state_dict())


@pytest.mark.parametrize("chosen", [None, 0, 1])
def test_momenta_of_the_optimizers_watched(chosen):
    class Pair(Two):
        def configure_optimizers(self):
            second = torch.optim.Adam([self.other, self.frozen], lr=0.01)
            return torch.optim.SGD([self.w], lr=self.lr, momentum=0.8), second

        def training_step(self, batch, batch_idx):
            first, second = (o.param_groups[0] for o in self.trainer.optimizers)
            self.seen = [*getattr(self, "seen", []), (first["momentum"], second["betas"][0])]
            super().training_step(batch, batch_idx)

    module, callback = Pair(), PlateauDecay(kick="momentum", optimizer=chosen, window=5, endgame=0.0, **KICKS)
    module.w.requires_grad_(True)
    module.w.data.fill_(0.01)
    run(module, callback, max_epochs=20)
    raised = (0.9 if chosen != 1 else 0.8, 0.95 if chosen != 0 else 0.9)
    assert {tuple(round(m, 9) for m in pair) for pair in module.seen} == {(0.8, 0.9), raised}
    assert module.seen[-1] == module.seen[0] == (0.8, 0.9)


def test_a_schedule_that_raises_the_lr_ends_a_kick():
    module = Scripted([1.0] * 100, scheduler=lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: 1 + (e > 12) * e))
    callback = PlateauDecay(window=9, endgame=0.0, **KICKS)
    fit(module, callback, max_epochs=20)
    kick, unkick = callback.history[:2]
    assert (kick["epoch"], unkick["epoch"]) == (8, 12)
    assert unkick["reason"] == "the raised LR is taken back: the schedule raises the LR"
    assert module.lrs[-1] == pytest.approx(0.1 * 20)


def test_what_cant_be_kicked_is_refused_before_the_first_step():
    module = Scripted([1.0] * 5)
    with pytest.raises(ValueError, match="kick='both' raises the momentum, and SGD has none"):
        fit(module, PlateauDecay(kick="both", **KICKS), max_epochs=1)
    assert module.lrs == []
    with pytest.raises(ValueError, match="SGD has none"):
        PlateauLR(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), kick="momentum", on_flat_region="kick")
    for arguments, said in (
        ({"diagnose": "gradient"}, "diagnose must be one of False, True, gradients, got 'gradient'"),
        ({"diagnose": "gradients", "patience": 3}, "diagnose='gradients' tells plateaus of the trend rule apart"),
        ({"kick": "both"}, "kick='both' is for on_flat_region='kick', got on_flat_region='keep'"),
    ):
        with pytest.raises(ValueError, match=said):
            PlateauDecay(**arguments)


def test_in_a_plain_loop_too():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, betas=(0.9, 0.99))
    settings = {"on_flat_region": "kick", "kick": "both", "kick_momentum": 0.97, "window": 5}
    plateau, seen = PlateauLR(optimizer, **settings), []
    for i in range(12):
        if i == 7:
            plateau, state = PlateauLR(optimizer, **settings), plateau.state_dict()
            plateau.load_state_dict(state)
        action = plateau.step(1.0).action
        group = optimizer.param_groups[0]
        seen += [(action, group["lr"], group["betas"])] if action != "keep" else []
    assert seen == [("kick", 0.2, (0.97, 0.99)), ("unkick", 0.1, (0.9, 0.99))]


# Gradients


def test_gradients_tell_flat_ground_from_a_noise_floor():
    found = {}
    for start in (0.1, 1.0):
        module, callback = Chain(start=start), PlateauDecay(diagnose="gradients", gate=False, endgame=0)
        module.random.manual_seed(2)
        run(module, callback)
        found[start] = next(entry for entry in callback.history if "agreement" in entry["evidence"])
    on, off = found[0.1]["evidence"], found[1.0]["evidence"]
    assert on["agreement"] > 2 * on["agreement_error"] > 0
    assert off["agreement"] < -2 * off["agreement_error"] < 0
    assert 0 < on["gradient_norm"] < off["gradient_norm"]
    assert "a flat region" in found[0.1]["reason"]
    assert found[1.0]["cause"] == "flat", "the loss alone would call it a flat region"
    assert "a noise floor" in found[1.0]["reason"]


def test_off_keeps_nothing_and_changes_nothing():
    off, on = PlateauDecay(gate=False), PlateauDecay(gate=False, diagnose="gradients")
    cuts = run(Chain(start=1.0), off)
    assert run(Chain(start=1.0), on) == cuts, "gradients are for the diagnosis: cuts are the same"
    assert off.state_dict()["gradients"] is None
    assert off.state_dict()["train_losses"] is None
    assert all("agreement" not in entry["evidence"] for entry in off.history)
    assert on.state_dict()["train_losses"] is not None


def test_accumulated_gradients_count_once_a_step():
    callback = PlateauDecay(diagnose="gradients", endgame=0.0, gate=False)
    fit(Chain(start=1.0), callback, max_epochs=22, accumulate_grad_batches=2)
    path = callback._gradients.path
    assert sum(path.state_dict()["waited"]) + 11 * (22 * 5 // 11) == 22 * 5


@pytest.mark.parametrize("chosen", [None, 0, 1])
def test_gradients_of_the_optimizers_watched(chosen):
    callback = PlateauDecay(diagnose="gradients", endgame=0.0, gate=False, window=0.5, optimizer=chosen)
    run(Two(), callback, max_epochs=6)
    kept = callback.state_dict()["gradients"]["gradients"]
    assert [len(gradient) for gradient in kept] == {None: [32, 5], 0: [32], 1: [5]}[chosen]


class Fused(torch.optim.SGD):
    """As a fused optimizer on a GPU: its gradients are scaled until its step."""

    _step_supports_amp_scaling = True

    def step(self, closure=None):
        scale, self.grad_scale, self.found_inf = getattr(self, "grad_scale", None), None, None
        for group in self.param_groups if scale is not None else ():
            for parameter in group["params"]:
                parameter.grad.div_(scale)
        return super().step(closure)


@pytest.mark.parametrize("kind", [torch.optim.SGD, Fused])
def test_norms_are_those_of_unscaled_gradients(kind):
    class Scaled(Chain):
        def configure_optimizers(self):
            return kind(self.parameters(), lr=1e-6)

    norms = []
    for precision in (None, MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", 256.0, growth_interval=20))):
        callback = PlateauDecay(diagnose="gradients", endgame=0.0, gate=False, window=0.9)
        fit(Scaled(start=1.0), callback, max_epochs=30, plugins=[precision] if precision else [])
        norms.append(callback._gradients.path.agreement.norm)
    assert math.isclose(*norms, rel_tol=0.05)
