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
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d", "sendDataToCloud", "sendChartToCloud"],
    "showSendToCloud": False,
}
"""How plotly.js shows these figures."""


def figure_of(spec: style.Spec) -> Any:
    """A drawn figure as a ``plotly.graph_objects.Figure``, which checks every name in it.

    >>> figure_of({"data": [style.scatter([1, 2], [3, 4])], "layout": style.layout(dark=False)}).data[0].y
    (3, 4)
    """
    import plotly.graph_objects as go

    return go.Figure(data=spec["data"], layout={"template": "none", **spec["layout"]})


def range_test_figure(
    results: Any, peers: bool = False, *, dark: bool = False, colors: Mapping[str, str] | None = None
) -> Any:
    """Loss over log LR: raw and smoothed, with zones, suggestion and interval.

    A single run has its zones shaded, and the curve that the rule reads beside the one that the eye follows; a test
    without an answer says why. Several runs have their suggestions as diamonds on their curves, and their zones and
    intervals as bars below, up to a dozen runs.

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

    return figure_of(draw(results, {"peers": peers, "dark": dark}, colors or {}))


def training_figure(
    runs: Mapping[str, Mapping[str, Any]],
    *,
    x: str = "step",
    loss: str = "loss",
    smooth: float = 0.0,
    clip: bool = True,
    scale: str = "auto",
    dark: bool = False,
    colors: Mapping[str, str] | None = None,
) -> Any:
    """A panel for the losses, one for each other kind of metric, and one for the LR (log), over a shared axis.

    Each event is a mark on the LR with its reason on hover; a cross marks where a loss became NaN.

    Args:
        runs: For each run: ``lr`` and ``loss``, mappings of tags to ``(steps, values)`` or ``(steps, values, times)``;
            optional ``events``, a list of mappings (or ``LREvent``); optional ``epochs``, ``(steps, epochs)``: the
            first step of each epoch.
        x: ``step``, ``epoch``, or ``time`` since the run's first point.
        loss: Title of the losses' axis where there are several.
        smooth: Weight of the past in the moving average of the metrics, from 0 (none) to below 1; raw values stay pale.
        clip: Whether outliers may leave the picture, as they do in TensorBoard's Time Series.
        scale: Of the losses: ``linear``, ``log``, or ``auto`` (log where all are positive and reach far).
        dark: Colours for a dark page.
        colors: Colour of each run, else by position.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        ValueError: If ``x``, ``scale`` or ``smooth`` is none of these.

    >>> run = {"lr": {"lr-SGD": ([0, 1], [0.1, 0.05])}, "loss": {"loss": ([0, 1], [1.0, 0.9])}}
    >>> [trace.name for trace in training_figure({"run": run}).data]
    ['loss', 'lr-SGD']
    """
    from lr_lightning.reporting.figures.training import draw

    if x not in ("step", "epoch", "time"):
        raise ValueError(f"x must be 'step', 'epoch' or 'time', got {x!r}")
    if scale not in ("auto", "linear", "log"):
        raise ValueError(f"scale must be 'auto', 'linear' or 'log', got {scale!r}")
    if not 0 <= smooth < 1:
        raise ValueError(f"smooth must be at least 0 and below 1, got {smooth!r}")
    options = {"x": x, "loss": loss, "smooth": smooth, "clip": clip, "scale": scale, "dark": dark}
    return figure_of(draw(runs, options, colors or {}))


def search_figure(searches: Any, *, dark: bool = False) -> Any:
    """Score over log LR with the surrogate's mean and band; the intervals of the rounds; the history of the trials.

    Trials that diverged or crashed have no score: they are marks along the upper edge, as are scores far off.

    Args:
        searches: What ``write_search`` recorded: ``trials``, ``rounds``, ``metric`` and ``mode``, and as far as known
            ``best``, ``interval`` and ``surrogate``.
        dark: Colours for a dark page.

    Returns:
        A ``plotly.graph_objects.Figure``.

    >>> trials = [{"lr": 0.1, "score": 0.5, "round": 0, "status": "ok"}]
    >>> record = {"trials": trials, "rounds": [{"low": 0.01, "high": 1.0}], "metric": "val_loss", "mode": "min"}
    >>> search_figure(record).layout.xaxis.type
    'log'
    """
    from lr_lightning.reporting.figures.search import draw

    return figure_of(draw(searches, dark=dark))


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
    traces = [
        style.scatter(
            list(xs),
            list(lrs),
            name=style.literal(style.short(name, 60)),
            mode="lines",
            line={"color": style.color(index, dark), "width": 2},
            hovertemplate=f"{style.literal(x_title)} %{{x}}<br>LR %{{y:.4g}}",
        )
        for index, (name, (xs, lrs)) in enumerate(curves.items())
    ]
    reach = style.decades([lr for _, lrs in curves.values() for lr in lrs])
    vertical = (
        style.log_axis(dark, range=reach) if log else style.axis(dark, exponentformat="power", rangemode="tozero")
    )
    layout = style.layout(dark=dark, height=420, showlegend=True, hovermode="x unified")
    layout["xaxis"] = style.axis(dark, title=style.literal(x_title))
    layout["yaxis"] = {**vertical, "title": {"text": "learning rate", "standoff": 10}}
    return figure_of({"data": traces, "layout": layout})
