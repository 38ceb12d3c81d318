"""One param group: the only writer of its LR, and the factors that this package keeps in it as plain floats."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

BASE_LR = "base_lr"
LR_FACTOR = "lr_factor"
# Of groups whose schedulers aren't known: what their LRs are multiplied by, beside the plateau factor, and the last LR
# that they set themselves.
LR_MULTIPLIER, SCHEDULER_LR = "lr_multiplier", "scheduler_lr"
MARKS = (BASE_LR, LR_FACTOR, LR_MULTIPLIER, SCHEDULER_LR)


def get_lr(group: dict[str, Any]) -> float:
    """Current LR of a param group as a float.

    >>> get_lr({"lr": torch.tensor(0.5)})
    0.5
    """
    return float(group["lr"])


def readable_lrs(groups: Iterable[dict[str, Any]]) -> list[float]:
    """LRs that can be read without waiting for a device.

    >>> readable_lrs([{"lr": 0.5}, {"lr": torch.tensor(0.25)}, {"params": []}])
    [0.5, 0.25]
    """
    lrs: Iterator[Any] = (group.get("lr") for group in groups)
    return [float(lr) for lr in lrs if lr is not None and (not isinstance(lr, Tensor) or lr.device.type == "cpu")]


def set_lr(group: dict[str, Any], value: float) -> None:
    """Write the LR of a param group; a tensor LR (capturable, fused, compiled optimizers) is filled in place.

    >>> group = {"lr": torch.tensor(0.5)}
    >>> set_lr(group, 0.25)
    >>> group["lr"]
    tensor(0.2500)
    """
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def lr_factor(group: dict[str, Any]) -> float:
    """Product of the plateau decays applied to a param group so far, 1.0 without any.

    >>> lr_factor({"lr": 0.1})
    1.0
    """
    return float(group.get(LR_FACTOR, 1.0))


def base_lr(group: dict[str, Any]) -> float:
    """LR of a param group before schedule and plateau factor.

    It is what was recorded by :func:`record_base_lr`, else ``initial_lr`` (set by torch's schedulers) or the current LR
    without the plateau factor.

    >>> base_lr({"lr": 0.1, "initial_lr": 0.5})
    0.5
    """
    if BASE_LR in group:
        return float(group[BASE_LR])
    initial = initial_lr(group)
    return float(group["lr"] if initial is None else initial) / lr_factor(group)


def initial_lr(group: dict[str, Any]) -> Any:
    """``initial_lr`` where it is one: Lightning's SWA writes its target there."""
    initial = group.get("initial_lr")
    return None if initial is not None and initial == group.get("swa_lr") else initial


def record_base_lr(group: dict[str, Any]) -> float:
    """Fix :func:`base_lr` in the group, so that a formula may overwrite the LR without losing it. Returns it.

    >>> group = {"lr": 0.1}
    >>> before = record_base_lr(group)
    >>> set_lr(group, 0.05)
    >>> base_lr(group)
    0.1
    """
    group.setdefault(BASE_LR, base_lr(group))
    return float(group[BASE_LR])


def record_base_lr_if_bare(group: dict[str, Any]) -> None:
    """Record the base LR of a group without a torch scheduler: dividing by the factor later would cost the last bit."""
    if "initial_lr" not in group:
        record_base_lr(group)


def coarseness(optimizers: Sequence[Any]) -> float:
    """Relative distance of the numbers that tensor LRs are rounded to; 0 where all have a float's digits.

    >>> weights = [torch.nn.Parameter(torch.zeros(2))]
    >>> coarseness([torch.optim.SGD(weights, lr=0.1)])
    0.0
    >>> coarseness([torch.optim.Adam(weights, lr=torch.tensor(0.1))]) == 2.0**-23
    True
    """
    held = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    coarse = [lr.dtype for lr in held if isinstance(lr, Tensor) and lr.dtype != torch.float64]
    return max((torch.finfo(dtype).eps for dtype in coarse if dtype.is_floating_point), default=0.0)
