"""The preview: text that shows the curve, a page that works without a network, a command on a configuration."""

import re

import pytest
from omegaconf import OmegaConf

from lr_lightning import Formula, FormulaError
from lr_lightning.cli.preview import figure, preview, preview_command


def rows(text):
    return [line for line in text.splitlines() if "│" in line or "|" in line]


def test_the_plot_is_the_curve():
    text = preview(
        Formula("base_lr * (1 - step / 99)", interval="step"),
        epochs=10,
        steps_per_epoch=10,
        base_lr=0.1,
        width=73,
        height=10,
    )
    plot = [re.split(r"[│|]", row, maxsplit=1)[1] for row in rows(text)]
    heights = [next(9 - i for i, row in enumerate(plot) if row[x : x + 1].strip()) for x in range(60)]
    assert heights == [round(9 * (1 - x * 99 // 59 / 99)) for x in range(60)]
    assert "first 0.1, least 0, greatest 0.1, last 0" in text
    assert "step 99, end of epoch 9" in text


def test_several_formulas_and_the_page(tmp_path):
    page = tmp_path / "new" / "page.html"
    text = preview(
        {"slow": "base_lr / (1 + 0.05 * epoch)", "cycle": Formula(preset="one_cycle")}, html=page, width=80, base_lr=0.2
    )
    assert "slow" in text
    assert "cycle" in text
    html = page.read_text(encoding="utf-8")
    assert "slow" in html
    assert "cycle" in html
    assert "Plotly.newPlot" in html
    assert not re.search(r"<script[^>]+src=", html)


def test_ascii_where_the_terminal_has_no_more(monkeypatch, capsys):
    class Ascii:
        encoding = "ascii"

    with monkeypatch.context() as patch:
        patch.setattr("lr_lightning.cli.preview.sys.stdout", Ascii())
        text = preview("base_lr * 0.9 ** epoch", width=60)
    assert text.isascii()


def test_warnings_and_errors():
    assert "warning: the formula 'base_lr' gives the same LR" in preview("base_lr")
    with pytest.raises(FormulaError, match=r"negative \(-0.1\) at epoch 2, step 200"):
        preview("base_lr * (1 - epoch)", base_lr=0.1)
    with pytest.raises(FormulaError, match="no formula"):
        preview([])


def test_metrics_have_the_value_given():
    text = preview('base_lr * metric("val_loss")', metrics={"val_loss": 0.25})
    assert "first 0.25, least 0.25, greatest 0.25, last 0.25" in text


def config(**more):
    formula = {
        "_target_": "lr_lightning.LRFormula",
        "expression": "base_lr * k ** epoch",
        "k": 0.5,
        "groups": {"head": "lr"},
    }
    return OmegaConf.create({"callbacks": {"formula": formula, "other": None}, **more})


def test_the_command(tmp_path, capsys):
    page = tmp_path / "p.html"
    preview_command(
        config(
            trainer={"max_epochs": 4, "limit_train_batches": 10, "accumulate_grad_batches": 2},
            optimizer={"lr": 0.1},
            preview={"html": str(page)},
        )
    )
    out = capsys.readouterr().out
    assert "formula: base_lr * k ** epoch (k=0.5)" in out
    assert "formula [head]: lr" in out
    assert "first 0.1, least 0.0125, greatest 0.1, last 0.0125" in out
    assert "step 19, end of epoch 3" in out
    assert "assumed" not in out
    assert page.exists()


def test_the_command_says_what_it_assumes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preview_command(config(trainer={"max_steps": 250}))
    out = capsys.readouterr().out
    assert "assumed: steps_per_epoch=100, base_lr=1.0 (set preview.epochs" in out
    assert "end of epoch 2" in out
    assert (tmp_path / "lr_preview.html").exists()
    with pytest.raises(FormulaError, match="no formula in this configuration"):
        preview_command(OmegaConf.create({"callbacks": {"other": None}}))


def test_figure_draws_over_epochs_where_all_formulas_change_by_epoch():
    two = [Formula("base_lr * 0.5 ** epoch"), Formula("base_lr / (1 + epoch)")]
    drawn = figure(dict(zip(("half", "other"), two, strict=True)), epochs=3, steps_per_epoch=10, base_lr=0.1)
    assert [trace.name for trace in drawn.data] == ["half", "other"]
    assert list(drawn.data[1].y) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.1 / 3, 0.1 / 3])
    assert drawn.layout.xaxis.title.text == "epoch"
    long = figure(Formula(preset="cosine", interval="step"), epochs=100, steps_per_epoch=1000)
    assert len(long.data[0].x) == 1000
    assert long.layout.xaxis.title.text == "step"
