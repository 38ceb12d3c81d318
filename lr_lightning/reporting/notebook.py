"""How a range test's result shows itself in a notebook: a picture with a headline, a short table, plain text."""

import html
import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from lr_lightning.reporting.figures import CONFIG


def mimebundle(result: Any) -> dict[str, Any]:
    """Everything that a front end may choose from.

    The interactive picture comes as plotly's own data, which the front end draws, so no other package is asked. A front
    end that can't, and a notebook exported as a page, has a static picture above the table.

    Args:
        result: A ``RangeTestResult``.

    Returns:
        Data by MIME type: always ``text/plain`` and ``text/html``, and plotly's own where it is installed.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> sorted(mimebundle(analyze([1e-3, 1e-2], [1.0, 0.9])))[-2:]
    ['text/html', 'text/plain']
    """
    from lr_lightning.reporting.figures.static_svg import range_test_svg

    rows = table(result)
    picture = range_test_svg(result) if result.lrs else ""
    bundle: dict[str, Any] = {"text/plain": as_text(rows), "text/html": picture + as_html(rows)}
    if result.lrs and find_spec("plotly") is not None:
        bundle["application/vnd.plotly.v1+json"] = {**json.loads(headed(result).to_json()), "config": CONFIG}
    return bundle


def table(result: Any) -> list[tuple[str, str]]:
    """What the test found, one fact a row.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> table(analyze([1e-3, 1e-2], [1.0, 0.9]))[0]
    ('suggested LR', 'none')
    """
    rows = [("suggested LR", "none" if result.suggestion is None else f"{result.suggestion:.4g}")]
    if result.interval:
        rows.append(("interval", span(result.interval)))
    rows += [("status", result.status), ("why", result.reason)]
    zones = ((name, getattr(result.zones, name)) for name in ("flat", "descending", "diverging"))
    rows += [(f"{name} zone", span(bounds)) for name, bounds in zones if bounds]
    return [*rows, ("rule", result.rule), ("steps", f"{result.coverage.visited} of {result.coverage.planned}")]


def headed(result: Any) -> Any:
    """The figure with the answer above it, for front ends that show nothing else.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> headed(analyze([1e-3, 1e-2], [1.0, 0.9])).layout.title.text
    'LR none: too_few_points'
    """
    figure = result.figure()
    found = dict(table(result))
    text = f"LR {found['suggested LR']}" + (f" ({found['interval']})" if "interval" in found else "")
    reason = html.escape(result.reason if len(result.reason) < 140 else f"{result.reason[:139]}…")
    figure.update_layout(
        title={"text": f"{text}: {result.status}", "subtitle": {"text": reason}, "x": 0.01, "xanchor": "left"},
        margin={"t": 90},
    )
    return figure


def span(bounds: Sequence[float]) -> str:
    """Bounds as text.

    >>> span((0.001, 0.25))
    '0.001 to 0.25'
    """
    return f"{bounds[0]:.2g} to {bounds[1]:.2g}"


def as_text(rows: Sequence[tuple[str, str]]) -> str:
    """Rows, aligned.

    >>> print(as_text([("rule", "share"), ("steps", "40 of 100")]))
    rule   share
    steps  40 of 100
    """
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def as_html(rows: Sequence[tuple[str, str]]) -> str:
    """Rows as an HTML table; a reason may quote anything, so it is escaped.

    >>> as_html([("rule", "share")])[:19]
    '<table><tr><th styl'
    """
    left = 'style="text-align:left"'
    cells = "".join(
        f"<tr><th {left}>{html.escape(name)}</th><td {left}>{html.escape(value)}</td></tr>" for name, value in rows
    )
    return f"<table>{cells}</table>"
