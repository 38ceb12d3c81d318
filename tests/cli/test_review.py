"""`lr-lightning review`."""

import base64
import json
import re
import subprocess
import sys
import time
import urllib.request

import fsspec
import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from lr_lightning.cli import review
from lr_lightning.reporting import events
from tests.helpers import logs


def test_one_page_with_everything_and_nothing_from_outside(tmp_path):
    logger, found = logs.write_range_test(tmp_path / "logs", logs.HOSTILE)
    logs.write_training(logger, reason="<img src=x onerror=alert(1)>")
    logs.write_search(tmp_path / "logs/search")
    path = tmp_path / "out.html"
    assert review.review_command([str(tmp_path / "logs"), "--export", str(path)]) == 0
    page = path.read_text()
    assert [title for title in ("Range test", "Training", "Search: search") if f"<h2>{title}</h2>" in page] == [
        "Range test", "Training", "Search: search",
    ]  # fmt: skip
    assert f"{found.suggestion:.3g}" in page
    assert page.count("Plotly.newPlot(") >= 3
    assert "<script>window.hacked" not in page
    assert "<img src=x" not in page
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']?(?:http|//)", page)


def test_an_empty_log_directory_is_an_error_in_words(tmp_path, capsys):
    assert review.review_command([str(tmp_path), "--export", str(tmp_path / "page.html")]) == 2
    assert "nothing to show: no range test, learning rate or search" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_an_error_in_words(tmp_path, capsys):
    assert review.review_command([str(tmp_path / "nope")]) == 2
    assert "no directory" in capsys.readouterr().err


@pytest.fixture
def bucket(tmp_path):
    """Logs on another filesystem, with a resumed run whose logger has a prefix, written by two processes."""
    files = fsspec.filesystem("memory")
    for life, lr in enumerate((0.5, 0.25)):
        logger = TensorBoardLogger(str(tmp_path), name="", version="run", prefix="exp", default_hp_metric=False)
        for step in range(500 * life, 1000 + 500 * life, 10):
            logger.log_metrics({"lr-SGD": lr, "train_loss": 1.0, "epoch": step // 100}, step)
            if step == 900 + 500 * life:
                event = events.LREvent("decay", step, step // 100, lr, lr / 2, f"life {life}")
                events.write_event(logs.rank_zero(logger), event)
        logger.finalize("success")
        time.sleep(1.1)  # TensorBoard takes a run's files in the order of the second in their names
    files.put(str(tmp_path / "run"), "/bucket/logs/run", recursive=True)
    yield "memory://bucket/logs"
    files.rm("/bucket", recursive=True)


@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")  # of a package that TensorBoard brings along
def test_a_resumed_run_with_a_prefix_on_another_filesystem(bucket, tmp_path):
    url = review.review(bucket, open_browser=False, block=False)
    deadline = time.monotonic() + 20
    while True:
        route = url.split("#")[0] + "data/plugin/lr_lightning/view?view=training&metric=exp-train_loss"
        with urllib.request.urlopen(route, timeout=20) as answer:
            shown = json.load(answer)
        if shown["rest"]["table"]["rows"] or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    (lr,) = (trace for trace in shown["figure"]["data"] if trace.get("meta") == "exp-lr-SGD")
    steps = np.frombuffer(base64.b64decode(lr["x"]["bdata"]), lr["x"]["dtype"])
    values = np.frombuffer(base64.b64decode(lr["y"]["bdata"]), lr["y"]["dtype"])
    assert steps.tolist() == list(range(0, 1500, 10))
    assert values.tolist() == [0.5] * 50 + [0.25] * 100
    assert [row["cells"][-1] for row in shown["rest"]["table"]["rows"]] == ["life 1"], "life 0 ended before 900"

    page = tmp_path / "out.html"
    assert review.review_command([bucket, "--export", str(page)]) == 0
    text = page.read_text()
    assert "Learning rates: logs" in text
    assert "life 1" in text
    assert "life 0" not in text


@pytest.mark.parametrize(
    ("url", "words"),
    [("memory://bucket/nothing", "no directory 'memory://bucket/nothing'"), ("nope://x", "can't read 'nope://x' here")],
)
def test_a_url_that_cannot_be_read_is_an_error_in_words(url, words, tmp_path, capsys):
    assert review.review_command([url, "--export", str(tmp_path / "page.html")]) == 2
    assert words in capsys.readouterr().err


def test_the_command_serves_on_loopback_until_it_is_stopped(tmp_path):
    logs.write_range_test(tmp_path, "a")
    code = f"from lr_lightning.cli.review import review_command; review_command([{str(tmp_path)!r}, '--no-browser'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#lr_lightning", url)
            with urllib.request.urlopen(f"{url.split('#')[0]}data/plugin/lr_lightning/overview", timeout=20) as answer:
                assert json.load(answer)["runs"][0]["name"] == "a"
        finally:
            process.terminate()


@pytest.mark.parametrize("flag", ["--help"])
def test_help(flag, capsys):
    with pytest.raises(SystemExit):
        review.review_command([flag])
    assert "--export" in capsys.readouterr().out


def test_the_page_names_its_runs_and_links_that_lead_back_end(tmp_path):
    for name in ("first", "second"):
        logs.write_training(logs.board(tmp_path / "logs", name))
    (tmp_path / "logs/first/up").symlink_to("..")
    (tmp_path / "logs/second/up").symlink_to("..")
    page = review.page(tmp_path / "logs")
    listed = re.search(r'<ul class="runs">(.*?)</ul>', page)[1]
    assert re.findall(r"</span>(.*?)</li>", listed) == ["first", "second"]
    assert "up" not in re.findall(r"<td>.*?</span>(.*?)</td>", page)
