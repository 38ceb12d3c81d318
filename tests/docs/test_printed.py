"""Every printed block runs as printed, or is listed below with the reason why not; a new one that is neither fails."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
import yaml
from torch.utils.data import DataLoader, TensorDataset

import lr_lightning
from tests.cli.test_app import USERS
from tests.helpers import printed

SHELL, PYTHON, YAML = (printed.blocks(language) for language in ("", "python", "yaml"))
COMMANDS = list(dict.fromkeys(command for block in SHELL for command in block.commands))

NOT_RUN = {
    r"python3 -m venv": "an installation: .ci/run takes README's second line as printed and starts with it",
    r"pip install lr-lightning": "the package isn't in an index",
    r"\.venv/bin/python -m pytest": "these tests",
    r"bash \.ci/run": "what runs these tests",
    r"pip (download|wheel|install --no-index)": "fetches packages for a machine without a network",
    r"PYTHONPATH=\.site:\. python -m recipes\.benchmarks\.gpu": "needs a GPU; tests/recipes rehearses it on a CPU",
    r"lr-lightning review s3://": "needs a bucket and its keys; tests/cli reviews another filesystem of fsspec",
    r"python -m recipes\.benchmarks\.": "minutes to hours; tests/recipes runs each benchmark on less",
}
"""Beginnings of commands that aren't run here, with the reason."""

BUDGET = "hydra.sweeper.budget=3 hydra.sweeper.first=3 trainer.max_epochs=1"
APPENDED = {
    r"lr-lightning -m .*(seed=|joblib|weight_decay)": (
        f"{BUDGET} hydra.sweeper.range_test=false",
        "15 trainings of eight epochs, 45 with seeds; README's runs its range test",
    ),
    r"lr-lightning -m ": (BUDGET, "15 trainings of eight epochs"),
    r"lr-lightning ('callbacks|experiment=|--config-name)": ("trainer.max_epochs=2", "eight epochs show no more"),
    r"python main\.py fit --trainer\.callbacks\+=": ("--trainer.max_epochs 2", "Lightning's default, 1,000 epochs"),
    r"lr-lightning trainer=ddp": ("trainer.devices=2 trainer.accelerator=cpu trainer.max_epochs=1", "no 8 GPUs"),
}
"""What is added to commands that would take minutes or other machines, with the reason."""

SERVES = re.compile("lr-lightning review logs +#")
APP = """
import math
import hydra
from hydra.core.config_store import ConfigStore

ConfigStore.instance().store(name="c", node={"optim": {"lr": 0.1}})

@hydra.main(version_base="1.3", config_path=None, config_name="c")
def main(cfg):
    return math.log10(cfg.optim.lr / 0.01) ** 2

if __name__ == "__main__":
    main()
"""

CLI = """
from lightning.pytorch.cli import LightningCLI
from my import Data, Net

if __name__ == "__main__":
    done = LightningCLI(Net, Data)
    print("callbacks:", *(type(callback).__name__ for callback in done.trainer.callbacks))
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: modules of one's own, a project, apps, and the logs of a finished run."""
    folder = tmp_path_factory.mktemp("prepared")
    project(folder)
    done = shell("lr-lightning hydra.run.dir=logs/my_run", folder)
    assert done.returncode == 0, done.stderr
    return folder


def project(folder: Path) -> None:
    (folder / "my.py").write_text(USERS)
    (folder / "my_hydra_app.py").write_text(APP)
    (folder / "main.py").write_text(CLI)
    shutil.copytree(printed.ROOT / "tests" / "helpers" / "template_project", folder, dirs_exist_ok=True)


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True, timeout=900,
        env=environment(), check=False,
    )  # fmt: skip


def environment() -> dict[str, str]:
    where = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": where, "OMP_NUM_THREADS": "1", "BROWSER": "true", "CUDA_VISIBLE_DEVICES": ""}


