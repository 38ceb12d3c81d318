"""What torch's schedulers know of the LR, besides their groups: they keep absolute LRs, which follow a change."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR

# Absolute LRs that schedulers keep, in torch and in the widespread packages that subclass its LRScheduler.
_LIST_ATTRIBUTES = ("base_lrs", "max_lrs")
_SCALAR_ATTRIBUTES = ("eta_min", "eta_max", "default_min_lr", "warmup_start_lr", "end_lr", "final_lr")
_ENDS = ("eta_min", "default_min_lr", "end_lr", "final_lr")
# They compute each LR anew from absolute ones and the step; torch's others multiply the last one.
_ABSOLUTE = (OneCycleLR, CyclicLR, CosineAnnealingWarmRestarts)

Scale = Callable[[int | None, Any], Any]  # (index of the group, None = all groups alike; value) -> new value


def unwrap(optimizer: Any) -> Optimizer:
    """The torch optimizer inside of Lightning's and DeepSpeed's wrappers."""
    for name in ("_optimizer", "optimizer"):
        while isinstance(getattr(optimizer, name, None), Optimizer):
            optimizer = getattr(optimizer, name)
    return cast(Optimizer, optimizer)


def check_has_lr(owner: str, optimizers: Sequence[Any], error: type[ValueError] = ValueError) -> None:
    """Refuse a set-up without an LR that could be set.

    Args:
        owner: Who wants to, for the message.
        optimizers: The optimizers, wrapped or not.
        error: The error's class.

    Raises:
        ValueError: If there is no optimizer, or one has no LR (``lr=None``).

    >>> import torch
    >>> check_has_lr("PlateauDecay", [torch.optim.SGD([torch.zeros(1)], lr=0.1)])
    """
    inner = [unwrap(optimizer) for optimizer in optimizers]
    if not inner or all(type(optimizer).__name__ == "_MockOptimizer" for optimizer in inner):  # Lightning's for none
        raise error(f"{owner} needs an optimizer: configure_optimizers of this module returns none")
    for optimizer in inner:
        if any(group.get("lr") is None for group in optimizer.param_groups):
            raise error(f"{owner}: {type(optimizer).__name__} has no LR (lr=None), it finds its step size itself")


def flat(schedulers: Iterable[Any]) -> Iterator[Any]:
    """Schedulers with those nested in SequentialLR and ChainedScheduler."""
    for scheduler in schedulers:
        yield scheduler
        yield from flat(getattr(scheduler, "_schedulers", ()))


def schedulers_of(optimizer: Any, schedulers: Sequence[Any]) -> list[Any]:
    """Those schedulers, nested ones included, that drive this optimizer."""
    own = unwrap(optimizer)
    return [s for s in flat(schedulers) if unwrap(getattr(s, "optimizer", own)) is own]


def present_lrs(scheduler: Any) -> list[float]:
    """What a scheduler of :data:`_ABSOLUTE` gives each group at its present step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "use get_last_lr()": the state has just changed
        return [float(lr) for lr in scheduler.get_lr()]


def absolute_in_force(schedulers: Sequence[Any], lrs: list[float]) -> Any | None:
    """The scheduler that computes these LRs from absolute ones, whatever the last LR was, if there is one.

    It is asked again after the change: it interpolates between LRs far apart, so that a scaled result would be some
    ulps off what it computes itself.
    """
    for scheduler in schedulers:
        if type(scheduler) in _ABSOLUTE and (len(schedulers) == 1 or present_lrs(scheduler) == lrs):
            return scheduler
    return None


def scale_schedulers(schedulers: Sequence[Any], scale: Scale) -> None:
    """Change the absolute LRs that schedulers compute from."""
    for scheduler in schedulers:
        state = vars(scheduler)
        for name in _LIST_ATTRIBUTES:
            _scale_list(state, name, scale)
        floors = state.get("min_lrs")  # ReduceLROnPlateau makes a list of one floor for all groups
        if isinstance(floors, list):
            shared = len(set(floors)) == 1
            state["min_lrs"] = [scale(None if shared else index, floor) for index, floor in enumerate(floors)]
        for name in _SCALAR_ATTRIBUTES:
            if isinstance(state.get(name), (int, float)) and not isinstance(state[name], bool):
                state[name] = scale(None, state[name])


def absolute_ends(schedulers: Iterable[Any]) -> dict[str, float]:
    """Floors and ends above 0 that schedulers keep as LRs of their own, by class and attribute.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> absolute_ends([torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=0.001)])
    {'CosineAnnealingLR.eta_min': 0.001}
    """
    found = {}
    for scheduler in flat(schedulers):
        state = vars(scheduler)
        floors = {name: state.get(name) for name in _ENDS} | {"min_lrs": max(state.get("min_lrs") or [0.0])}
        for name, value in floors.items():
            if isinstance(value, (int, float)) and value > 0:
                found[f"{type(scheduler).__name__}.{name}"] = float(value)
    return found


def scale_last(schedulers: Sequence[Any], scale: Scale) -> None:
    """Change the LRs that schedulers remember as the last they set."""
    for scheduler in schedulers:
        _scale_list(vars(scheduler), "_last_lr", scale)


def _scale_list(state: dict[str, Any], name: str, scale: Scale) -> None:
    if isinstance(state.get(name), (list, tuple)):
        state[name] = [scale(i, value) for i, value in enumerate(state[name])]
