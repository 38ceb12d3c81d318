"""What changes LRs: a new LR for a whole set-up, plateau factors; and a group's momentum.

All write through :func:`~lr_lightning.optim.group.set_lr`, the only writer of ``group["lr"]``. It lies below this
module since schedulers that are followed (``optim/foreign.py``), which this one uses, write as well.

The LR of a param group is a product that three parties share::

    lr = base_lr * schedule(t) * lr_factor

``base_lr`` is what the user (or a range test) chose, ``schedule`` a torch scheduler or a formula, ``lr_factor`` the
product of plateau decays. Whoever changes one factor leaves the others. Torch's schedulers know of one alone:
they keep absolute LRs (``base_lrs``, ``eta_min``, ``max_lr``, …), so those are rescaled along: the scheduler goes on
as if it had been built with the new LR.

``base_lr`` and ``lr_factor`` live in the param group as plain floats and so travel in every optimizer checkpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lr_lightning.optim.foreign import follow, foreign, multiplier, own_lr
from lr_lightning.optim.group import (
    BASE_LR,
    LR_FACTOR,
    LR_MULTIPLIER,
    MARKS,
    SCHEDULER_LR,
    base_lr,
    coarseness,
    get_lr,
    initial_lr,
    lr_factor,
    record_base_lr,
    record_base_lr_if_bare,
    set_lr,
)
from lr_lightning.optim.schedulers import (
    Scale,
    absolute_in_force,
    present_lrs,
    scale_last,
    scale_schedulers,
    schedulers_of,
    unwrap,
)
from lr_lightning.rules.plateau.cuts import changed_lr
from lr_lightning.rules.proportion import BY_DIVISORS, BY_FACTORS, BY_USERS, Way, proportional

# Absolute LRs that torch's schedulers keep in a group.
_GROUP_KEYS = ("initial_lr", "max_lr", "min_lr", "swa_lr")

__all__ = [
    "BASE_LR",
    "LR_FACTOR",
    "MARKS",
    "LRChange",
    "apply_factor",
    "base_lr",
    "decay",
    "get_lr",
    "lr_factor",
    "momentum",
    "peak_lrs",
    "record_base_lr",
    "record_base_lr_if_bare",
    "reference_lr",
    "rescale",
    "set_lr",
    "set_momentum",
    "unwrap",
]


@dataclass(frozen=True)
class LRChange:
    """One param group's LR before and after a change.

    Attributes:
        optimizer: Index of the optimizer.
        group: Index of the param group in it.
        old: LR before.
        new: LR after.
    """

    optimizer: int
    group: int
    old: float
    new: float


def peak_lrs(optimizer: Any, schedulers: Sequence[Any] = ()) -> list[float]:
    """What a user calls "the LR" of each param group: ``max_lr`` of OneCycleLR and CyclicLR, else the base LR.

    Args:
        optimizer: An optimizer, wrapped or not.
        schedulers: All schedulers; those of other optimizers are left aside.

    >>> optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.01)])
    >>> peak_lrs(optimizer)
    [0.1, 0.01]
    """
    own = schedulers_of(optimizer, schedulers)
    return [_peak_lr(group, own, index) for index, group in enumerate(optimizer.param_groups)]


def _peak_lr(group: dict[str, Any], own: Sequence[Any], index: int) -> float:
    factor = lr_factor(group)
    if BASE_LR not in group:
        if "max_lr" in group:
            return float(group["max_lr"]) / factor
        for scheduler in own:
            if hasattr(scheduler, "max_lrs"):
                return float(scheduler.max_lrs[index]) / factor
    return base_lr(group)


def reference_lr(optimizers: Sequence[Any], schedulers: Sequence[Any] = ()) -> float:
    """Peak LR of the first param group that has one: "the LR" of the set-up, to which the others keep their ratio.

    Raises:
        ValueError: If every param group has an LR of 0, so that no multiplier could change it.

    >>> optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.01)])
    >>> reference_lr([optimizer])
    0.1
    """
    for optimizer in optimizers:
        for peak in peak_lrs(optimizer, schedulers):
            if peak > 0:
                return peak
    raise ValueError("every param group has a learning rate of 0; give at least one of them a positive LR")


def rescale(
    optimizers: Sequence[Any], schedulers: Sequence[Any], new_lr: float, factors: Sequence[float] = ()
) -> list[LRChange]:
    """Give the set-up a new LR: every scheduler goes on as if optimizers and schedulers had been built with it.

    The first group's peak LR (:func:`reference_lr`) becomes exactly ``new_lr``; every other absolute LR, in groups
    and schedulers, keeps its ratio to it (including floors such as ``eta_min``, which otherwise might end up above the
    new LR). Plateau factors stay.

    Args:
        optimizers: Optimizers, wrapped or not.
        schedulers: All their ``torch.optim.lr_scheduler`` schedulers; nested ones are found.
        new_lr: The new LR, finite and positive.
        factors: What each group's ratio to the first is multiplied by, over all optimizers in order; empty: by 1.

    Returns:
        The change of every group.

    Raises:
        ValueError: If ``new_lr`` isn't finite and positive, no group has an LR above 0, or ``factors`` are of another
            number than groups.

    >>> optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.01)])
    >>> changes = rescale([optimizer], [], 0.5)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.5, 0.05]
    """
    if new_lr is None or not 0 < new_lr < float("inf"):  # None: a result without a suggestion
        raise ValueError(f"new_lr must be finite and greater than 0, got {new_lr!r}")
    scaled = partial(_proportional, eps=coarseness(optimizers))
    new, reference = float(new_lr), reference_lr(optimizers, schedulers)
    ratios = _per_group("factors", optimizers, factors or 1.0)
    return [
        change
        for number, one in enumerate(optimizers)
        for change in _rescale_one(number, one, schedulers_of(one, schedulers), new, reference, scaled, ratios)
    ]


def _rescale_one(
    number: int,
    optimizer: Any,
    own: list[Any],
    new_lr: float,
    reference: float,
    scaled: Callable[..., Any],
    factors: Iterator[float],
) -> list[LRChange]:
    if strangers := foreign(own):
        return _rescale_strangers(number, optimizer, strangers, new_lr, reference, factors)
    groups = optimizer.param_groups
    before = [get_lr(group) for group in groups]
    held = [group["lr"].clone() if isinstance(group["lr"], Tensor) else group["lr"] for group in groups]
    asked = absolute_in_force(own, before)
    # First the ratio of a group to the reference, then of an LR to its group: the order of a user's arithmetic.
    peaks = peak_lrs(optimizer, own)
    new_peaks = [scaled(peak, new_lr, reference) * next(factors) for peak in peaks]
    known: list[dict[float, float]] = [{} for _ in groups]  # schedulers keep copies of what the groups have

    def scale(index: int | None, value: Any) -> Any:
        if index is None or index >= len(peaks) or peaks[index] == 0:
            return scaled(value, new_lr, reference)
        if float(value) in known[index]:
            return _like(value, known[index][float(value)])
        return scaled(value, new_peaks[index], peaks[index])

    for index, group in enumerate(groups):
        initial = initial_lr(group)
        targets = {key: group[key] for key in ("initial_lr", "swa_lr") if group.get(key) is not None}
        if BASE_LR in group:
            group[BASE_LR] = float(_like(group["lr"], scale(index, group[BASE_LR])))  # as it is read from a tensor
        _scale_keys(group, index, scale)
        if "swa_lr" in targets:  # of SWALR: an LR that the user chose, not a share of this one
            group.update({key: value for key, value in targets.items() if value == targets["swa_lr"]})
            known[index] = {float(targets["swa_lr"]): float(targets["swa_lr"])}
        # What schedulers made of the initial LR is a share of that, not of the peak.
        if initial:
            known[index] |= {float(initial): float(group["initial_lr"])}
            set_lr(group, scaled(held[index], group["initial_lr"], initial, BY_FACTORS))
        else:
            set_lr(group, scale(index, before[index]))
    scale_schedulers(own, scale)
    for group, lr in zip(groups, present_lrs(asked) if asked is not None else [], strict=False):
        set_lr(group, lr)
    changes = [
        LRChange(number, i, old, get_lr(group)) for i, (old, group) in enumerate(zip(before, groups, strict=True))
    ]
    for change in changes:
        known[change.group][change.old] = change.new
    scale_last(own, scale)
    return changes


def _rescale_strangers(
    number: int, optimizer: Any, strangers: list[Any], new_lr: float, reference: float, factors: Iterator[float]
) -> list[LRChange]:
    changes = []
    for index, group in enumerate(optimizer.param_groups):
        old, own, peak = get_lr(group), own_lr(group), record_base_lr(group)
        group[BASE_LR] = _proportional(peak, new_lr, reference) * next(factors)
        ratio = group[BASE_LR] / peak if peak else new_lr / reference
        group[LR_MULTIPLIER], group[SCHEDULER_LR] = group.get(LR_MULTIPLIER, 1.0) * ratio, own
        set_lr(group, own * multiplier(group))
        changes.append(LRChange(number, index, old, get_lr(group)))
    follow(strangers)
    return changes


def decay(
    optimizers: Sequence[Any],
    schedulers: Sequence[Any],
    factor: float,
    min_lr: float | Sequence[float] = 0.0,
    eps: float = 0.0,
) -> list[LRChange]:
    """Multiply every group's LR by a plateau factor, not below ``min_lr``; schedules and formulas stay in force.

    Args:
        optimizers: Optimizers, wrapped or not.
        schedulers: All their schedulers.
        factor: Multiplier, greater than 0 (above 1 it raises the LR: a kick, or a decay taken back).
        min_lr: Floor for the LR right after the change, one for all groups or one a group (over all optimizers, in
            order). A group that is at or below its floor stays as it is.
        eps: A group whose LR would change by no more than this stays as it is.

    Returns:
        The change of every group that changed.

    Raises:
        ValueError: If ``factor`` isn't finite and positive, or ``min_lr`` has another length than there are groups.

    >>> optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.01)])
    >>> changes = decay([optimizer], [], 0.5)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.05, 0.005]
    """
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor must be finite and greater than 0, got {factor!r}")
    floors = _per_group("min_lr", optimizers, min_lr)
    changes = []
    for number, optimizer in enumerate(optimizers):
        groups = optimizer.param_groups
        moves = [changed_lr(get_lr(group), factor, next(floors), eps) for group in groups]
        own = schedulers_of(optimizer, schedulers)
        strangers = foreign(own)

        def scale(index: int | None, value: Any, moves: list[tuple[float, float]] = moves) -> Any:
            return value * (factor if index is None else moves[index][1])

        for index, (group, (new, change)) in enumerate(zip(groups, moves, strict=True)):
            if change == 1.0:
                continue
            old = get_lr(group)
            if strangers:
                record_base_lr(group)
                group[SCHEDULER_LR] = own_lr(group)
            else:
                record_base_lr_if_bare(group)
                _scale_keys(group, index, scale)
            set_lr(group, new)
            group[LR_FACTOR] = lr_factor(group) * change
            changes.append(LRChange(number, index, old, get_lr(group)))
        if any(change != 1.0 for _, change in moves):
            follow(strangers)
            scale_schedulers([] if strangers else own, scale)
            scale_last([] if strangers else own, scale)
    return changes


def apply_factor(group: dict[str, Any], factor: float) -> bool:
    """Give a group that was added later (unfreezing) the plateau factor that the others have.

    Args:
        group: A param group; nothing happens if it has a factor already.
        factor: The product of the decays so far.

    Returns:
        Whether the group got the factor now.

    >>> group = {"lr": 0.1}
    >>> apply_factor(group, 0.5), group["lr"]
    (True, 0.05)
    """
    if LR_FACTOR in group:
        return False
    record_base_lr_if_bare(group)
    set_lr(group, get_lr(group) * factor)
    _scale_keys(group, 0, lambda _, value: value * factor)
    group[LR_FACTOR] = factor
    return True


def _proportional(value: Any, new: Any, old: Any, ways: Sequence[Way] = BY_USERS, eps: float = 0.0) -> Any:
    """``proportional`` of numbers or one-element tensors; ``value`` stays which it is."""
    # Tensors that were computed from tensors are followed in their own arithmetic.
    share = float(value) if isinstance(value, Tensor) and not isinstance(old, Tensor) else value
    return _like(value, proportional(share, new, old, ways, eps))


def _like(value: Any, number: Any) -> Any:
    """The number as a tensor of its own if ``value`` is one."""
    return torch.full_like(value, float(number)) if isinstance(value, Tensor) else number


def _per_group(name: str, optimizers: Sequence[Any], given: float | Sequence[float]) -> Iterator[float]:
    count = sum(len(optimizer.param_groups) for optimizer in optimizers)
    values = [float(given)] * count if isinstance(given, (int, float)) else [float(x) for x in given]
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} values for {count} param groups: {given!r}")
    return iter(values)


def _scale_keys(group: dict[str, Any], index: int, scale: Scale) -> None:
    held = {key: group[key] for key in _GROUP_KEYS if group.get(key) is not None}
    for key, value in held.items():
        group[key] = scale(index, value)
    if held.keys() >= {"max_lr", "initial_lr", "min_lr"}:  # OneCycleLR's
        for share, whole in (("initial_lr", "max_lr"), ("min_lr", "initial_lr")):
            if held[whole] != 0:
                group[share] = _proportional(held[share], group[whole], held[whole], BY_DIVISORS)


def momentum(group: dict[str, Any]) -> float:
    """Momentum, or the first beta, of a param group; 0 without.

    >>> momentum({"momentum": 0.9}), momentum({"betas": (0.95, 0.999)}), momentum({})
    (0.9, 0.95, 0.0)
    """
    betas = group.get("betas") or (0.0,)
    return float(group.get("momentum") or betas[0] or 0.0)


def adaptive(group: dict[str, Any]) -> bool:
    """Whether a param group's optimizer divides gradients by their size, as Adam and RMSprop do; by its options.

    >>> adaptive({"betas": (0.9, 0.999), "eps": 1e-8}), adaptive({"lr": 0.1, "alpha": 0.99, "eps": 1e-8})
    (True, True)
    >>> adaptive({"lr": 0.1, "momentum": 0.9, "nesterov": True})
    False
    """
    return "eps" in group or "betas" in group


def set_momentum(group: dict[str, Any], value: float) -> None:
    """Write what :func:`momentum` reads of a param group that has it; a tensor is filled in place.

    >>> group = {"betas": (0.9, 0.999)}
    >>> set_momentum(group, 0.95)
    >>> group["betas"]
    (0.95, 0.999)
    """
    plain = bool(group.get("momentum"))
    held = group["momentum"] if plain else group["betas"][0]
    if isinstance(held, Tensor):
        held.fill_(value)
    elif plain:
        group["momentum"] = value
    else:
        group["betas"] = type(group["betas"])((value, *group["betas"][1:]))
