"""One look for all figures: colours, layout, and text that can't be taken for markup."""

import html
import math
from collections.abc import Sequence
from typing import Any

# Okabe & Ito (2008), distinguishable with colour-vision deficiency; the yellow is left out: too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F6FC8", "#8C6D46")
ROUND_COLORS = ("#9BB8D3", "#E69F00", "#D55E00", "#B0338C", "#5B2A86", "#009E73", "#56B4E9")
ZONES = {
    "flat": ("too low: flat", "rgba(128,134,139,0.13)"),
    "descending": ("descending", "rgba(0,158,115,0.14)"),
    "diverging": ("too high: diverging", "rgba(213,94,0,0.13)"),
}
ZONE_INK = {"flat": "rgba(128,134,139,0.35)", "descending": "rgba(0,158,115,0.4)", "diverging": "rgba(213,94,0,0.35)"}
FONT = "Roboto, 'Helvetica Neue', Arial, sans-serif"


def color(index: int) -> str:
    """The colour of the ``index``-th run."""
    return COLORS[index % len(COLORS)]


def faded(hex_color: str, alpha: float) -> str:
    """``hex_color`` with an alpha."""
    red, green, blue = (int(hex_color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def literal(text: Any) -> str:
    """``text`` so that plotly shows it as it is: plotly takes some HTML tags, links among them, in any label."""
    return html.escape(str(text), quote=False)


def short(text: Any, width: int = 40) -> str:
    """``text`` cut in the middle, for legends."""
    full = str(text)
    if len(full) <= width:
        return full
    half = (width - 1) // 2
    return f"{full[:half]}…{full[-half:]}"


def wrapped(text: Any, width: int = 60) -> str:
    """``text``, literal, broken into lines for hover labels."""
    words, lines = str(text).split(), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(literal(line) for line in lines)


def number(value: float | None) -> str:
    """A number in three digits; a dash for none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3g}"


def layout(*, dark: bool, height: int | None = None, **more: Any) -> dict[str, Any]:
    """Layout that all figures share."""
    ink, paper = ("#e8eaed", "#303030") if dark else ("#3c4043", "#ffffff")
    return {
        "font": {"family": FONT, "size": 13, "color": ink},
        "paper_bgcolor": paper,
        "plot_bgcolor": paper,
        "colorway": list(COLORS),
        "margin": {"l": 64, "r": 24, "t": 48, "b": 56},
        "hoverlabel": {"align": "left", "font": {"size": 12}},
        "legend": {"orientation": "v", "x": 1.01, "y": 1, "font": {"size": 12}},
        "height": height,
        "template": "none",
        **more,
    }


def axis(dark: bool, *, title: str | None = None, **more: Any) -> dict[str, Any]:
    """An axis with a quiet grid."""
    if title is not None:
        more["title"] = {"text": title, "standoff": 10}
    grid = "rgba(255,255,255,0.12)" if dark else "rgba(0,0,0,0.08)"
    line = "rgba(255,255,255,0.35)" if dark else "rgba(0,0,0,0.3)"
    return {
        "gridcolor": grid,
        "zeroline": False,
        "linecolor": line,
        "ticks": "outside",
        "tickcolor": line,
        "tickfont": {"size": 12},
        **more,
    }


def log_axis(dark: bool, **more: Any) -> dict[str, Any]:
    """A log axis with labels such as 10⁻³."""
    return axis(dark, type="log", exponentformat="power", dtick=1, **more)


def decades(values: Sequence[float], pad: float = 0.03) -> list[float] | None:
    """Range of a log axis, in powers of ten, around the positive ``values``; None without any."""
    logs = [math.log10(value) for value in values if value is not None and math.isfinite(value) and value > 0]
    if not logs:
        return None
    low, high = min(logs), max(logs)
    margin = max((high - low) * pad, 0.05)
    return [low - margin, high + margin]


def rows_or_note(figure: Any, note: str, dark: bool) -> Any:
    """``figure`` with ``note`` in its middle: an empty plot says why it is empty."""
    figure.update_layout(**layout(dark=dark, height=320))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(
        text=literal(note), showarrow=False, font={"size": 16}, x=0.5, y=0.5, xref="paper", yref="paper"
    )
    return figure
