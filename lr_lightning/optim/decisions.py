"""Carries a plateau rule's decisions out: cuts, and kicks that raise LR and momentum for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lr_lightning.optim import param_groups
from lr_lightning.optim.param_groups import LRChange
from lr_lightning.optim.schedulers import schedulers_of
from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.plateau.kick import raised_momentum
from lr_lightning.rules.saved import Saved


class Raised(NamedTuple):
    """A momentum that a kick has raised.

    Attributes:
        optimizer: Index of the optimizer, among those that are written.
        group: Index of the param group in it.
        before: What the momentum was.
        now: What it is raised to.
    """

    optimizer: int
    group: int
    before: float
    now: float


@dataclass(frozen=True)
class Written:
    """What a decision has changed.

    Attributes:
        lrs: The change of each param group whose LR changed.
        multiplier: Of the LR, before floors.
        momentum: How the first momentum that changed did, in words; empty: none.

    >>> bool(Written([], 1.0, "")), bool(Written([], 1.0, "momentum 0.9 → 0.95"))
    (False, True)
    """

    lrs: list[LRChange]
    multiplier: float
    momentum: str

    def __bool__(self) -> bool:
        return bool(self.lrs or self.momentum)


class DecisionWriter:
    """Turns decisions into LRs and momenta, and knows which momenta a kick has raised.

    A kick raises the LR by one cut, and the momentum of every group that has some: its distance to 1 is multiplied by
    ``factor``. A momentum that a scheduler cycles is left to it. When the kick is taken back, and at the next cut at
    the latest, each momentum is what it was before, to the bit; one that something else has set meanwhile stays.

    Args:
        factor: Multiplier of the LR at a cut.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.raised: list[Raised] = []

    def apply(
        self,
        decision: Decision,
        optimizers: Sequence[Any],
        schedulers: Sequence[Any] = (),
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 0.0,
    ) -> Written:
        """Do what a decision says; floors hold for cuts alone, ``eps`` is as in :func:`param_groups.decay`.

        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
        >>> writer = DecisionWriter(0.5)
        >>> writer.apply(Decision("kick", "flat ground"), [optimizer]).momentum
        'momentum 0.8 → 0.9'
        >>> written = writer.apply(Decision("unkick", "no progress"), [optimizer])
        >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
        (0.1, 0.8)
        """
        multiplier = self._multiplier(decision)
        floors = min_lr if decision.action == "decay" else 0.0
        changes = param_groups.decay(optimizers, schedulers, multiplier, floors, eps) if multiplier != 1.0 else []
        words = ""
        if decision.action == "kick":
            words = self._raise(optimizers, schedulers)
        elif decision.action != "keep":
            words = self._restore(optimizers)
        return Written(changes, multiplier, words)

    def _multiplier(self, decision: Decision) -> float:
        if decision.action == "decay":
            return float(self.factor**decision.cuts)
        if decision.action == "keep":
            return 1.0
        return self.factor if decision.action == "unkick" else 1.0 / self.factor

    def _raise(self, optimizers: Sequence[Any], schedulers: Sequence[Any]) -> str:
        for place, optimizer in enumerate(optimizers):
            if _cycled(optimizer, schedulers):
                continue
            for index, group in enumerate(optimizer.param_groups):
                before = param_groups.momentum(group)
                now = raised_momentum(before, self.factor)
                if 0.0 < before < now:
                    param_groups.set_momentum(group, now)
                    # What is read back: a tensor holds fewer digits.
                    self.raised.append(Raised(place, index, before, param_groups.momentum(group)))
        return f"momentum {self.raised[0].before:.4g} → {self.raised[0].now:.4g}" if self.raised else ""

    def _restore(self, optimizers: Sequence[Any]) -> str:
        words = ""
        for place, index, before, now in self.raised:
            groups = optimizers[place].param_groups if place < len(optimizers) else []
            if index < len(groups) and param_groups.momentum(groups[index]) == now:
                param_groups.set_momentum(groups[index], before)
                words = words or f"momentum {now:.4g} → {before:.4g}"
        self.raised = []
        return words

    def state_dict(self) -> dict[str, Any]:
        """What the raised momenta were: what they are now is in the optimizer's checkpoint."""
        return {"raised": [list(one) for one in self.raised]}

    def loaded(self, saved: Saved) -> DecisionWriter:
        """A writer that goes on where ``state_dict`` was taken, with these settings.

        Raises:
            ValueError: If the state is something else.
        """
        writer = DecisionWriter(self.factor)
        for item in saved.items("raised"):
            if not isinstance(item, (list, tuple)) or len(item) != 4:
                raise saved.refuse("raised", "optimizer, group, momentum before and now", item)
            one = Saved(saved.owner, dict(zip(Raised._fields, item, strict=True)))
            before, now = one.number("before", 0.0), one.number("now", 0.0)
            writer.raised.append(Raised(one.count("optimizer"), one.count("group"), before, now))
        return writer


