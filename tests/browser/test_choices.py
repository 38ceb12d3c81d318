"""What a reader chooses in the tab, with a dozen mixed runs: the axis, colours, filter, sorting, reload, widths."""

import math

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lr_lightning.reporting import events
from tests.helpers import logs
from tests.helpers.browser import get, until

NAMES = [f"mnist/model=cnn,optimizer.lr={lr},seed={seed}" for lr in (0.01, 0.1, 0.3) for seed in range(4)]
WILD = "mnist/model=cnn,optimizer.lr=9,seed=0"


def write(folder, name, wild=False, lr=0.1):
    """Four epochs of a training; a wild one diverges to 6e15."""
    trainer = logs.rank_zero(logs.board(folder, name))
    for step in range(0, 400, 10):
        loss = math.exp(step * 0.0925) if wild else 0.3 + 0.7 * math.exp(-step / 60)
        scalars = {"lr-SGD": lr, "curves/loss": loss, "epoch": step // 100}
        if step % 100 == 90:
            scalars |= {"val_loss": loss, "val_accuracy": 1 / (1 + loss)}
        events.log_scalars(trainer, scalars, step)
    if not wild:
        reason = "no downward trend in val_loss over the last 12 observations (p = 0.61); around a noise floor" * 2
        for step, old in ((150, lr), (390, lr / 2)):
            event = events.LREvent("decay", step, step // 100, old, old / 2, reason, "PlateauDecay(val_loss)")
            events.write_event(trainer, event)
    trainer.loggers[0].experiment.flush()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    for number, name in enumerate(NAMES):
        write(folder, name, lr=0.1 / (1 + number))
    write(folder, WILD, wild=True)
    logs.write_range_test(folder, "mnist/range_test")
    logs.write_search(folder / "sweep")
    write(folder, "sweep/3")
    return folder


@pytest.fixture
def tab(browser, look):
    browser.again("training")
    return browser


def share(tab):
    """How much of the loss axis the values from 0.3 to 1 fill."""
    kind, (low, high) = tab.plot("[layout.yaxis.type, layout.yaxis.range]")
    ends = (math.log10(0.3), 0.0) if kind == "log" else (0.3, 1.0)
    return (min(ends[1], high) - max(ends[0], low)) / (high - low)


def test_a_diverged_run_leaves_the_picture_and_comes_back_on_request(tab):
    assert share(tab) > 0.5
    assert any(WILD in note for note in tab.texts("#notes p"))
    tab.act("document.querySelector('#clip').click()")
    assert share(tab) < 0.2
    assert tab.plot("layout.yaxis.type") == "log", "positive values that reach far"
    tab.act("const s = document.querySelector('#scale'); s.value = 'linear'; s.onchange()")
    assert tab.plot("layout.yaxis.type") == "linear"


def test_accuracy_has_a_panel_of_its_own_and_all_panels_one_height(tab):
    tab.act("[...document.querySelectorAll('#metrics label')].find(x => x.title === 'val_accuracy').click()")
    assert tab.plot("layout.yaxis3.title.text") == "val_accuracy"
    domains = tab.plot("[layout.yaxis, layout.yaxis2, layout.yaxis3].map(axis => axis.domain[1] - axis.domain[0])")
    assert max(domains) == pytest.approx(min(domains))
    assert set(tab.plot("data.filter(t => t.meta === 'val_accuracy').map(t => t.yaxis)")) == {"y3"}
    assert tab.overlaps("[class$=tick] text") == []


def test_smoothing_keeps_the_raw_line_pale_behind(tab):
    tab.only(NAMES[0])
    before = tab.plot("data.length")
    tab.act("const s = document.querySelector('#smooth'); s.value = 0.8; s.oninput()")
    assert tab.plot("data.length") == before + 2, "the training and the validation loss"
    assert tab.plot("data.filter(t => t.line && t.line.color.startsWith('rgba')).length") == 2


def test_one_run_is_named_once_and_its_epochs_count_from_zero(tab):
    tab.only(NAMES[0])
    assert "run" not in tab.texts("#table th button"), "the sidebar names it"
    assert not any("seed=0" in text for text in tab.texts("#plot .legendtext"))
    tab.act("const x = document.querySelector('#x'); x.value = 'epoch'; x.onchange()")
    assert "epoch (from 0)" in tab.texts("#plot .xtitle")
    assert tab.texts("#plot .xtick text")[:4] == ["0", "1", "2", "3"]
    tab.act("const x = document.querySelector('#x'); x.value = 'time'; x.onchange()")
    assert "seconds since the run's first point" in tab.texts("#plot .xtitle")


def test_colours_stay_when_a_run_comes_and_names_are_short(tab, url, folder, look):
    before = tab.swatches()
    mine = {name: color for name, color in before.items() if name.startswith("mnist/model")}
    assert len(set(mine.values())) == len(mine), "thirteen runs have thirteen colours"
    assert "mnist/lr=0.01,seed=0" in tab.texts("#runs .name"), "what all have in common is left out"
    new = f"mnist/new_{look[0]}_{look[1]}"
    write(folder, new)
    if look == (1440, False):  # the page notices by itself; once is enough to wait for it
        until(lambda: new in tab.swatches(), what="the new run")
    else:
        overview = f"{url}/data/plugin/lr_lightning/overview"
        until(lambda: new in {run["name"] for run in get(overview)["runs"]}, what="the new run")
        tab.again("training")
    after = tab.swatches()
    assert {name: after[name] for name in before} == before
    tab.again("training")
    assert {name: tab.swatches()[name] for name in before} == before
    names = tab.driver.execute_script(
        "return [...document.querySelectorAll('#runs .name')].map(x => [x.offsetHeight, x.parentNode.title.length])"
    )
    assert max(height for height, _ in names) < 24, "one line each"


def test_the_filter_is_a_regex_and_filters_the_plot(tab):
    tab.act(
        "const f = document.querySelector('#filter'); f.value = 'lr=0\\\\.(01|1).*seed=[02]'; f.oninput({target: f})"
    )
    assert len(tab.texts("#runs .name")) == 4
    assert len(set(tab.plot("data.map(t => t.legendgroup)"))) == 4
    tab.act("const f = document.querySelector('#filter'); f.value = '('; f.oninput({target: f})")
    assert "bad" in tab.driver.execute_script("return document.querySelector('#filter').className")


def test_choices_survive_a_reload(tab):
    tab.act("const x = document.querySelector('#x'); x.value = 'epoch'; x.onchange()")
    tab.act("document.querySelector('#clip').click()")
    tab.only(NAMES[5])
    tab.driver.switch_to.default_content()
    tab.driver.refresh()
    tab.enter()
    tab.ready()
    kept = "return [document.querySelector('#x').value, document.querySelector('#clip').checked]"
    assert tab.driver.execute_script(kept) == ["epoch", False]
    ticked = "return [...document.querySelectorAll('#runs label')].filter(x => x.firstChild.checked).map(x => x.title)"
    assert tab.driver.execute_script(ticked) == [NAMES[5]]
    assert tab.severe() == []


def test_an_address_that_says_nonsense_is_the_page_as_it_begins(tab):
    odd = '{"view": "training", "x": "</script>", "sort": {"training": {"column": -1}}, "on": 5, "metrics": 7}'
    for kept in ("null", "{", '{"view": "__proto__"}', '{"view": "training", "smooth": 1e999, "width": -1e9}', odd):
        tab.again(kept=kept)
        assert tab.data()["ready"] == "1", kept
        assert tab.wider() <= 0
    assert tab.severe() == []


def test_the_sidebar_is_dragged_and_its_width_kept(tab):
    wide = "return [document.querySelector('aside').offsetWidth, document.querySelector('#plot .main-svg').clientWidth]"
    before = tab.driver.execute_script(wide)
    bar = tab.driver.find_element(By.CSS_SELECTOR, "#resizer")
    ActionChains(tab.driver).click_and_hold(bar).move_by_offset(90, 0).release().perform()
    until(lambda: tab.driver.execute_script(wide)[1] < before[1], what="the plot's new width")
    dragged = tab.driver.execute_script(wide)
    assert dragged[0] == pytest.approx(before[0] + 90, abs=4)
    bar.send_keys(Keys.ARROW_RIGHT)
    assert tab.driver.execute_script(wide)[0] == dragged[0] + 20
    tab.driver.execute_script("document.body.dataset.old = '1'; location.reload()")
    until(tab.is_new, what="the reload")
    assert tab.driver.execute_script(wide)[0] == dragged[0] + 20
    assert tab.wider() <= 0


def test_the_table_sorts_copies_and_brings_a_run_to_the_front(tab):
    tab.driver.execute_script("document.querySelectorAll('#table th button')[2].click()")
    steps = [int(row[2]) for row in tab.rows()]
    assert steps == sorted(steps)
    tab.driver.execute_script("document.querySelectorAll('#table th button')[2].click()")
    assert [int(row[2]) for row in tab.rows()] == sorted(steps, reverse=True)
    tab.driver.execute_script("document.querySelector('#table tbody tr').click()")
    until(lambda: 0.15 in tab.plot("data.map(t => t.opacity ?? 1)"), what="pale others")
    front = tab.plot("new Set(data.filter(t => t.opacity === 1).map(t => t.legendgroup)).size")
    assert front == 1
    tab.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    tab.driver.find_element(By.CSS_SELECTOR, "#copy").click()
    until(lambda: tab.texts("#copy") == ["copied"], what="the copy")
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, error => done(String(error)))"
    lines = tab.driver.execute_async_script(read).split("\n")
    assert lines[0].split("\t") == ["run", "event", "step", "epoch", "LR", "by", "why"]
    assert len(lines) == 1 + len(steps)


def test_the_hover_of_the_last_event_stays_on_the_page(tab):
    tab.only(NAMES[0])
    tab.driver.execute_script(
        "const p = document.querySelector('#plot'); p.scrollIntoView({block: 'center'});"
        "const at = p.data.findIndex(t => t.name === 'events');"
        "Plotly.Fx.hover(p, [{curveNumber: at, pointNumber: 1}], 'xy2')"
    )
    until(lambda: "PlateauDecay" in " ".join(tab.texts("#plot .hoverlayer text")), what="the hover label")
    left, top, right, bottom = tab.driver.execute_script(
        "const a = document.querySelector('#plot .hoverlayer .hovertext').getBoundingClientRect(),"
        " b = document.querySelector('#plot').getBoundingClientRect();"
        " return [a.left - b.left, a.top - b.top, b.right - a.right, b.bottom - a.bottom]"
    )
    assert min(left, top, right, bottom) > -2


def test_nothing_is_wider_than_the_page_nor_on_top_of_another_and_no_logo_is_there(tab, look):
    width, dark = look
    for view in ("range_test", "training", "search"):
        tab.view(view)
        assert tab.wider() <= 0
        inside = "const m = document.querySelector('main'); return m.scrollWidth - m.clientWidth"
        assert tab.driver.execute_script(inside) <= 0, "the table scrolls by itself"
        assert tab.overlaps("[class$=tick] text") == []
        assert tab.plot("layout.paper_bgcolor") == ("#303030" if dark else "#ffffff")
        buttons = tab.driver.execute_script(
            "return [...document.querySelectorAll('#plot .modebar-btn')].map(x => x.dataset.title)"
        )
        assert buttons
        assert not [title for title in buttons if "plotly" in title.lower() or "cloud" in title.lower()]
        tab.shoot(f"{view}_{width}_{'dark' if dark else 'light'}")
    page = "return getComputedStyle(document.body).backgroundColor"
    assert tab.driver.execute_script(page) == ("rgb(48, 48, 48)" if dark else "rgb(255, 255, 255)")
    assert tab.severe() == []


def test_none_chosen_says_so(tab):
    tab.act("document.querySelectorAll('.links button')[1].click()")
    assert "No run is chosen" in " ".join(tab.texts("#plot .annotation-text"))


def test_the_first_lines_do_not_wait_for_plotly(tab):
    """With the library kept away, the page still has the lines, in their places, and says what is missing."""
    tab.driver.execute_cdp_cmd("Network.enable", {})
    tab.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    tab.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*plotly.min.js"]})
    try:
        tab.again("training")
        assert tab.texts("#status") == ["The tab cannot start: ./plotly.min.js is missing."]
        inked = (
            "const c = document.querySelector('#sketch'), pen = c.getContext('2d');"
            "const row = from => pen.getImageData(0, from * c.height, c.width, c.height / 3).data;"
            "return [0.05, 0.5].map(from => row(from).filter((value, at) => at % 4 === 3 && value > 0).length)"
        )
        assert min(tab.driver.execute_script(inked)) > 500, "lines in both panels"
    finally:
        tab.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    tab.again("training")
    assert tab.texts("#sketch") == []
    tab.severe()  # reads away the error that was made
