"""One static picture of a range test for TensorBoards without the tab; needs matplotlib (extra ``static``)."""

from importlib.util import find_spec
from typing import Any

from lr_lightning.reporting.figures import style
from lr_lightning.reporting.figures.range_test import loss_range


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def range_test_image(result: Any) -> Any:
    """The range test as an image, without touching the user's matplotlib state.

    Args:
        result: A ``RangeTestResult``.

    Returns:
        ``uint8`` array of shape ``[height, width, 3]``.

    Raises:
        ImportError: If matplotlib is missing.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=90)
    figure.subplots_adjust(left=0.09, right=0.74, bottom=0.14, top=0.96)
    canvas, axes, data = FigureCanvasAgg(figure), figure.add_subplot(), result.to_dict()
    axes.plot(data["lrs"], data["losses"], color=style.COLORS[0], alpha=0.35, linewidth=1, label="loss")
    smoothed = data["smoothed"]
    axes.plot(data["lrs"][: len(smoothed)], smoothed, color=style.COLORS[0], linewidth=2.5, label="smoothed")
    for zone, (name, tint) in style.ZONES.items():
        bounds = data["zones"].get(zone)
        if bounds:
            axes.axvspan(*bounds, color=tint, alpha=0.13, linewidth=0, label=name)
    if data["suggestion"]:
        label = f"suggestion {data['suggestion']:.3g}"
        axes.axvline(data["suggestion"], color=style.COLORS[0], linestyle="--", label=label)
    limits = loss_range([data])
    if limits:
        axes.set_ylim(*limits)
    axes.set(xscale="log", xlabel="learning rate (log)", ylabel="loss")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    render: Any = canvas
    render.draw()
    return np.asarray(render.buffer_rgba())[..., :3].copy()
