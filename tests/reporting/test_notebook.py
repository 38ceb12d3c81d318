"""A result in a notebook: a real kernel, and what is left without plotly."""

import subprocess
import sys
from base64 import b64decode

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

# What Lightning itself imports may have warned already, transformers for instance; what comes after would warn anew.
BEFORE = """
import sys
import lightning as L
for name in ("tqdm.auto", "tqdm.autonotebook"):
    sys.modules.pop(name, None)
"""
FIT = """
from lr_lightning import LRRangeTest
from lr_lightning.cli.demo import DigitsCNN, DigitsData
test = LRRangeTest(max_lr=1.0, num_steps=30, sandbox={"num_batches": 2})
trainer = L.Trainer(max_epochs=1, accelerator="cpu", callbacks=[test], logger=False, enable_checkpointing=False,
                    enable_model_summary=False, limit_train_batches=4, limit_val_batches=1)
trainer.fit(DigitsCNN(), datamodule=DigitsData())
"""
WITHOUT = """
import sys
sys.modules["plotly"] = sys.modules["nbformat"] = None  # as if they weren't installed
from lr_lightning.rules.range_test.analyze import analyze
from lr_lightning.rules.range_test.ladder import ladder
lrs = list(ladder(1e-5, 10.0, 30))
shown = analyze(lrs, [2.0 - i / 30 for i in range(30)], planned=30)._repr_mimebundle_()
assert set(shown) == {"text/plain", "text/html"}, set(shown)
assert "<svg" in shown["text/html"]
assert not {"torch", "lightning"} & set(sys.modules)
print(shown["text/plain"])
"""


def test_a_fit_and_its_result_in_a_real_kernel(tmp_path):
    cells = [nbformat.v4.new_code_cell(code) for code in (BEFORE, FIT, "test.result", "print(test.result.suggestion)")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    said = "".join(str(output.get("text", "")) for output in cells[1].outputs)
    assert "LR range test:" in said, "the sweep's progress bar"
    assert "IProgress not found" not in str(cells[1].outputs)
    (shown,) = cells[2].outputs
    suggested = f"{float(cells[3].outputs[0].text):.4g}"
    assert f"suggested LR     {suggested}" in shown.data["text/plain"]
    assert "<table>" in shown.data["text/html"]
    assert "<svg" in shown.data["text/html"], "a picture for exported pages, which draw no plotly"
    figure = shown.data["application/vnd.plotly.v1+json"]
    lrs = figure["data"][0]["x"]
    if isinstance(lrs, dict):  # plotly 6 packs arrays
        lrs = np.frombuffer(b64decode(lrs["bdata"]), lrs["dtype"])
    assert len(lrs) > 10
    assert lrs[0] == pytest.approx(1e-7)
    assert suggested in figure["layout"]["title"]["text"]
    assert len(str(shown)) < 100_000, "a saved notebook stays small"


def test_without_plotly_a_table_is_shown():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "status" in done.stdout