def _cycled(optimizer: Any, schedulers: Sequence[Any]) -> bool:
    """Whether a scheduler sets the optimizer's momentum."""
    own = schedulers_of(optimizer, schedulers)
    return any(getattr(scheduler, "cycle_momentum", False) for scheduler in own)


def unchanged(optimizers: Sequence[Any]) -> LRChange:
    """The LR where a cut is put off."""
    lr = param_groups.get_lr(optimizers[0].param_groups[0])
    return LRChange(0, 0, lr, lr)


def mark(optimizers: Sequence[Any]) -> None:
    """Give every param group a plateau factor, 1 where it has none: what has none later has joined since.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> mark([optimizer])
    >>> optimizer.param_groups[0]["lr_factor"]
    1.0
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault(param_groups.LR_FACTOR, 1.0)


def marks(optimizers: Sequence[Any]) -> list[list[dict[str, float]]]:
    """What is kept in the param groups, each optimizer's, with their LR; for a checkpoint.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> mark([optimizer])
    >>> marks([optimizer])
    [[{'lr': 0.1, 'lr_factor': 1.0}]]
    """
    names = ("lr", *param_groups.MARKS)
    return [
        [{key: float(group[key]) for key in names if group.get(key) is not None} for group in optimizer.param_groups]
        for optimizer in optimizers
    ]


def saved_marks(saved: Saved) -> list[list[dict[str, float]]]:
    """:func:`marks` from a checkpoint.

    Raises:
        ValueError: If they are something else.
    """
    found: list[list[dict[str, float]]] = []
    for groups in saved.items("marks"):
        if not isinstance(groups, (list, tuple)) or not all(isinstance(group, Mapping) for group in groups):
            raise saved.refuse("marks", "numbers of each optimizer's param groups", groups)
        found.append([Saved(saved.owner, {"marks": group}).named_floats("marks") for group in groups])
    return found


def put_marks_back(optimizers: Sequence[Any], saved: Sequence[Sequence[dict[str, float]]]) -> None:
    """After a resume: put into the groups what a checkpoint's optimizer has lost on its way.

    FSDP2's optimizer states are loaded into the keys that a new optimizer's groups have, and no others. Groups with
    another LR than then aren't those.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> put_marks_back([optimizer], [[{"lr": 0.1, "lr_factor": 0.5}]])
    >>> optimizer.param_groups[0]["lr_factor"]
    0.5
    """
    for optimizer, groups in zip(optimizers, saved, strict=False):
        for group, kept in zip(optimizer.param_groups, groups, strict=False):
            if "lr" in kept and group.get("lr") is not None and param_groups.get_lr(group) == kept["lr"]:
                group.update({name: value for name, value in kept.items() if name not in group})


def join(
    optimizers: Sequence[Any],
    schedulers: Callable[[], Sequence[Any]],
    factor_of: Callable[[Any], float],
    floors_of: Callable[[Any], float | Sequence[float]],
) -> None:
    """Give what has joined since :func:`mark` the factor so far: param groups, and optimizers in place of others.

    Args:
        optimizers: Torch optimizers.
        schedulers: Gives all schedulers: those of a new optimizer were built with its full LR.
        factor_of: An optimizer's factor so far.
        floors_of: An optimizer's floors, for the factor of a new one.
    """
    for optimizer in optimizers:
        groups = optimizer.param_groups
        new = [group for group in groups if param_groups.LR_FACTOR not in group]
        if not new:
            continue
        factor = factor_of(optimizer)
        if len(new) == len(groups) and factor != 1.0:
            param_groups.decay([optimizer], schedulers(), factor, floors_of(optimizer))
        elif factor != 1.0:
            for group in new:
                param_groups.apply_factor(group, factor)
        mark([optimizer])


def schedule_lr(optimizers: Sequence[Any]) -> float:
    """The highest LR that the schedule sets, without anybody's factor."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return max((param_groups.get_lr(group) / param_groups.lr_factor(group) for group in groups), default=0.0)
