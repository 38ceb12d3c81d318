"""Writes the ladder's LRs into param groups, and notices whoever else does."""

import contextlib
import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from lr_lightning.optim import param_groups
from lr_lightning.optim.group import readable_lrs
from lr_lightning.optim.snapshot import name_of
from lr_lightning.optim.stepping import climb

_MACHINERY = ("torch.", "lightning.", "lr_lightning.", "pytorch_lightning.")


class LadderLRs:
    """One multiplier for all groups of the swept optimizers.

    Args:
        optimizers: The optimizers to sweep.
        schedulers: Schedulers that are known to write LRs: they have no say in a sweep.

    Attributes:
        reference: The peak LR of the first group.
        factors: What each group's LR is multiplied by beside, over all optimizers in order; empty: by 1.
        other: Who else writes the LR, by name, once it was noticed.
        suspected: Whether an LR was another one than was written.
        writing: Whether this object is writing now.
    """

    def __init__(self, optimizers: Sequence[Any], schedulers: Sequence[Any]) -> None:
        self.reference = param_groups.reference_lr(optimizers, schedulers)
        self.factors: Sequence[float] = ()
        self.other: str | None = None
        self.suspected = self.writing = False
        self._schedulers = list(schedulers)
        self._optimizers = [param_groups.unwrap(optimizer) for optimizer in optimizers]
        self._shares = [
            [peak / self.reference for peak in param_groups.peak_lrs(optimizer, schedulers)] for optimizer in optimizers
        ]
        self._written: dict[int, list[float]] = {}
        self._groups: dict[int, list[dict[str, Any]]] = {}
        self._lr = self.reference

    def write(self, lr: float) -> None:
        """Set all groups for the next step at ``lr``, the first group's."""
        for number, optimizer in enumerate(self._optimizers):
            written = self._written.get(number)
            # Groups that were added since have the LR that they were added with.
            if written is not None and written != readable_lrs(optimizer.param_groups[: len(self._groups[number])]):
                self.suspected = True
            climb(optimizer, self._lr if written else None, lr)
        self._lr = lr
        self._write()

    def _write(self) -> None:
        self.writing, factors = True, iter(self.factors or itertools.repeat(1.0))
        for number, (optimizer, shares) in enumerate(zip(self._optimizers, self._shares, strict=True)):
            for group, share in zip(optimizer.param_groups, shares, strict=False):
                param_groups.set_lr(group, self._lr * share * next(factors))
            self._groups[number] = list(optimizer.param_groups)
            self._written[number] = readable_lrs(self._groups[number])
        self.writing = False

    def check(self, number: int) -> None:
        """Whether the step that optimizer ``number`` has just taken was at the ladder's LR."""
        # Of the groups that were written: DeepSpeed's ZeRO gives its optimizer one group at a time while it steps.
        if number in self._written and self._written[number] != readable_lrs(self._groups[number]):
            self.suspected = True

    def begin(self) -> None:
        """A state has been put back: LRs that differ are nobody's."""
        self._written.clear()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Schedulers that are stepped by hand leave the ladder's LR in force."""
        with contextlib.ExitStack() as stack:
            for scheduler in self._schedulers:
                stack.enter_context(self._overruled(scheduler))
            yield

    @contextlib.contextmanager
    def _overruled(self, scheduler: Any) -> Iterator[None]:
        own = vars(scheduler).get("step")
        step = scheduler.step

        def overruled(*args: Any, **kwargs: Any) -> Any:
            out = step(*args, **kwargs)
            self._write()
            return out

        scheduler.step = overruled
        try:
            yield
        finally:
            if own is None:
                vars(scheduler).pop("step", None)
            else:
                scheduler.step = own

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Find out who writes: for one step the groups are dicts that tell."""
        groups = [list(optimizer.param_groups) for optimizer in self._optimizers]
        for optimizer in self._optimizers:
            optimizer.param_groups[:] = [_Watched(group, self) for group in optimizer.param_groups]
        try:
            yield
        finally:
            for optimizer, own in zip(self._optimizers, groups, strict=True):
                optimizer.param_groups[:] = own
            self.other = self.other or "something between the batch's start and the optimizer's step"


class _Watched(dict[str, Any]):
    """A param group that notes by whom its LR is written."""

    def __init__(self, group: dict[str, Any], lrs: LadderLRs) -> None:
        super().__init__(group)
        self._lrs = lrs

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if key == "lr" and not self._lrs.writing:
            self._lrs.other = self._lrs.other or _writer()

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value


def _writer() -> str | None:
    """Name of the nearest function on the stack that is the user's."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_MACHINERY):
        frame = frame.f_back
    return None if frame is None else name_of(frame)
