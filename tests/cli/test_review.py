"""`lr-lightning review`."""

import json
import re
import subprocess
import sys
import urllib.request

import pytest

from lr_lightning.cli import review
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
