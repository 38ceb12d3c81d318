"""The average of the newest weights, for torch's ``AveragedModel`` and Lightning's ``WeightAveraging``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lr_lightning.rules.checks import check_number


@dataclass(frozen=True)
class TailAverage:
    """Averages weights over about the newest ``share`` of all steps so far, however many those are.

    An average with a fixed decay (EMA) has to fit the length of the run; this one needn't know it. Weights of step t
    count with (c + 1) / (t + c), c = 1 / share - 1, and those before fade: polynomial-decay averaging (Shamir & Zhang,
    arXiv 1212.1824). Give it to whatever keeps the average::

        torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=TailAverage(), use_buffers=True)
        lightning.pytorch.callbacks.WeightAveraging(multi_avg_fn=TailAverage())  # Lightning 2.6 or later

    Args:
        share: Above 0, at most 1, which is the mean over all steps.

    Raises:
        ValueError: If ``share`` is out of its range.

    >>> import torch
    >>> averaged = [torch.tensor([0.0])]
    >>> for step, weight in enumerate([3.0, 5.0, 10.0]):
    ...     TailAverage(1.0)(averaged, [torch.tensor([weight])], step)
    >>> averaged
    [tensor([6.])]
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        check_number("share", self.share, 0.0, 1.0, open_low=True)

    def __call__(self, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        """Move ``averaged`` towards ``current``, in place; counters and other integers are copied."""
        c = 1.0 / self.share - 1.0
        newest = (c + 1.0) / (num_averaged + 1.0 + c)
        for mean, now in zip(averaged, current, strict=True):
            if not (mean.is_floating_point() or mean.is_complex()):
                mean.copy_(now)
            elif isinstance(newest, Tensor):  # stays on the device: no wait for it
                mean.lerp_(now, newest.to(mean.dtype))
            else:
                mean.lerp_(now, newest)
