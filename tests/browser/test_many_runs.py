"""Seven hundred runs with long names: what the page holds, what is drawn, and what a reader can do with them."""

import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from lr_lightning.reporting import records
from tests.helpers.browser import get, tensorboard, until

RUNS, FIRST = 700, 50
NAMES = [f"n={n:03},{'model.encoder.hidden=64,data.augment=0.5,' * 6}"[:240] + f",seed={n % 10}" for n in range(RUNS)]


def write(folder, name):
    """Three points of LR and loss, and the record that makes TensorBoard show the tab."""
    path = folder / name / "events.out.tfevents.1700000000.host"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(event_pb2.Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
        for step in range(3):
            values = {"lr-SGD": 0.1, "train_loss": 1.0 / (1 + step)}
            summary = summary_pb2.Summary(value=[{"tag": tag, "simple_value": one} for tag, one in values.items()])
            writer.write(event_pb2.Event(wall_time=1.7e9 + step, step=step, summary=summary).SerializeToString())
        record = records.json_summary("lr_curves/record", records.CURVES, {"lr": ["lr-SGD"], "status": "done"})
        writer.write(event_pb2.Event(wall_time=1.7e9, summary=record).SerializeToString())


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for name in NAMES:
        write(folder, name)
    with tensorboard(folder, "--load_fast=true") as url:
        until(lambda: len(get(f"{url}/data/plugin/lr_lightning/overview")["runs"]) == RUNS, what="the reading")
        yield url


@pytest.fixture(scope="module")
def opened(browser, board):
    browser.size(1440, 1200)  # fifty rows and more
    browser.open(board)


@pytest.fixture
def tab(browser, opened):
    browser.again("training")
    return browser


def drawn(tab):
    """Names of the runs that have a line, whether or not lines of one look are one trace."""
    return {
        name
        for text in tab.plot("data.map(t => t.text ? [...new Set(t.text)] : [t.name])")
        for name in text
        if name and name != "events"
    }


def ticked(tab):
    return tab.driver.execute_script(
        "return [...document.querySelectorAll('#runs label')].filter(x => x.firstChild.checked).map(x => x.title)"
    )


def test_the_first_are_drawn_and_the_page_says_so(tab):
    assert tab.texts("#status") == [f"{FIRST} of {RUNS} runs"]
    assert any(f"The first {FIRST} of {RUNS} runs are drawn" in note for note in tab.texts("#notes p"))
    assert len(drawn(tab)) == FIRST
    assert ticked(tab) == NAMES[:FIRST]
    assert tab.severe() == []


def test_the_list_holds_the_rows_in_sight(tab):
    assert len(tab.texts("#runs label")) < 150
    sight = (
        "const box = document.querySelector('#runs').getBoundingClientRect();"
        "return [...document.querySelectorAll('#runs label')].filter(x => {const r = x.getBoundingClientRect();"
        " return r.bottom > box.top && r.top < box.bottom;}).map(x => x.title)"
    )
    assert tab.driver.execute_script(sight)[0] == NAMES[0]
    tab.driver.execute_script("const r = document.querySelector('#runs'); r.scrollTop = r.scrollHeight")
    until(lambda: tab.driver.execute_script(sight)[-1:] == NAMES[-1:], what="the last row")
    whole = "const r = document.querySelector('#runs'); return r.scrollHeight"
    assert tab.driver.execute_script(whole) == pytest.approx(24 * RUNS, abs=30)


def test_names_show_what_tells_them_apart(tab):
    row = (
        "return [...document.querySelectorAll('#runs .name')].map(x => [x.offsetHeight, x.scrollWidth - x.clientWidth])"
    )
    for height, over in tab.driver.execute_script(row):
        assert height < 24
        assert over <= 0
    tails = tab.texts("#runs .tail")
    assert all("seed=" in tail for tail in tails), "the end of a name stays in sight"


def test_all_and_one_less(tab):
    tab.act("document.querySelectorAll('.links button')[0].click()")
    assert tab.texts("#status") == [f"{RUNS} of {RUNS} runs"]
    assert len(drawn(tab)) == RUNS
    assert tab.plot("data.length") < 100, "lines of one look are one trace"
    tab.act("document.querySelector('#runs input').click()")
    assert tab.texts("#status") == [f"{RUNS - 1} of {RUNS} runs"]
    assert len(drawn(tab)) == RUNS - 1


def test_a_filter_is_over_all_and_a_pick_stays(tab):
    tab.act("const f = document.querySelector('#filter'); f.value = 'seed=7$'; f.oninput({target: f})")
    assert tab.texts("#status") == [f"{FIRST} of {RUNS} runs"]
    assert ticked(tab)[:2] == [NAMES[7], NAMES[17]]
    tab.act("document.querySelector('#runs input').click()")
    assert ticked(tab)[0] == NAMES[17]
    assert len(drawn(tab)) == FIRST - 1, "no other run takes its place"
    tab.driver.switch_to.default_content()
    tab.driver.refresh()
    tab.enter()
    tab.ready()
    assert tab.texts("#status") == [f"{FIRST - 1} of {RUNS} runs"]
    assert ticked(tab)[0] == NAMES[17]


def test_one_run_by_keyboard_keeps_the_focus(tab):
    tab.driver.execute_script("document.querySelectorAll('#runs input')[2].focus()")
    tab.act("document.activeElement.click()")
    focus = "return document.activeElement.closest('label').title"
    assert tab.driver.execute_script(focus) == NAMES[2]
    assert NAMES[2] not in ticked(tab)
