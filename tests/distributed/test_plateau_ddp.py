"""Two real gloo processes with different data: PlateauDecay decides once, and the same on both."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
import lightning as L, torch
from torch.utils.data import DataLoader, TensorDataset
from lr_lightning import PlateauDecay

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.lrs = []
    def training_step(self, batch, batch_idx):
        self.lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return ((self.layer(batch[0]) - batch[1]) ** 2).mean()
    def validation_step(self, batch, batch_idx):
        # Not synced: the ranks log different numbers.
        value = 1.0 + 0.1 * self.global_rank * ((self.current_epoch * 7) % 5)
        self.log("val_loss", value, sync_dist=False)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)

torch.manual_seed(0)
# A loader restarts when a fit resumes within an epoch: each rank has its own sample, over and over.
x = torch.randn(2, 4).repeat(32, 1)
data = TensorDataset(x, torch.randn(2, 1).repeat(32, 1))
pair = [
    PlateauDecay(patience=1),
    PlateauDecay("train_loss", mode="max", interval="step", patience=9, factor=0.9, rule={"read_every": 7}),
]
saver = L.pytorch.callbacks.ModelCheckpoint(sys.argv[1], filename="half", every_n_train_steps=45)
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=10, callbacks=[*pair, saver], logger=False,
    enable_progress_bar=False, enable_model_summary=False,
)
net = Net()
resume = sys.argv[2] if len(sys.argv) > 2 else None
trainer.fit(net, DataLoader(data, batch_size=4), DataLoader(data, batch_size=32), ckpt_path=resume)
record = {"lrs": net.lrs, "history": [c.history for c in pair], "state": [c._state.to_dict() for c in pair]}
name = "resumed" if resume else "whole"
with open(f"{sys.argv[1]}/{name}{trainer.global_rank}.json", "w") as file:
    json.dump(record, file)
"""


def launch(folder: Path, *arguments: str) -> list[dict]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[2]
    ours = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port), "MASTER_ADDR": "127.0.0.1"}
    command = [sys.executable, str(script), str(folder), *arguments]
    done = subprocess.run(command, env={**os.environ, **ours}, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    name = "resumed" if arguments else "whole"
    return [json.loads((folder / f"{name}{rank}.json").read_text()) for rank in (0, 1)]


def test_ranks_agree_and_a_resumed_run_too(tmp_path):
    first, second = launch(tmp_path)
    assert first == second
    assert all(first["history"])
    again, other = launch(tmp_path, str(tmp_path / "half.ckpt"))
    assert again == other
    assert again["lrs"] == first["lrs"][-len(again["lrs"]) :]
    # Steps and LRs: a new DDP wrapper orders its gradient buckets anew, the losses differ in the last bit.
    steps = [
        [[(entry["step"], entry["new_lr"]) for entry in part] for part in run["history"]] for run in (first, again)
    ]
    assert steps[0] == steps[1]