def excepted(command: str) -> bool:
    return any(re.match(beginning, command) for beginning in NOT_RUN)


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if not excepted(c) and not SERVES.match(c)])
def test_a_printed_command_runs(command: str, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    more = next((more for beginning, (more, _) in APPENDED.items() if re.match(beginning, command)), "")
    said, _, comment = command.partition(" #")
    done = shell(f"{said} {more} #{comment}", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    words = said.split()
    if "-m" in words:
        assert len(list(tmp_path.rglob("optimization_results.yaml"))) == 1
    elif words[0] == "lr-lightning" and words[1] not in ("preview", "info", "review", "--help"):
        assert "look at it: lr-lightning review logs/" in done.stdout
    else:
        assert done.stdout.strip()


@pytest.mark.slow
def test_the_printed_review_serves_until_it_is_stopped(prepared: Path) -> None:
    [command] = [c for c in COMMANDS if SERVES.match(c)]
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=prepared, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
        # Tests that a shell has put in the background ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as server:  # fmt: skip
        assert server.stdout is not None
        try:
            said = ""
            while "http://127.0.0.1:" not in said:
                line = server.stdout.readline()
                assert line, said
                said += line
            server.send_signal(signal.SIGINT)
            assert server.wait(30) in (0, 130, -signal.SIGINT)
        finally:
            server.kill()


def test_no_exception_is_for_what_nobody_prints() -> None:
    for beginning in (*NOT_RUN, *APPENDED):
        assert any(re.match(beginning, command) for command in COMMANDS), beginning
    assert printed.languages() <= {"", "python", "yaml", "text"}, "a block of a language that nothing runs"


class Net(L.LightningModule):
    """What the pages call ``model``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def loader() -> DataLoader:  # type: ignore[type-arg]
    x = torch.randn(512, 32, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=32)


class Data(L.LightningDataModule):
    """What they call ``data``."""

    train_dataloader = val_dataloader = staticmethod(loader)  # type: ignore[assignment]


def given(page: str) -> dict[str, object]:
    """The names that a page's code takes for granted."""
    import hydra

    names: dict[str, object] = {name: getattr(lr_lightning, name) for name in lr_lightning.__all__}
    net = Net()
    names |= {"L": L, "torch": torch, "nn": torch.nn, "hydra": hydra, "lr_lightning": lr_lightning}
    names |= {"data": Data(), "loader": loader(), "epochs": 5, "model": net}
    if page.endswith(("start.md", "range_test.md", "formulas.md")):  # without Lightning
        names |= {"model": net.layer, "optimizer": torch.optim.SGD(net.layer.parameters(), lr=0.1)}
    if page.endswith(("trust.md", "why_did_it_drop.md", "resume.md")):  # after a training
        test, decay = lr_lightning.LRRangeTest(), lr_lightning.PlateauDecay("val_loss")
        trainer = L.Trainer(max_epochs=3, accelerator="cpu", callbacks=[test, decay], enable_progress_bar=False)
        trainer.fit(net, datamodule=names["data"])  # type: ignore[arg-type]
        names |= {"test": test, "decay": decay, "trainer": trainer}
    return names


PYTHON_NOT_RUN = {'strategy="ddp", devices=8': "eight GPUs; tests/distributed trains on several ranks"}
"""What a block holds that isn't run, with the reason; it is compiled all the same."""


def fit(names: dict[str, object], page: str) -> None:
    """Train what a block has set up."""
    trainer = names.get("trainer")
    trainer = trainer or L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[names["test"]])  # type: ignore[list-item]
    if isinstance(trainer, L.Trainer) and trainer.global_step == 0:
        kind = names.get("Net", Net)
        trainer.fit(kind(), datamodule=names["data"])  # type: ignore[operator, arg-type]


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}))
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Lightning's, about few workers and batches
def test_a_page_s_python_runs_as_printed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLOTLY_RENDERER", "json")
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda figure: SimpleNamespace(figure=figure))
    torch.manual_seed(0)
    names = given(page)
    for block in (block for block in PYTHON if block.page == page):
        for part in re.split(r"^\.\.\.$", block.body, flags=re.M):
            code = compile(part, page, "exec")
            if any(text in part for text in PYTHON_NOT_RUN):
                continue
            exec(code, names)  # noqa: S102
            if "trainer = " in part or part.strip() != block.body.strip():
                fit(names, page)


def lightning_cli(text: str, folder: Path) -> None:
    """The YAML file of a LightningCLI."""
    (folder / "config.yaml").write_text(text)
    done = shell("python main.py fit --config config.yaml --trainer.max_epochs 1", folder)
    assert "callbacks: LRRangeTest PlateauDecay" in done.stdout, done.stderr


def experiment(text: str, folder: Path) -> None:
    """An experiment file of a project like the template."""
    (folder / "configs" / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
    done = shell("python src/train.py experiment=mine model.scheduler=null", folder)
    assert re.search("callbacks: .*LRRangeTest.*PlateauDecay", done.stdout), done.stdout + done.stderr


YAML_RUNS = {"recipes/docs/howto/lightning_cli.md": lightning_cli, "recipes/docs/howto/template.md": experiment}


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.page)
def test_printed_yaml_is_taken(block: printed.Block, tmp_path: Path) -> None:
    assert yaml.safe_load(block.body)
    project(tmp_path)
    YAML_RUNS[block.page](block.body, tmp_path)
