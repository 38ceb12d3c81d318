"""Two real gloo processes: what weights and gradients say is one, whether they are copied or sharded."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
import lightning as L, torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader, TensorDataset
from lr_lightning import PlateauDecay

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
        self.lrs = []
    def configure_model(self):
        if sys.argv[2] == "fsdp2":
            from torch.distributed.fsdp import fully_shard
            for layer in (self.net[0], self.net[2]):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])
    def training_step(self, batch, batch_idx):
        self.lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return ((self.net(batch[0]) - batch[1]) ** 2).mean()
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", ((self.net(batch[0]) - batch[1]) ** 2).mean(), sync_dist=False)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

# A loader restarts when a fit resumes within an epoch: each rank has its own sample, over and over.
torch.manual_seed(1)
x = torch.randn(2, 4).repeat(16, 1)
data = TensorDataset(x, torch.randn(2, 1).repeat(16, 1))
gated = PlateauDecay(gate=True, diagnose="gradients")
saver = L.pytorch.callbacks.ModelCheckpoint(sys.argv[1], filename="half", every_n_train_steps=46)
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy="ddp" if sys.argv[2] == "ddp" else ModelParallelStrategy(2, 1),
    max_epochs=20, callbacks=[gated, saver], logger=False, enable_progress_bar=False, enable_model_summary=False,
)
net = Net()
resume = sys.argv[3] if len(sys.argv) > 3 else None
trainer.fit(net, DataLoader(data, batch_size=4), DataLoader(data, batch_size=4), ckpt_path=resume)
path = gated._gate.path
record = {
    "lrs": net.lrs, "history": gated.history, "drift": path.drift.ratio, "positions": path.positions,
    "weights": len(path._snapshots[-1]), "chunks": gated._gradients.path.chunks, "taken": [
        len(one) for one in gated._gradients.path.state_dict()["gradients"]
    ],
}
name = "resumed" if resume else "whole"
with open(f"{sys.argv[1]}/{name}{trainer.global_rank}.json", "w") as file:
    json.dump(record, file)
"""


def launch(folder: Path, kind: str, *arguments: str) -> list[dict]:
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[2]
    ours = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port), "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, str(script), str(folder), kind, *arguments]
    done = subprocess.run(command, env={**os.environ, **ours}, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    name = "resumed" if arguments else "whole"
    return [json.loads((folder / f"{name}{rank}.json").read_text()) for rank in (0, 1)]


def test_copied_and_sharded_weights_say_the_same(tmp_path):
    first, second = launch(tmp_path / "ddp", "ddp")
    assert first == second
    assert first["weights"] == 37
    assert first["taken"] == [37]
    assert sum(chunk[0] for chunk in first["chunks"]) >= 5
    again, other = launch(tmp_path / "ddp", "ddp", str(tmp_path / "ddp" / "half.ckpt"))
    assert again == other
    assert again["lrs"] == first["lrs"][-len(again["lrs"]) :]
    # A new DDP wrapper orders its gradient buckets anew: the weights differ in the last bit, and late they hardly move.
    assert again["positions"] == first["positions"]
    assert again["drift"] == pytest.approx(first["drift"], rel=5e-3)
    # Late in the run gradients are rounding errors.
    assert [chunk[0] for chunk in again["chunks"]] == [chunk[0] for chunk in first["chunks"]]
    # Sharded gradients are summed in another order, and late in the run the weights hardly differ from before.
    parts = launch(tmp_path / "fsdp2", "fsdp2")
    assert sum(part["weights"] for part in parts) == 37
    assert sum(part["taken"][0] for part in parts) == 37
    assert parts[0]["chunks"] == parts[1]["chunks"], "one verdict, of each rank's own part"
    assert [part["history"] for part in parts] == [parts[0]["history"]] * 2
    for part in parts:
        assert part["lrs"] == first["lrs"]
        assert part["positions"] == first["positions"]
        assert part["drift"] == pytest.approx(first["drift"], rel=5e-3)
