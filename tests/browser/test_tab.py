"""The "Learning rate" tab in real TensorBoard and real Chromium, with both data loaders."""

import math
import re

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from lr_lightning.reporting.range_test_writer import RangeTestWriter
from tests.helpers import logs
from tests.helpers.browser import status, tensorboard, until

ROUTE = "data/plugin/lr_lightning"


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    for name, shift in (("mlp", 0.0), ("cnn", 0.4), (logs.HOSTILE, 0.8)):
        logger, found = logs.write_range_test(folder, name, shift)
        logs.write_training(logger, found.suggestion, reason=f"no downward trend {logs.HOSTILE}")
    logs.write_search(folder / "search")
    return folder


@pytest.fixture(scope="module", params=["true", "false"])
def board(request, logdir):
    with tensorboard(logdir, f"--load_fast={request.param}") as url:
        yield url, request.param


@pytest.fixture
def tab(browser):
    browser.size(1500, 1000)
    return browser


def test_three_views(board, tab):
    url, loader = board
    tab.open(url)
    assert [row[0] for row in tab.rows()] == [logs.HOSTILE, "cnn", "mlp"]
    tab.shoot(f"range_test_runs_{loader}")

    tab.only("mlp")
    words = " ".join(tab.texts("#plot .legendtext"))
    for zone in ("too low: flat", "descending", "too high: diverging", "interval", "what the rule reads"):
        assert zone in words
    suggestion = float(tab.rows()[0][0])
    assert f"LR {suggestion:.3g}" in " ".join(tab.texts("#plot .annotation-text"))
    plot = tab.driver.find_element(By.CSS_SELECTOR, "#plot .nsewdrag")
    ActionChains(tab.driver).move_to_element(plot).perform()
    hover = until(lambda: " ".join(tab.texts("#plot .hoverlayer text")), what="the hover label")
    middle = float(re.search(r"LR ([\d.e+−-]+)", hover)[1].replace("−", "-"))
    assert middle == pytest.approx(math.sqrt(logs.LOW * logs.HIGH), rel=0.3), "the axis is not logarithmic"
    traces = len(tab.driver.find_elements(By.CSS_SELECTOR, "#plot .scatterlayer .trace"))
    tab.driver.execute_script("document.querySelector('#plot').scrollIntoView()")
    tab.driver.find_element(By.CSS_SELECTOR, "#plot .legendtoggle").click()
    until(
        lambda: len(tab.driver.find_elements(By.CSS_SELECTOR, "#plot .scatterlayer .trace")) == traces - 1,
        what="the legend's toggling",
    )
    tab.act("document.querySelector('#peers').click()")
    assert any("torch_lr_finder" in name for name in tab.texts("#plot .legendtext"))
    assert not any(name.startswith(("share", "midpoint", "steepest")) for name in tab.texts("#plot .legendtext"))
    tab.shoot(f"range_test_{loader}")

    tab.view("training")
    assert [(row[0], row[1]) for row in tab.rows()] == [("decay", "667"), ("decay", "1334")]
    assert logs.HOSTILE in tab.rows()[0][5]
    tab.act("document.querySelector('.links button').click()")
    assert len(tab.rows()) == 6
    tab.act("const x = document.querySelector('#x'); x.value = 'epoch'; x.onchange()")
    assert "epoch (from 0)" in tab.texts("#plot .xtitle")
    tab.shoot(f"training_{loader}")

    tab.view("search")
    assert len(tab.rows()) == 24
    assert any("best of the tried" in row[4] for row in tab.rows())
    assert {"diverged", "crashed"} <= set(tab.texts("#plot .legendtext"))
    tab.shoot(f"search_{loader}")

    assert tab.driver.execute_script("return window.hacked || window.parent.hacked") is None
    assert tab.severe() == []


def test_live_range_test_then_a_board_that_is_gone(tab, tmp_path):
    logger, found = logs.board(tmp_path, "live"), logs.result()
    writer = RangeTestWriter(logs.rank_zero(logger), 0, html=False, image=False)
    writer.start({"rule": found.rule, "min_lr": logs.LOW, "max_lr": logs.HIGH})
    with tensorboard(tmp_path, "--path_prefix=/some/prefix") as url:
        assert url.endswith("/some/prefix")
        tab.open(url)
        writer.points(0, found.lrs[:40], found.losses[:40], found.smoothed[:40])
        until(lambda: [row[3:5] for row in tab.rows()] == [["40", "running"]], what="the live test")
        assert "live" in tab.texts("#status")[0]
        low, high = tab.driver.execute_script("return document.querySelector('#plot').layout.xaxis.range")
        assert low < math.log10(logs.LOW) < math.log10(logs.HIGH) < high, "the whole ladder is in view from the start"
        tab.shoot("range_test_live")
        writer.finish(found)
        until(lambda: [row[3:5] for row in tab.rows()] == [[str(len(found.lrs)), "ok"]], what="the finished test")
        tab.view("search")
        assert tab.texts("#empty h1") == ["No search in these runs"]
        tab.shoot("empty")
        assert tab.severe() == []
    tab.view("range_test")
    assert tab.texts("#status") == ["TensorBoard does not answer. Is it still running?"]
    tab.shoot("error")


def test_routes_answer_get_only_and_name_no_path(board):
    url, _ = board
    for route in ("overview", "view?view=search", "index.js", "style.css", "plotly.min.js"):
        assert status(f"{url}/{ROUTE}/{route}") == 200
        for method in ("POST", "PUT", "DELETE") if "view" not in route else ("PUT", "DELETE"):
            assert status(f"{url}/{ROUTE}/{route}", method) == 405
    assert status(f"{url}/{ROUTE}/view?view=../../etc/passwd") == 400
    for path in ("../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "static/index.js", "plugin.py"):
        assert status(f"{url}/{ROUTE}/{path}") == 404
    outside = f"{url}/{ROUTE}/view?view=range_test&run=../outside&run=/etc"
    assert status(outside) == 200
