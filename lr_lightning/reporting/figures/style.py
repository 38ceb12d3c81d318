"""One look for all figures: colours, layout, and text that can't be taken for markup.

A figure is drawn as plain data (``data`` and ``layout`` of plotly's JSON): the tab sends it as it is, and notebooks and
pages wrap it into a ``plotly.graph_objects.Figure``, which costs a millisecond a trace.
"""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

Spec: TypeAlias = dict[str, Any]

# The first eight after Okabe & Ito (2008), who chose them for colour-vision deficiency, the pale ones darkened to a
# contrast of 3 on white; twenty in all, so that twenty runs have colours of their own.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#C2528B", "#2C9FD6", "#C98A00", "#7F6FC8", "#8C6D46", "#B2182B", "#1B7837",
    "#4B2E83", "#00868B", "#E7298A", "#5C9A1A", "#3F51B5", "#A3501B", "#6B7A8F", "#F4675C", "#00A896", "#9C27B0",
)  # fmt: skip
ROUND_COLORS = ("#9BB8D3", "#E69F00", "#D55E00", "#B0338C", "#5B2A86", "#009E73", "#56B4E9")
ZONES = {
    "flat": ("too low: flat", "#80868B"),
    "descending": ("descending", "#009E73"),
    "diverging": ("too high: diverging", "#D55E00"),
}
"""What a zone is called and its colour; see :func:`tint`."""
FONT = "Roboto, 'Helvetica Neue', Arial, sans-serif"
_FURTHEST = 300.0
HOVER_WIDTH = 42
"""Characters of a line in a hover label: about 280 px, which find room on one side of any point of a narrow plot."""


def color(index: int, dark: bool = False) -> str:
    """The ``index``-th colour of the palette, lighter on a dark page."""
    chosen = COLORS[index % len(COLORS)]
    return lighter(chosen) if dark else chosen


