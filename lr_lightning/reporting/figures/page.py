"""A figure as a page of its own: it fills the window, says what was found, and needs no network."""

import html
from typing import Any

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
html, body {{ height: 100%; margin: 0; }}
body {{ color: #3c4043; display: flex; flex-direction: column;
  font: 14px/1.5 Roboto, "Helvetica Neue", Arial, sans-serif; }}
header {{ padding: 16px 24px 4px; }}
h1 {{ font-size: 20px; font-weight: 500; margin: 0; }}
p {{ margin: 4px 0 0; max-width: 110ch; overflow-wrap: anywhere; }}
main {{ flex: 1; min-height: 380px; padding: 0 8px; }}
main > div {{ height: 100% !important; }}
</style></head><body><header><h1>{title}</h1><p>{text}</p></header>
<main>{plot}</main></body></html>
"""


def page(figure: Any, title: str, text: str = "") -> str:
    """The page as HTML, about 5 MB: it carries plotly.js.

    Args:
        figure: A ``plotly.graph_objects.Figure``.
        title: What was found.
        text: Why, or what the picture shows.
    """
    from plotly.io import to_html

    from lr_lightning.reporting.figures import CONFIG

    figure.update_layout(height=None, autosize=True)
    options = {"full_html": False, "include_plotlyjs": True, "config": CONFIG, "default_height": "100%"}
    plot = to_html(figure, **options)
    return _PAGE.format(title=html.escape(title), text=html.escape(text), plot=plot)


def range_test_page(result: Any) -> str:
    """A range test's page.

    Args:
        result: A ``RangeTestResult``.
    """
    from lr_lightning.reporting.figures import range_test_figure, style

    found = f"LR {style.number(result.suggestion)}" if result.suggestion is not None else "No suggestion"
    inside = f" (interval {style.span(result.interval)})" if result.interval else ""
    return page(range_test_figure(result), f"LR range test: {found}{inside}", result.reason)
