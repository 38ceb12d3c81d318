"""PlateauLR: PlateauDecay's rules for a plain torch training loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from lr_lightning import param_groups
from lr_lightning.rules import plateau
from lr_lightning.rules.plateau import Decision


class PlateauLR:
    """Lowers an optimizer's LR when a metric shows no progress any more.

    Use it in place of ``torch.optim.lr_scheduler.ReduceLROnPlateau``: one ``step(metric)`` an observation. It gets
    along with other schedulers: the plateau factor multiplies theirs.

    Args:
        optimizer: The optimizer.
        mode: ``"min"`` or ``"max"``.
        factor: Multiplier of the LR at a decay.
        total: How many observations (``step`` calls) the run is planned to have; ``None``: unknown. With it the trend
            rule's window is a share of the run, and the run ends at a low LR.
        interval: ``"epoch"`` or ``"step"``: what an observation comes from.
        min_lr: LR below which no decay goes, one or one a param group.
        schedulers: Other schedulers of the optimizer, so that they go on with the lowered LR.
        **rule: ``rule``, ``window``, ``patience``, ``threshold``, ``threshold_mode``, ``cooldown``, ``endgame`` and
            ``on_flat_region``, as in :class:`~lr_lightning.PlateauDecay`.

    Raises:
        ValueError: If an argument is out of its range; the message quotes it.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> plateau_lr = PlateauLR(optimizer, patience=1)
        >>> decisions = [plateau_lr.step(1.0).action for _ in range(3)]
        >>> decisions[-1], optimizer.param_groups[0]["lr"]
        ('decay', 0.05)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.5,
        *,
        total: int | None = None,
        interval: str = "epoch",
        min_lr: float | Sequence[float] = 0.0,
        schedulers: Sequence[Any] = (),
        **rule: Any,
    ) -> None:
        if total is not None and (isinstance(total, bool) or not isinstance(total, int) or total < 1):
            raise ValueError(f"total must be a number of observations or None, got {total!r}")
        self.optimizer, self.factor, self.total, self.min_lr = optimizer, factor, total, min_lr
        self.schedulers = list(schedulers)
        self.rule = plateau.configure(mode=mode, factor=factor, interval=interval, **rule)
        self.state = self.rule.start()
        self.last_decision: Decision | None = None

    def step(self, metric: float) -> Decision:
        """Take one observation; the LR may change. Returns the decision with its reason."""
        self.state, decision = self.rule.observe(self.state, float(metric), None, self.total)
        self.last_decision = decision
        if decision.action != "keep":
            multiplier = self.factor**decision.cuts if decision.action != "kick" else 1.0 / self.factor
            param_groups.decay([self.optimizer], self.schedulers, multiplier, self.min_lr)
        return decision

    def state_dict(self) -> dict[str, Any]:
        """The rule's state; the LRs themselves are in the optimizer's."""
        return {"rule": self.rule.name, "state": self.state.to_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: If it comes from another rule.
        """
        if state_dict["rule"] != self.rule.name:
            raise ValueError(f"the state is of rule {state_dict['rule']!r}, this is {self.rule.name!r}")
        self.state = self.rule.load(state_dict["state"])
