"""What each logger gets of a range test and of training, with its real offline mode, in a process of its own."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lr_lightning import RangeTestResult

FIT = """
import json, sys
import lightning as L
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, WandbLogger
from lr_lightning import LRCurves, LRRangeTest
from lr_lightning.cli.demo import DigitsCNN, DigitsData

make = {
    "csv": lambda: CSVLogger("."),
    "wandb": lambda: WandbLogger(save_dir=".", offline=True, project="team"),
    "mlflow": lambda: MLFlowLogger(tracking_uri="sqlite:///mlflow.db", artifact_location="artifacts"),
}
L.seed_everything(7, verbose=False)
logger, test = make[sys.argv[1]](), LRRangeTest(max_lr=1.0, num_steps=30, sandbox={"num_batches": 2}, at_epochs=[0, 1])
options = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
trainer = L.Trainer(max_epochs=2, limit_train_batches=6, limit_val_batches=1, log_every_n_steps=2, logger=logger,
                    callbacks=[test, LRCurves()], enable_checkpointing=False, **options)
trainer.fit(DigitsCNN(), datamodule=DigitsData())
found = {"lr": test.result.suggestion, "val_loss": float(trainer.callback_metrics["val_loss"])}
if sys.argv[1] == "wandb":
    found["summary"] = json.loads(json.dumps(dict(logger.experiment.summary), default=str))
    found["config"] = json.loads(json.dumps(dict(logger.experiment.config), default=str))
print("FOUND", json.dumps(found))
"""


def fit(folder: Path, logger: str) -> dict:
    folder.mkdir()
    quiet = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
    done = subprocess.run(
        [sys.executable, "-c", FIT, logger], cwd=folder, env={**os.environ, **quiet}, text=True, timeout=300,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "failed (" not in done.stderr, done.stderr
    return json.loads(done.stdout.partition("FOUND")[2].splitlines()[0])  # W&B says good-bye after it


def test_csv_gets_scalars_the_lr_found_and_the_files_beside(tmp_path):
    found = fit(tmp_path / "csv", "csv")
    (folder,) = (tmp_path / "csv" / "lightning_logs").iterdir()
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"lr-AdamW", "curves/loss", "val_loss"} <= set(rows[0])
    assert not any(key.startswith("range_test") for key in rows[0]), "its steps are training's"
    assert RangeTestResult.load(folder / "range_test_at_step_6.json").suggestion == found["lr"]
    assert f"lr: {found['lr']}" in (folder / "hparams.yaml").read_text()


@pytest.mark.slow  # needs the extra `loggers`
def test_wandb_gets_the_figure_the_curve_and_the_findings(tmp_path):
    plain, found = fit(tmp_path / "plain", "csv"), fit(tmp_path / "run", "wandb")
    assert plain == {key: found[key] for key in plain}, "telling W&B changes no training"
    summary, config = found["summary"], found["config"]
    assert summary["range_test_at_step_6/lr_found"] == found["lr"] == config["lr_found_at_step_6"]
    assert summary["range_test/range_test_status"] in ("ok", "no_divergence")
    assert {"lr-AdamW", "curves/loss", "val_loss"} <= set(summary)
    (run,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    (figure,) = run.glob("files/media/plotly/range_test/figure_*.plotly.json")
    assert any(trace["name"] == "loss" for trace in json.loads(figure.read_text())["data"])
    (table,) = run.glob("files/media/table/range_test/curve_*.table.json")
    assert json.loads(table.read_text())["columns"] == ["lr", "loss", "loss_smoothed"]
    (record,) = (tmp_path / "run" / "team").glob("*/range_test.json")
    assert len(json.loads(table.read_text())["data"]) == len(RangeTestResult.load(record).lrs)


@pytest.mark.slow  # needs the extra `loggers`
def test_mlflow_gets_the_curve_the_figure_and_the_findings(tmp_path):
    found = fit(tmp_path / "run", "mlflow")
    with closing(sqlite3.connect(tmp_path / "run" / "mlflow.db")) as database:
        metrics = database.execute("select key, step, value from metrics").fetchall()
        tags = dict(database.execute("select key, value from tags").fetchall())
        params = dict(database.execute("select key, value from params").fetchall())
    (page,) = (tmp_path / "run" / "artifacts").rglob("range_test.html")
    assert "Plotly.newPlot" in page.read_text(encoding="utf-8")
    result = RangeTestResult.load(page.with_suffix(".json"))
    curve = {step: value for key, step, value in metrics if key == "range_test/lr"}
    assert [curve[index] for index in sorted(curve)] == pytest.approx(result.lrs)
    assert {"lr-AdamW", "curves/loss", "val_loss"} <= {key for key, _, _ in metrics}
    assert float(tags["range_test_at_step_6.lr_found"]) == found["lr"]
    assert float(params["lr_found_at_step_6"]) == found["lr"]
    assert float(params["lr_found"]) == float(tags["range_test.lr_found"]) == result.suggestion
