"""PlateauDecay's gate in real fits: flat ground is waited out, a noise floor is cut as without it."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from lr_lightning import PlateauDecay, PlateauLR
from lr_lightning.optim.motion import MOST_WEIGHTS, WeightSampler
from lr_lightning.rules.plateau.motion import A_RUN
from tests.helpers.scripted import fit

pytestmark = [
    # The resumed fit's ModelCheckpoint saves nothing, so it needs no folder.
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
    # The data are drawn by the module and don't depend on the loader.
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]


class Chain(L.LightningModule):
    """y = w1 w2 w3 w4 x with noisy targets: from a small start flat for long, then a drop to a noise floor."""

    def __init__(self, start=0.1, lr=0.01):
        super().__init__()
        self.w, self.lr = torch.nn.Parameter(torch.full((4, 8), start)), lr
        self.random, self.values = torch.Generator().manual_seed(1), []

    def loss(self, size):
        x = torch.randn(size, 8, generator=self.random)
        y = x.sum(1) + 0.5 * torch.randn(size, generator=self.random)
        return ((x * self.w.prod(0)).sum(1) - y).square().mean()

    def training_step(self, batch, batch_idx):
        return self.loss(8)

    def validation_step(self, batch, batch_idx):
        value = self.loss(64)
        self.values.append(float(value))
        self.log("val_loss", value)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["random"] = self.random.get_state()

    def on_load_checkpoint(self, checkpoint):
        self.random.set_state(checkpoint["random"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.zeros(10)), batch_size=1)

    def val_dataloader(self):
        return DataLoader(TensorDataset(torch.zeros(1)))


def run(module, callback, *others, **settings):
    fit(module, callback, *others, num_sanity_val_steps=0, **{"max_epochs": 60, **settings})
    return [(entry["epoch"], entry["cause"]) for entry in callback.history if is_cut(entry)]


def is_cut(entry):
    return entry["cause"] != "endgame" and entry["action"] != "wait"


def test_a_flat_start_is_waited_out():
    assert run(Chain(), PlateauDecay(rule={"gate": False, "endgame": 0}))[0] == (9, "flat")
    assert run(Chain(), PlateauDecay(rule={"endgame": 0})) == []
    gated = Chain()
    assert run(gated, PlateauDecay()) == []
    assert sum(gated.values[-5:]) / 5 < 0.3


def test_a_noise_floor_is_cut_as_without_it():
    plain, gated = (PlateauDecay(rule={"gate": gate, "endgame": 0}) for gate in (False, True))
    cuts = run(Chain(start=1.0), plain)
    assert cuts
    assert run(Chain(start=1.0), gated) == cuts
    told = [entry for entry in gated.history if is_cut(entry)]
    assert all(entry["evidence"]["drift"] < 0.7 for entry in told)
    assert all("noise floor" in entry["reason"] for entry in told)
    assert all("drift" not in entry["evidence"] for entry in plain.history)


@pytest.mark.parametrize("monitor", [{"monitor": "val_loss"}, {"monitor": "train_loss", "interval": "step"}])
def test_resumed_is_not_interrupted(tmp_path, monitor):
    whole = PlateauDecay(**monitor, rule={"gate": True})
    saver = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=75)
    module = Chain(start=1.0)
    run(module, whole, saver, enable_checkpointing=True)
    assert whole._gate.path.drift.ratio > 0
    for step in (75, 225, 375, 525):
        again = PlateauDecay(**monitor, rule={"gate": True})
        own = ModelCheckpoint(save_top_k=0, every_n_train_steps=75)
        path = tmp_path / f"step={step}.ckpt"
        run(Chain(start=1.0), again, own, enable_checkpointing=True, ckpt_path=path)
        assert again.history == whole.history, f"resumed at {step}"
        assert repr(again.state_dict()["gate"]) == repr(whole.state_dict()["gate"])
        saved = torch.load(path, weights_only=True)["callbacks"][again.state_key]["gate"]
        assert saved["snapshots"].shape == (len(saved["positions"]), 32)


def test_off_keeps_nothing():
    callback = PlateauDecay(rule={"gate": False})
    run(Chain(), callback, max_epochs=8)
    assert callback.state_dict()["gate"]["positions"] == []
    open_end = PlateauDecay(rule={"horizon": "unknown"})
    run(Chain(), open_end, max_epochs=8)
    assert open_end.state_dict()["gate"]["positions"] == []
    planned = PlateauDecay()
    run(Chain(), planned, max_epochs=8)
    assert len(planned.state_dict()["gate"]["positions"]) == 8
    for never in (PlateauDecay(patience=2), PlateauDecay(rule={"on_flat_region": "decay"})):
        run(Chain(), never, max_epochs=8)
        assert never.state_dict()["gate"]["positions"] == []


def test_a_run_is_sampled_at_most_fifty_times():
    callback, taken = PlateauDecay("train_loss", interval="step", rule={"gate": True, "read_every": 1}), []
    sample = callback._gate._sample
    callback._gate._sample = lambda parameters: taken.append(1) or sample(parameters)
    run(Chain(start=1.0), callback, max_epochs=50)
    cuts = sum(map(is_cut, callback.history))
    assert 20 <= len(taken) <= A_RUN + cuts


def test_a_cut_starts_the_comparison_anew():
    callback = PlateauDecay(rule={"gate": True, "endgame": 0.0})
    cuts = run(Chain(start=1.0), callback)
    first = callback._gate.path.positions[0]
    assert first == 10 * (cuts[-1][0] + 2)  # batches, at the next validation


class Two(Chain):
    """The chain and a second optimizer for other weights."""

    def __init__(self):
        super().__init__(start=1.0)
        self.automatic_optimization = False
        self.other = torch.nn.Parameter(torch.zeros(5))
        self.frozen = torch.nn.Parameter(torch.zeros(7), requires_grad=False)

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        for one in (first, second):
            one.zero_grad()
        self.manual_backward(self.loss(8) + self.other.square().sum())
        first.step()
        second.step()

    def configure_optimizers(self):
        second = torch.optim.Adam([self.other, self.frozen], lr=0.01)
        return torch.optim.SGD([self.w], lr=self.lr), second


@pytest.mark.parametrize(("chosen", "weights"), [(None, 37), (0, 32), (1, 5)])
def test_the_trainable_weights_of_the_optimizers_watched(chosen, weights):
    callback = PlateauDecay(optimizer=chosen, rule={"gate": True})
    run(Two(), callback, max_epochs=6)
    assert callback.state_dict()["gate"]["snapshots"].shape == (6, weights)


def test_the_choice_of_weights():
    before = torch.get_rng_state()
    layers = [torch.arange(6000.0).view(60, 100).t(), torch.arange(6000.0, 6003.0), torch.arange(6003.0, 20003.0)]
    parameters = [torch.nn.Parameter(layer) for layer in layers]
    first, again = WeightSampler()(parameters), WeightSampler()(parameters)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert len(first) == MOST_WEIGHTS
    assert first.unique().numel() > 0.85 * MOST_WEIGHTS
    assert 0.2 < (first < 6000).float().mean() < 0.4
    few = [torch.nn.Parameter(part) for part in (torch.ones(2, 2), torch.zeros(0), torch.tensor(3.0))]
    assert WeightSampler()(few).tolist() == [1.0, 1.0, 1.0, 1.0, 3.0]
    assert WeightSampler()([]).tolist() == []
    kinds = [torch.nn.Parameter(torch.ones(1, dtype=kind)) for kind in (torch.bfloat16, torch.complex64)]
    assert WeightSampler()(kinds).tolist() == [1.0, 1.0, 0.0]


def loop(first, last, saved=None, total=60, **settings):
    """A plain training loop over the chain, from one observation to another; what the LR was at each."""
    module = Chain(start=0.1)
    optimizer = module.configure_optimizers()
    plateau = PlateauLR(optimizer, total=total, rule=settings)
    if saved is not None:
        weights, momentum, state, random = saved
        module.load_state_dict(weights)
        optimizer.load_state_dict(momentum)
        plateau.load_state_dict(state)
        module.random.set_state(random)
    lrs = []
    for _ in range(first, last):
        for _ in range(10):
            optimizer.zero_grad()
            module.loss(8).backward()
            optimizer.step()
        with torch.no_grad():
            plateau.step(module.loss(64))
        lrs.append(optimizer.param_groups[0]["lr"])
    saved = (module.state_dict(), optimizer.state_dict(), plateau.state_dict(), module.random.get_state())
    return lrs, saved


def test_in_a_plain_loop_too(tmp_path):
    plain, (_, _, off, _) = loop(0, 60, gate=False, endgame=0)
    gated, whole = loop(0, 60, gate=True)
    assert off["gate"] is None
    assert min(plain[:20]) < 0.01 == min(gated[:20])
    for stop in (3, 17, 44):
        first, saved = loop(0, stop, gate=True)
        torch.save(saved, tmp_path / "saved.pt")
        rest, again = loop(stop, 60, torch.load(tmp_path / "saved.pt", weights_only=True), gate=True)
        assert first + rest == gated
        assert repr(again[2]) == repr(whole[2])
    assert loop(0, 9)[1][2]["gate"] is not None
    assert loop(0, 9, total=None)[1][2]["gate"] is None
