"""PlateauDecay's kicks in real fits."""

import logging

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

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
def test_a_kick_raises_lr_and_momentum_for_a_while(adam):
    module, callback = Watched(adam=adam), PlateauDecay(rule=KICKS)
    run(module, callback, max_epochs=80)
    (began, first), (ended, second) = [
        (entry["step"] + 1, entry) for entry in callback.history if entry["action"] in ("kick", "unkick")
    ]
    before, during, after = module.seen[:began], module.seen[began:ended], module.seen[ended : ended + 10]
    base = module.seen[0][0]
    assert set(before) == set(after) == {(base, 0.9)}
    assert {(now, round(m, 9)) for now, m in during} == {(base * 2, 0.95)}
    assert 40 <= ended - began <= 2 * 0.08 * 800 + 10
    assert ended < 400, "before the endgame"
    assert "momentum 0.9 → 0.95" in first["reason"]
    assert "momentum 0.95 → 0.9" in second["reason"]
    assert (first["factor"], second["factor"]) == (2.0, 0.5)
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


def test_a_kick_that_helps_stays_until_a_cut_is_due(caplog):
    module, callback = Helped(), PlateauDecay(rule=KICKS)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch.utilities.rank_zero"):
        run(module, callback, max_epochs=60)
    assert "brings progress (p = " in caplog.text
    actions = [entry["action"] for entry in callback.history]
    assert actions[:2] == ["kick", "decay"]
    assert "unkick" not in actions
    cut = callback.history[1]
    during = set(module.seen[callback.history[0]["step"] + 1 : cut["step"] + 1])
    assert {(lr, round(momentum, 9)) for lr, momentum in during} == {(2e-6, 0.95)}
    assert cut["cause"] == "endgame"
    assert "momentum 0.95 → 0.9" in cut["reason"]
    assert {momentum for _, momentum in module.seen[cut["step"] + 1 :]} == {0.9}
    # The endgame's cuts are counted from the start's LR, whatever a kick did.
    assert module.seen[-1][0] == pytest.approx(1e-6 / 2**10)


@pytest.mark.filterwarnings("ignore:PlateauDecay. the noise of train_loss is strongly correlated")
@pytest.mark.parametrize(
    ("kind", "adam"), [({"monitor": "val_loss"}, True), ({"monitor": "train_loss", "interval": "step"}, False)]
)
def test_resumed_in_a_kick_is_not_interrupted(tmp_path, kind, adam):
    def callback():
        return PlateauDecay(**kind, min_lr=1e-9, rule={"on_flat_region": "kick"})

    module, whole = Watched(adam=adam), callback()
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=15)
    run(module, whole, saver, max_epochs=60, enable_checkpointing=True)
    began, ended = [entry["step"] + 1 for entry in whole.history if entry["action"] in ("kick", "unkick")][:2]
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

    module, callback = Pair(), PlateauDecay(optimizer=chosen, rule={**KICKS, "window": 5, "endgame": 0.0})
    module.w.requires_grad_(True)
    module.w.data.fill_(0.01)
    run(module, callback, max_epochs=20)
    raised = (0.9 if chosen != 1 else 0.8, 0.95 if chosen != 0 else 0.9)
    assert {tuple(round(m, 9) for m in pair) for pair in module.seen} == {(0.8, 0.9), raised}
    assert module.seen[-1] == module.seen[0] == (0.8, 0.9)


def test_a_schedule_that_raises_the_lr_ends_a_kick():
    module = Scripted([1.0] * 100, scheduler=lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: 1 + (e > 12) * e))
    callback = PlateauDecay(rule={**KICKS, "window": 9, "endgame": 0.0})
    fit(module, callback, max_epochs=20)
    kick, unkick = callback.history[:2]
    assert (kick["epoch"], unkick["epoch"]) == (8, 12)
    assert unkick["reason"] == "the raised LR is taken back: the schedule raises the LR"
    assert module.lrs[-1] == pytest.approx(0.1 * 20)


def test_in_a_plain_loop_too():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, betas=(0.9, 0.99))
    settings = {"on_flat_region": "kick", "window": 5}
    plateau, seen = PlateauLR(optimizer, rule=settings), []
    for i in range(12):
        if i == 7:
            plateau, state = PlateauLR(optimizer, rule=settings), plateau.state_dict()
            plateau.load_state_dict(state)
        action = plateau.step(1.0).action
        group = optimizer.param_groups[0]
        seen += [(action, group["lr"], group["betas"])] if action != "keep" else []
    assert seen == [("kick", 0.2, (0.95, 0.99)), ("unkick", 0.1, (0.9, 0.99))]
