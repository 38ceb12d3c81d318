"""Runs that went wrong, beside one that didn't, and searches: what is said of them, in all four looks."""

import math

import numpy as np
import pytest

from lr_lightning.reporting import events, records
from lr_lightning.reporting.range_test_writer import RangeTestWriter
from lr_lightning.rules.range_test.analyze import analyze
from tests.helpers import logs
from tests.helpers.browser import until

LOSSES = {
    "silent": [2.3] * len(logs.LRS),
    "nan": [math.nan] * len(logs.LRS),
}
ROUNDS = [
    {"low": 1e-5, "high": 1.0, "interval": [2e-3, 0.09]},
    {"low": 2e-3, "high": 0.09, "interval": [8e-3, 0.03]},
]
ANSWER = {
    "best": {"lr": 0.0163, "score": 0.31},
    "interval": [0.011, 0.022],
    "reason": "two rounds agree",
    "surrogate": {
        "lr": np.geomspace(1e-5, 1, 60).tolist(),
        **{key: (0.3 + 0.1 * np.linspace(-3, 2, 60) ** 2 + add).tolist()
           for key, add in (("mean", 0.0), ("low", -0.05), ("high", 0.05))},
    },
}  # fmt: skip
STATUS = {3: "crashed", 9: "pruned", 12: "diverged", 17: "pruned"}


def write_search(folder):
    """Forty trials of which one is far off, two were pruned, one crashed and one diverged."""
    trials = []
    for index in range(40):
        bounds = ROUNDS[index // 20]
        lr = bounds["low"] * (bounds["high"] / bounds["low"]) ** ((index % 20) / 19)
        status = STATUS.get(index, "ok")
        score = None if status in ("crashed", "diverged") else 0.3 + 0.1 * math.log10(lr / 0.0163) ** 2
        score = 1e6 if index == 19 else score
        trials.append({"lr": lr, "score": score, "round": index // 20, "status": status, "index": index,
                       "seconds": 30.0 + index})  # fmt: skip
    events.write_search(folder, trials, ROUNDS, metric="val_loss", status="done", answer=ANSWER)
    return trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trouble")
    logs.write_range_test(folder, "good")
    for name, losses in LOSSES.items():
        writer = RangeTestWriter(logs.rank_zero(logs.board(folder, name)), 0, html=False, image=False)
        writer.finish(analyze(logs.LRS.tolist(), losses))
    broken = logs.board(folder, "broken")
    summary = records.json_summary("range_test/record", records.RANGE_TEST, {})
    summary.value[0].tensor.string_val[0] = b"[" * 100_000
    events.add_summary(broken.experiment, summary, 0)
    broken.experiment.flush()
    write_search(folder / "search")
    trainer = logs.rank_zero(logs.board(folder, "training"))
    for step in range(100):
        loss = math.nan if step > 60 else 1 / (1 + step)
        rates = {f"lr-AdamW/pg{group + 1}": 0.1 / (1 + group) for group in range(20)}
        events.log_scalars(trainer, {**rates, "train_loss": loss}, step)
    text = "preset cosine: base_lr * (1 + cos(pi * progress)) / 2"
    events.write_event(trainer, events.LREvent("formula", 0, 0, 0.1, 0.1, text, "LRFormula"))
    for _, writer in events.tensorboards(trainer):
        done = records.json_summary("lr_curves/record", records.CURVES, {"lr": [*rates], "status": "done"})
        events.add_summary(writer, done, 0)
        writer.flush()
    return folder


@pytest.fixture
def tab(browser, look):
    browser.again()
    return browser


def test_a_range_test_without_an_answer_says_why_in_the_picture(tab):
    for run in LOSSES:
        tab.only(run)
        words = " ".join(tab.texts("#plot .annotation-text"))
        assert "No suggestion" in words
        inside = (
            "const box = document.querySelector('#plot .annotation').getBoundingClientRect(),"
            " plot = document.querySelector('#plot').getBoundingClientRect();"
            " return [box.left - plot.left, plot.right - box.right]"
        )
        left, right = tab.driver.execute_script(inside)
        assert left > 64, "on the axis' labels"
        assert right > 24, "cut off"
        assert tab.rows()[0][-1], "the table has the reason as well"
    assert any("NaN or infinite" in text for text in tab.texts("#plot .legendtext"))
    assert tab.overlaps("[class$=tick] text") == []


def test_a_broken_record_is_named_and_leaves_the_others(tab):
    assert any(note.startswith("broken: the record range_test/record can't be read") for note in tab.texts("#notes p"))
    assert {row[0] for row in tab.rows()} == {"good", "nan", "silent"}
    assert tab.wider() <= 0


def test_a_search_shows_what_it_used_and_one_best(tab, folder, look):
    tab.view("search")
    spans = tab.plot("data.filter(t => t.yaxis === 'y2' && t.name.startsWith('tried')).map(t => [...t.x])")
    assert spans == [pytest.approx([item["low"], item["high"]]) for item in ROUNDS]
    left = tab.plot("data.filter(t => t.yaxis === 'y2' && t.name.startsWith('interval')).map(t => [...t.x])")
    assert left == [pytest.approx(ROUNDS[0]["interval"]), pytest.approx(ANSWER["interval"])]
    _, high = tab.plot("layout.yaxis.range")
    assert high < (6 if tab.plot("layout.yaxis.type") == "log" else 1e5), "one score far off squashes no others"
    assert tab.texts("#table th button") == ["trial", "round", "LR", "score", "status", "took", "why"]
    rows = {int(row[0].removesuffix("open run")): row for row in tab.rows()}
    assert sorted(rows) == list(range(40))
    assert rows[3][4:6] == ["crashed", "33 s"]
    assert {row[4] for row in rows.values()} == {"ok", "crashed", "pruned", "diverged", "ok · best of the tried"}
    assert {"pruned", "crashed", "diverged", "score far off"} <= set(tab.texts("#plot .legendtext"))
    assert any("0.0163" in text for text in tab.texts("#plot .legendtext"))
    assert "LR 0.0163" in tab.texts("#answer")[0]
    assert tab.overlaps("[class$=tick] text") == []
    tab.shoot(f"search_40_{look[0]}_{'dark' if look[1] else 'light'}")


def test_a_training_that_ended_in_nan_is_told_and_not_called_live(tab, look):
    tab.view("training")
    assert any("training: the loss is NaN or infinite from step 61 on" in note for note in tab.texts("#notes p"))
    assert "live" not in tab.texts("#status")[0]
    assert len({*tab.plot("data.filter(t => t.yaxis === 'y2' && t.mode === 'lines').map(t => t.name)")}) == 20
    assert tab.overlaps("[class$=tick] text") == []
    assert tab.overlaps(".legendtext") == []
    tab.driver.execute_script(
        "const p = document.querySelector('#plot'), at = p.data.findIndex(t => t.name === 'events');"
        "Plotly.Fx.hover(p, [{curveNumber: at, pointNumber: 0}], 'xy2')"
    )
    until(lambda: "preset cosine" in " ".join(tab.texts("#plot .hoverlayer text")), what="the preset's name")
    tab.shoot(f"groups_{look[0]}_{'dark' if look[1] else 'light'}")
