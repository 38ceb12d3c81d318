"""The pictures, one function each: the tab, notebooks and HTML export show the same plotly figures.

plotly is imported where it is used. Input is duck-typed plain data: figures are drawn from event files alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lr_lightning.reporting.figures import style

Series = tuple[Sequence[float], Sequence[float]]

CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "showTips": False,
    # No button may send data anywhere.
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "sendDataToCloud", "sendChartToCloud"],
    "showSendToCloud": False,
}
"""How plotly.js shows these figures."""


def range_test_figure(
    results: Any, peers: bool = False, *, dark: bool = False, colors: Mapping[str, str] | None = None
) -> Any:
    """Loss over log LR: raw and smoothed, with zones, suggestion and interval.

    A single run has its zones shaded. Several runs have their suggestions as diamonds on their curves, and their zones
    and intervals as bars below, up to a dozen runs.

    Args:
        results: A ``RangeTestResult`` (or its ``to_dict()``), or a mapping of run names to these. A running test's
            mapping has ``lrs``, ``losses`` and ``smoothed`` only.
        peers: Whether to draw the other libraries' suggestions as thin lines (single run).
        dark: Colours for a dark page.
        colors: Colour of each run, else by position.

    Returns:
        A ``plotly.graph_objects.Figure``.

    >>> from lr_lightning.rules.range_test.analyze import analyze
    >>> result = analyze([1e-3, 1e-2], [1.0, 0.9])
    >>> range_test_figure({"first": result, "second": result}).layout.xaxis.type
    'log'
    """
    from lr_lightning.reporting.figures.range_test import draw

    return draw(results, peers=peers, dark=dark, colors=colors or {})


def training_figure(
    runs: Mapping[str, Mapping[str, Any]],
    *,
    x: str = "step",
    loss: str = "loss",
    dark: bool = False,
    colors: Mapping[str, str] | None = None,
) -> Any:
    """Loss above, LR (log) below, over a shared axis; each event is a mark on the LR with its reason on hover.

    Args:
        runs: For each run: ``lr`` and ``loss``, mappings of tags to ``(steps, values)``; optional ``events``, a list of
            mappings (or ``LREvent``); optional ``epochs``, ``(steps, epochs)``: the first step of each epoch.
        x: ``step`` or ``epoch``.
        loss: Title of the loss axis.
        dark: Colours for a dark page.
        colors: Colour of each run, else by position.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        ValueError: If ``x`` is neither.

    >>> run = {"lr": {"lr-SGD": ([0, 1], [0.1, 0.05])}, "loss": {"loss": ([0, 1], [1.0, 0.9])}}
    >>> [trace.name for trace in training_figure({"run": run}).data]
    ['loss', 'lr-SGD']
    """
    from lr_lightning.reporting.figures.training import draw

    if x not in ("step", "epoch"):
        raise ValueError(f"x must be 'step' or 'epoch', got {x!r}")
    return draw(runs, x=x, loss=loss, dark=dark, colors=colors or {})


def search_figure(searches: Any, *, dark: bool = False) -> Any:
    """Score over log LR, rounds by colour; below it the interval that each round sampled.

    Trials that diverged or crashed have no score: they are marks along the upper edge.

    Args:
        searches: What ``write_search`` recorded: ``trials``, ``rounds``, ``metric`` and ``mode``.
        dark: Colours for a dark page.

    Returns:
        A ``plotly.graph_objects.Figure``.

    >>> trials = [{"lr": 0.1, "score": 0.5, "round": 0, "status": "ok"}]
    >>> record = {"trials": trials, "rounds": [{"low": 0.01, "high": 1.0}], "metric": "val_loss", "mode": "min"}
    >>> search_figure(record).layout.xaxis.type
    'log'
    """
    from lr_lightning.reporting.figures.search import draw

    return draw(searches, dark=dark)


def formula_figure(
    curves: Mapping[str, Series], *, x_title: str = "step", log: bool = False, dark: bool = False
) -> Any:
    """LR over step or epoch, one line a formula.

    Args:
        curves: For each name: ``(x, lr)``.
        x_title: Title of the horizontal axis.
        log: Whether the LR axis is logarithmic.
        dark: Colours for a dark page.

    Returns:
        A ``plotly.graph_objects.Figure``.

    >>> formula_figure({"half": ([0, 1], [0.1, 0.05])}).data[0].name
    'half'
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for index, (name, (xs, lrs)) in enumerate(curves.items()):
        figure.add_scatter(
            x=list(xs),
            y=list(lrs),
            name=style.literal(style.short(name, 60)),
            mode="lines",
            line={"color": style.color(index), "width": 2},
            hovertemplate=f"{style.literal(x_title)} %{{x}}<br>LR %{{y:.4g}}",
        )
    vertical = style.log_axis(dark) if log else style.axis(dark, exponentformat="power", rangemode="tozero")
    figure.update_layout(
        **style.layout(dark=dark, height=420, showlegend=True, hovermode="x unified"),
        xaxis=style.axis(dark, title=style.literal(x_title)),
        yaxis={**vertical, "title": {"text": "learning rate", "standoff": 10}},
    )
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    return figure
