"""A range test as an inline SVG: the picture that stays in a notebook's static export, without any other package."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures.range_test import draw, loss_range, record

WIDTH, HEIGHT = 760, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 56


def range_test_svg(result: Any) -> str:
    """The picture as SVG: losses, the curve that the eye follows, zones, suggestion and interval.

    Args:
        result: A ``RangeTestResult``.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> range_test_svg(analyze([1e-3, 1e-2], [1.0, 0.9]))[:4]
    '<svg'
    """
    run = record(result)
    spec = draw(run, {"peers": False, "dark": False}, {})
    bounds = spec["layout"]["xaxis"].get("range") or [-8.0, 1.0]
    place = _Place(bounds, loss_range([run]) or [0.0, 1.0])
    color = style.COLORS[0]
    parts = [_zone(place, zone, run["zones"].get(zone)) for zone in style.ZONES]
    parts += [*_grid(place)]
    lines = [trace for trace in spec["data"] if "lines" in trace.get("mode", "")]
    parts += [_line(place, trace, dashed="dash" in trace.get("line", {})) for trace in lines]
    if run["interval"]:
        x0, x1 = place.x(run["interval"][0]), place.x(run["interval"][1])
        parts.append(f'<rect x="{x0:.1f}" y="{place.bottom - 7:.1f}" width="{x1 - x0:.1f}" height="6" fill="{color}"/>')
    if run["suggestion"]:
        x = place.x(run["suggestion"])
        parts.append(f'<path d="M{x:.1f} {_TOP}V{place.bottom}" stroke="{color}" stroke-dasharray="6 4" fill="none"/>')
        parts.append(_text(x + 5, _TOP + 16, f"LR {style.number(run['suggestion'])}", color, bold=True))
    else:
        parts.append(_text(_LEFT + 8, _TOP + 16, f"No suggestion. {style.short(run['reason'], 90)}", "#3c4043"))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width:{WIDTH}px;width:100%;background:#fff"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} font-family="sans-serif">{"".join(parts)}</svg>'


class _Place:
    """From LRs and losses to pixels."""

    def __init__(self, decades: Sequence[float], losses: Sequence[float]) -> None:
        self.decades, self.losses = decades, losses
        self.bottom, self.right = HEIGHT - _BOTTOM, WIDTH - _RIGHT

    def x(self, lr: float) -> float:
        low, high = self.decades
        share = (math.log10(lr) - low) / (high - low)
        return min(max(_LEFT + share * (self.right - _LEFT), _LEFT), self.right)

    def y(self, loss: float) -> float:
        low, high = self.losses
        share = (loss - low) / (high - low)
        return min(max(self.bottom - share * (self.bottom - _TOP), _TOP), self.bottom)


def _zone(place: _Place, zone: str, bounds: Sequence[float] | None) -> str:
    if not bounds:
        return ""
    x0, x1 = place.x(bounds[0]), place.x(bounds[1])
    title, fill = style.ZONES[zone][0], style.tint(zone)
    box = f'<rect x="{x0:.1f}" y="{_TOP}" width="{x1 - x0:.1f}" height="{place.bottom - _TOP}" fill="{fill}"/>'
    room = x1 - x0 > 7 * len(title)
    return box + (_text(x0 + 4, place.bottom - 12, title, "#5f6368") if room else "")


def _grid(place: _Place) -> list[str]:
    """Axes with their numbers: decades below, five losses at the left."""
    low, high = place.decades
    every = max(1, math.ceil((high - low) / 9))
    parts = [f'<path d="M{_LEFT} {_TOP}V{place.bottom}H{place.right}" stroke="#9aa0a6" fill="none"/>']
    for power in range(math.ceil(low), math.floor(high) + 1, every):
        x = place.x(10.0**power)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{place.bottom}" stroke="#000" stroke-opacity=".08"/>')
        parts.append(_text(x, place.bottom + 18, f"1e{power}", "#3c4043", anchor="middle"))
    for loss in np.linspace(place.losses[0], place.losses[1], 6)[1:-1].tolist():
        parts.append(_text(_LEFT - 6, place.y(loss) + 4, f"{loss:.3g}", "#3c4043", anchor="end"))
    parts.append(_text((_LEFT + place.right) / 2, HEIGHT - 14, "learning rate (log)", "#3c4043", anchor="middle"))
    return [*parts, _text(_LEFT, _TOP - 4, "training loss", "#3c4043")]


def _line(place: _Place, trace: Mapping[str, Any], dashed: bool) -> str:
    """A curve, lifted off where a value is missing or outside."""
    path, down = [], False
    low, high = place.losses
    for lr, loss in zip(np.asarray(trace["x"], dtype=float), np.asarray(trace["y"], dtype=float), strict=True):
        inside = math.isfinite(loss) and low <= loss <= high and lr > 0
        if inside:
            path.append(f"{'L' if down else 'M'}{place.x(lr):.1f} {place.y(loss):.1f}")
        down = inside
    line = trace.get("line", {})
    more = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{"".join(path)}" fill="none" stroke="{line["color"]}" stroke-width="{line["width"]}"{more}/>'


def _text(x: float, y: float, text: str, color: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    shown = html.escape(text)
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" font-size="12" text-anchor="{anchor}"{weight}>{shown}</text>'
