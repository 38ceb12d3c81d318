"""Carries a plateau rule's decisions out: cuts, and kicks that raise LR or momentum for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lr_lightning.optim import param_groups
from lr_lightning.optim.param_groups import LRChange
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

    A kick raises the LR by one cut, or the momentum of every group that has some, or both. When it is taken back, and
    at the next cut at the latest, each momentum is what it was before, to the bit; one that something else has set
    meanwhile stays.

    Args:
        factor: Multiplier of the LR at a cut.
        kick: ``"lr"``, ``"momentum"`` or ``"both"``.
        kick_momentum: What a kick raises the momentum to; None: its distance to 1 is multiplied by ``factor``.
    """

    def __init__(self, factor: float, kick: str = "lr", kick_momentum: float | None = None) -> None:
        self.factor, self.kick, self.kick_momentum = factor, kick, kick_momentum
        self.raised: list[Raised] = []

    @property
    def kicks_momentum(self) -> bool:
        """Whether its kicks raise the momentum."""
        return self.kick != "lr"

    def check(self, optimizers: Sequence[Any], schedulers: Sequence[Any] = (), resumed: bool = True) -> None:
        """Refuse optimizers whose momentum can't be raised.

        Args:
            optimizers: Optimizers, wrapped or not.
            schedulers: All schedulers; those of other optimizers are left aside.
            resumed: Whether a kick may be under way: then the momentum may be ``kick_momentum`` already.

        Raises:
            ValueError: If one has none, it is high enough already, or a scheduler sets it.

        >>> import torch
        >>> DecisionWriter(0.5, "both").check([torch.optim.SGD([torch.zeros(1)], lr=0.1)])
        Traceback (most recent call last):
            ...
        ValueError: kick='both' raises the momentum, and SGD has none: give it momentum (or betas), or take kick='lr'
        """
        if not self.kicks_momentum:
            return
        for optimizer in map(param_groups.unwrap, optimizers):
            what, name = f"kick={self.kick!r} raises the momentum", type(optimizer).__name__
            present = [param_groups.momentum(group) for group in optimizer.param_groups]
            if not any(present):
                raise ValueError(f"{what}, and {name} has none: give it momentum (or betas), or take kick='lr'")
            least, chosen = min(filter(None, present)), self.kick_momentum
            if chosen is not None and (chosen < least or (chosen == least and not resumed)):
                raise ValueError(f"kick_momentum={chosen!r} doesn't raise the momentum of {name}, which is {least!r}")
            for scheduler in _flat(schedulers):
                of_it = param_groups.unwrap(getattr(scheduler, "optimizer", optimizer)) is optimizer
                if of_it and getattr(scheduler, "cycle_momentum", False):
                    kind = type(scheduler).__name__
                    raise ValueError(f"{what}, which {kind} sets: give that cycle_momentum=False, or take kick='lr'")

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
        >>> writer = DecisionWriter(0.5, "both")
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
        if decision.action == "kick" and self.kicks_momentum:
            words = self._raise(optimizers)
        elif decision.action != "keep":
            words = self._restore(optimizers)
        return Written(changes, multiplier, words)

    def _multiplier(self, decision: Decision) -> float:
        if decision.action == "decay":
            return float(self.factor**decision.cuts)
        if decision.action == "keep" or self.kick == "momentum":
            return 1.0
        return self.factor if decision.action == "unkick" else 1.0 / self.factor

    def _raise(self, optimizers: Sequence[Any]) -> str:
        for place, optimizer in enumerate(optimizers):
            for index, group in enumerate(optimizer.param_groups):
                before = param_groups.momentum(group)
                now = raised_momentum(before, self.factor, self.kick_momentum)
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
        writer = DecisionWriter(self.factor, self.kick, self.kick_momentum)
        for item in saved.items("raised"):
            if not isinstance(item, (list, tuple)) or len(item) != 4:
                raise saved.refuse("raised", "optimizer, group, momentum before and now", item)
            one = Saved(saved.owner, dict(zip(Raised._fields, item, strict=True)))
            before, now = one.number("before", 0.0), one.number("now", 0.0)
            writer.raised.append(Raised(one.count("optimizer"), one.count("group"), before, now))
        return writer


def _flat(schedulers: Iterable[Any]) -> Iterator[Any]:
    for scheduler in schedulers:
        yield scheduler
        yield from _flat(getattr(scheduler, "_schedulers", ()))