def lighter(hex_color: str, share: float = 0.38) -> str:
    """``hex_color`` mixed with white.

    >>> lighter("#000000", 0.5)
    '#808080'
    """
    parts = (int(hex_color[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02X}" for part in parts)


def faded(hex_color: str, alpha: float) -> str:
    """``hex_color`` with an alpha."""
    red, green, blue = (int(hex_color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:.2g})"


def tint(zone: str, dark: bool = False, bold: bool = False) -> str:
    """A zone's colour behind a curve, twice as strong on a dark page; ``bold``: where it stands for itself."""
    return faded(ZONES[zone][1], 0.38 if bold else 0.27 if dark else 0.13)


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


def wrapped(text: Any, width: int = HOVER_WIDTH, lines: int = 8) -> str:
    """``text``, literal, broken into lines for labels; what is beyond ``lines`` of them is left out."""
    words = [word[at : at + width] for word in str(text).split() for at in range(0, len(word), width)]
    found = [""]
    for word in words:
        if found[-1] and len(found[-1]) + 1 + len(word) > width:
            found.append("")
        found[-1] = f"{found[-1]} {word}".strip()
    if len(found) > lines:
        found = [*found[:lines], "…"]
    return "<br>".join(literal(line) for line in found)


def number(value: float | None) -> str:
    """A number in three digits; a dash for none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3g}"


def span(bounds: Sequence[float] | None) -> str:
    """Two bounds; a dash for none."""
    return "–" if not bounds else f"{number(bounds[0])} … {number(bounds[1])}"


def paper(dark: bool) -> str:
    """The page's colour."""
    return "#303030" if dark else "#ffffff"


def ink(dark: bool) -> str:
    """The text's colour."""
    return "#e8eaed" if dark else "#3c4043"


def layout(*, dark: bool, height: int | None = None, **more: Any) -> Spec:
    """Layout that all figures share."""
    return {
        "font": {"family": FONT, "size": 13, "color": ink(dark)},
        "paper_bgcolor": paper(dark),
        "plot_bgcolor": paper(dark),
        "colorway": [color(index, dark) for index in range(len(COLORS))],
        "margin": {"l": 64, "r": 24, "t": 34, "b": 52},
        "hoverlabel": {"align": "left", "font": {"size": 12, "family": FONT}, "namelength": 60},
        # Below the axis' title, where it covers neither the buttons nor the curves.
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": legend_place(height or 450),
            "yanchor": "top",
            "font": {"size": 12},
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#9aa0a6", "activecolor": ink(dark), "orientation": "h"},
        **({} if height is None else {"height": height}),
        **more,
    }


def legend_place(height: int) -> float:
    """Where the legend begins, in heights of the plot: 58 pixels below it, of a figure so high."""
    return -58 / max(height - 150, 100)


def axis(dark: bool, *, title: str | None = None, **more: Any) -> Spec:
    """An axis with a quiet grid."""
    if title is not None:
        more["title"] = {"text": title, "standoff": 8, "font": {"size": 13}}
    grid = "rgba(255,255,255,0.12)" if dark else "rgba(0,0,0,0.08)"
    line = "rgba(255,255,255,0.35)" if dark else "rgba(0,0,0,0.3)"
    return {
        "gridcolor": grid,
        "zeroline": False,
        "linecolor": line,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": line,
        "tickfont": {"size": 12},
        **more,
    }


def log_axis(dark: bool, **more: Any) -> Spec:
    """A log axis; give its ``range`` where it is known."""
    return axis(dark, **{"type": "log", **log_ticks(more.get("range")), **more})


def log_ticks(bounds: Sequence[float] | None, most: int = 9) -> Spec:
    """Labels of a log axis that never touch and are whole numbers each: 0.002, 0.005 … over short ranges, else 10⁻³.

    >>> log_ticks([-2.5, -0.9])["ticktext"]
    ['0.005', '0.01', '0.02', '0.05', '0.1']
    >>> log_ticks([-7, 1])["dtick"], log_ticks([0, 30])["dtick"]
    (1, 4)
    """
    low, high = sorted(min(max(end, -_FURTHEST), _FURTHEST) for end in bounds) if bounds else (-7.0, 1.0)
    if high - low > 2.2:  # plotly.js draws the labels of powers a quarter larger than asked for
        step = max(1, math.ceil((high - low) / most))
        return {"exponentformat": "power", "dtick": step, "tickfont": {"size": 9.6}}
    decades = range(math.floor(low), math.ceil(high) + 1)
    values = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
    inside = [value for value in values if power_of_ten(low) <= value <= power_of_ten(high)]
    if len(inside) < 2:
        return {"nticks": 6}  # less than a factor of five: plotly's own labels
    return {"tickmode": "array", "tickvals": inside, "ticktext": [f"{value:.3g}" for value in inside]}


def power_of_ten(exponent: float) -> float:
    """Ten to the ``exponent``, within what a float holds."""
    return float(10.0 ** min(max(exponent, -_FURTHEST), _FURTHEST))


def decades(values: Iterable[Any], pad: float = 0.03) -> list[float] | None:
    """Range of a log axis, in powers of ten, around the positive ``values``; None without any."""
    given = np.asarray([value for value in values if value is not None], dtype=float)
    given = given[np.isfinite(given) & (given > 0)]
    if not len(given):
        return None
    low, high = math.log10(given.min()), math.log10(given.max())
    margin = max((high - low) * pad, 0.05)
    return [low - margin, high + margin]


def note(figure: Spec, text: str, **more: Any) -> None:
    """Put a text on the figure, in the coordinates of its paper unless said otherwise."""
    shared = {"text": text, "showarrow": False, "xref": "paper", "yref": "paper", "font": {"size": 12}}
    figure["layout"].setdefault("annotations", []).append({**shared, **more})


def empty(text: str, dark: bool) -> Spec:
    """A figure with ``text`` in its middle: an empty plot says why it is empty."""
    blank = {"visible": False}
    figure: Spec = {"data": [], "layout": {**layout(dark=dark, height=320), "xaxis": blank, "yaxis": dict(blank)}}
    note(figure, wrapped(text, 60), x=0.5, y=0.5, font={"size": 16})
    return figure


def scatter(x: Any, y: Any, **more: Any) -> Spec:
    """A scatter trace; numbers are kept as arrays, which go to the page as bytes."""
    return {"type": "scatter", "x": x, "y": y, **more}
