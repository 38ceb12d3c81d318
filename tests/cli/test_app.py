"""The command as a user runs it: in a process of its own, in an empty folder."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from lr_lightning import RangeTestResult

FAST = ("trainer.enable_progress_bar=false", "trainer.accelerator=cpu")
USERS = """
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, learning_rate=0.01, width=1):
        super().__init__()
        self.learning_rate, self.layer = learning_rate, torch.nn.Linear(4, width)

    def training_step(self, batch, batch_idx):
        return (self.layer(batch[0]) - batch[1]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", (self.layer(batch[0]) - batch[1]).pow(2).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.learning_rate)


class Data(L.LightningDataModule):
    def train_dataloader(self):
        x = torch.randn(256, 4)
        return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16)

    val_dataloader = train_dataloader
"""


def command(folder, *args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lr_lightning.cli.app", *args], cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def test_main_job(tmp_path):
    done = command(tmp_path, *FAST, "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    suggested = re.search(r"suggested LR: (\S+) \(interval \S+ to \S+; ok: .*\)", done.stdout)
    assert suggested, done.stdout
    assert re.search(r"zones: flat .* descending .* diverging", done.stdout)
    assert "LR before: 0.001" in done.stdout
    assert float(re.search(r"val accuracy: (\S+)", done.stdout)[1]) > 0.8
    log_dir = tmp_path / re.search(r"look at it: lr-lightning review (\S+)", done.stdout)[1]
    result = RangeTestResult.load(log_dir / "range_test.json")
    assert f"{result.suggestion:.4g}" == suggested[1]
    assert list(log_dir.glob("events.out.tfevents.*"))


def test_a_users_own_module_and_data(tmp_path):
    (tmp_path / "my.py").write_text(USERS)
    done = command(
        tmp_path, *FAST, "model._target_=my.Net", "data._target_=my.Data", "callbacks.lr_range_test.max_lr=1",
        "trainer.max_epochs=1", "+model.width=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "my.Net takes no 'lr': left out the default lr=0.001" in done.stdout
    assert "my.Data takes no 'batch_size'" in done.stdout
    assert "LR before: 0.01" in done.stdout


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("callbacks.lr_range_test.rule=steep", "rule must be one of"),
        ("+model.depth=3", "depth"),
        ("trainer.max_epoch=3", "did you mean 'trainer.max_epochs'?"),
    ],
)
def test_bad_values_end_before_training(tmp_path, override, message):
    done = command(tmp_path, *FAST, override)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Epoch" not in done.stdout + done.stderr


def test_help_and_cfg_read_well(tmp_path):
    shown = command(tmp_path, "--help").stdout
    assert "Groups (choose with group=name)" in shown
    assert "optimizer: adamw, sgd" in shown
    assert "max_lr: 10.0" in command(tmp_path, "--cfg", "job").stdout


def test_info_says_what_a_bug_report_needs(tmp_path):
    done = command(tmp_path, "info")
    assert done.returncode == 0, done.stderr
    whole = re.sub(r"\n +", " ", done.stdout)  # long lists go on in indented lines
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in whole.splitlines())
    assert facts["lightning"] == version("lightning")
    assert facts["python"].startswith(platform.python_version())
    assert {"ddp", "fsdp", "single_device"} <= {name.strip(",") for name in facts["strategies"].split()}
    assert facts["TensorBoard tab"] == "found"
    assert facts["Hydra plugins"].endswith("hydra/sweeper=lr_coarse_to_fine")
    assert facts["devices"].startswith("cpu")
    assert max(len(line) for line in done.stdout.splitlines()) <= 140


def test_help_names_the_other_commands_and_callbacks(tmp_path):
    shown = command(tmp_path, "--help").stdout
    assert "review LOGDIR | preview KEY=VALUE… | info" in shown
    assert "lr_plateau_decay" in shown


@pytest.mark.parametrize("words", [["--help"], ["preview", "--help"], ["review", "--help"]], ids=" ".join)
def test_a_terminal_without_our_signs_gets_the_text_all_the_same(tmp_path, words):
    done = command(tmp_path, *words, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\u2026" in done.stdout
