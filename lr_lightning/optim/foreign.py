"""Schedulers whose fields we don't know: timm's, a user's own, anything with an ``optimizer`` and a ``step``.

Nothing in them is changed. While one steps, its optimizer's groups hold the LRs that it knows; afterwards they are
multiplied by what a range test and the plateau decays have made of them. The multiplier is in the param group, and so
in every optimizer checkpoint.
"""

import contextlib
import copyreg
import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lr_lightning.optim.group import LR_FACTOR, LR_MULTIPLIER, SCHEDULER_LR, get_lr, lr_factor, set_lr
from lr_lightning.optim.schedulers import flat, schedulers_of, unwrap

# timm's schedulers have both: one an epoch, one an update.
_STEPS = ("step", "step_update")
_WRITERS = ("get_lr", "_get_closed_form_lr", "_reduce_lr", "step")
_KNOWN = ("torch.optim", "lr_lightning")
_FOLLOWED = "_lr_lightning_followed"


def is_known(scheduler: Any) -> bool:
    """Whether a scheduler is one of torch's or ours, or a subclass that computes LRs in the same way.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> is_known(torch.optim.lr_scheduler.StepLR(optimizer, 3))
    True
    """
    if not isinstance(scheduler, LRScheduler):
        return False
    writers = (getattr(type(scheduler), name, None) for name in _WRITERS)
    return all(str(writer.__module__).startswith(_KNOWN) for writer in writers if writer is not None)


def is_scheduler(value: Any, optimizers: Sequence[Any] | None = None) -> bool:
    """Whether something sets LRs of an optimizer (of one of these): it has an ``optimizer`` and a ``step``."""
    if isinstance(value, (type, Optimizer)) or hasattr(type(value), "param_groups"):
        return False
    held = value.__dict__.get("optimizer") if isinstance(getattr(value, "__dict__", None), dict) else None
    if held is None or not callable(getattr(type(value), "step", None)) or not hasattr(held, "param_groups"):
        return False
    return optimizers is None or any(unwrap(held) is unwrap(optimizer) for optimizer in optimizers)


def foreign(own: Iterable[Any]) -> list[Any]:
    """All of one optimizer's schedulers, but those nested in others, if one of them is unknown; else none."""
    own = list(own)
    if all(is_known(scheduler) for scheduler in own):
        return []
    nested = {id(inner) for scheduler in own for inner in _nested(scheduler)}
    return [scheduler for scheduler in own if id(scheduler) not in nested]


def _nested(scheduler: Any) -> Iterator[Any]:
    yield from flat(getattr(scheduler, "_schedulers", ()))


def _follow(scheduler: Any) -> bool:
    """Let a scheduler step in the world that it knows, from now on.

    Its class becomes one derived from it, so that neither its state nor a pickled copy knows of it.

    Returns:
        Whether that is possible.
    """
    cls: Any = type(scheduler)
    if _FOLLOWED in vars(cls):
        return True
    names = [
        name for name in _STEPS if callable(getattr(cls, name, None)) and name not in getattr(scheduler, "__dict__", ())
    ]
    members: dict[str, Any] = {name: _wrapped(getattr(cls, name)) for name in names}
    members |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__, _FOLLOWED: True}

    def reduce(self: Any, protocol: Any) -> Any:
        self.__class__ = cls
        try:
            make, *rest = cls.__reduce_ex__(self, protocol)
            # pickle compares the class with the object's.
            return (_blank if make is copyreg.__newobj__ else make, *rest)  # type: ignore[attr-defined]
        finally:
            self.__class__ = followed

    try:
        followed = type(cls.__name__, (cls,), {**members, "__reduce_ex__": reduce})
        scheduler.__class__ = followed
    except TypeError:  # final, or with a layout of its own
        return False
    return bool(names)


def _blank(cls: Any, *args: Any) -> Any:
    return cls.__new__(cls, *args)


def _wrapped(step: Any) -> Any:
    @functools.wraps(step)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _as_scheduled(self.optimizer):
            return step(self, *args, **kwargs)

    return wrapper


def multiplier(group: dict[str, Any]) -> float:
    """What a followed scheduler's LR is multiplied by."""
    return float(group.get(LR_MULTIPLIER, 1.0)) * lr_factor(group)


def own_lr(group: dict[str, Any]) -> float:
    """The LR that a followed scheduler knows: what it set last, to the bit, or else the present one without ours."""
    own, now, times = group.get(SCHEDULER_LR), get_lr(group), multiplier(group)
    return float(own) if own is not None and own * times == now else now / times


def follow(strangers: Sequence[Any]) -> None:
    """Let schedulers step in the world that they know, from now on; one that can't be followed is named."""
    for scheduler in strangers:
        if not _follow(scheduler):
            warnings.warn(
                f"{type(scheduler).__name__} sets learning rates of its own in a way that can't be followed: after its "
                "next step they are as if they hadn't been changed",
                stacklevel=3,
            )


_stepping: set[int] = set()  # optimizers whose schedulers step now: a scheduler may step another


@contextlib.contextmanager
def _as_scheduled(optimizer: Any) -> Iterator[None]:
    """A param group as its own scheduler left it, for the time of the scheduler's step."""
    inner = unwrap(optimizer)
    if id(inner) in _stepping:
        yield
        return
    _stepping.add(id(inner))
    try:
        for group in inner.param_groups:
            set_lr(group, own_lr(group))
        yield
    finally:
        _stepping.discard(id(inner))
        for group in inner.param_groups:
            group[SCHEDULER_LR] = get_lr(group)
            set_lr(group, group[SCHEDULER_LR] * multiplier(group))


def follow_again(optimizers: Sequence[Any], schedulers: Sequence[Any]) -> None:
    """In a resumed run, go on with what was done to schedulers that aren't known; nothing in any other run."""
    for optimizer in optimizers:
        if any(LR_MULTIPLIER in group or LR_FACTOR in group for group in optimizer.param_groups):
            follow(foreign(schedulers_of(optimizer, schedulers)))


def has_strayed(optimizer: Any) -> bool:
    """Whether somebody has set the LR of an optimizer with followed schedulers, besides these.

    >>> has_strayed(torch.optim.SGD([torch.zeros(1)], lr=0.1))
    False
    """
    groups = [group for group in optimizer.param_groups if SCHEDULER_LR in group]
    expected = [group[SCHEDULER_LR] * multiplier(group) for group in groups]
    return any(abs(get_lr(g) - lr) > 1e-6 * abs(lr) for g, lr in zip(groups, expected, strict=True))


def forget(optimizer: Any) -> None:
    """Take the LR as it is now for one that nobody knows."""
    for group in optimizer.param_groups:
        group.pop(SCHEDULER_LR, None)
