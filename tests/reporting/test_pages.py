"""Pages and static pictures: they say what was found, and show it without a network or another package."""

import math
import re
import xml.etree.ElementTree as xml

from lr_lightning.reporting.figures.page import range_test_page
from lr_lightning.reporting.figures.static_svg import range_test_svg
from lr_lightning.rules.range_test.analyze import analyze
from tests.helpers import logs

FLAT = analyze(logs.LRS.tolist(), [2.3 + 0.01 * math.sin(7 * i) for i in range(100)])


def test_a_page_fills_the_window_and_says_what_was_found():
    found = logs.result()
    text = range_test_page(found)
    assert f"<h1>LR range test: LR {found.suggestion:.3g} (interval" in text
    assert f"<p>{found.reason}</p>" in text
    assert "min-height: 380px" in text
    assert '"height":' not in text.partition("Plotly.newPlot")[2], "no height of its own"
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']?(?:http|//)", text)
    assert "<h1>LR range test: No suggestion</h1>" in range_test_page(FLAT)


def test_the_static_picture_has_the_curves_the_zones_and_the_suggestion():
    found = logs.result()
    root = xml.fromstring(range_test_svg(found))
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert f"LR {found.suggestion:.3g}" in words
    assert {"1e-3", "1e-2", "learning rate (log)", "descending"} <= set(words)
    lines = [node for node in root.iter("{http://www.w3.org/2000/svg}path") if node.get("stroke-width")]
    assert len(lines) == 3, "the losses, smoothed lightly, and what the rule reads"


def test_a_static_picture_without_an_answer_says_why():
    root = xml.fromstring(range_test_svg(FLAT))
    words = " ".join(node.text for node in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "No suggestion." in words
    assert FLAT.reason[:40] in words
