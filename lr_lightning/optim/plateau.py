"""PlateauLR: PlateauDecay's rules for a plain torch training loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lr_lightning.optim.decisions import DecisionWriter
from lr_lightning.optim.left import LRsLeft
from lr_lightning.optim.motion import WeightPath, WeightSampler
from lr_lightning.optim.param_groups import BASE_LR, get_lr, lr_factor
from lr_lightning.optim.schedulers import check_has_lr
from lr_lightning.rules.checks import check_count, check_number, shown
from lr_lightning.rules.plateau import configure as plateau
from lr_lightning.rules.plateau.configure import Rule
from lr_lightning.rules.plateau.cuts import least_change
from lr_lightning.rules.plateau.decision import Decision
from lr_lightning.rules.plateau.patience import PatienceState
from lr_lightning.rules.saved import Saved

_SETTINGS = ("mode", "patience", "threshold", "threshold_mode", "cooldown")
_COUNTERS = {"best": "best", "num_bad_epochs": "bad", "cooldown_counter": "cooldown"}


class PlateauLR(ReduceLROnPlateau):
    """Lowers an optimizer's LR when a metric shows no progress any more.

    Use it in place of ``torch.optim.lr_scheduler.ReduceLROnPlateau``, whose subclass it is: one ``step(metric)`` an
    observation, or in Lightning ``{"scheduler": PlateauLR(optimizer), "monitor": "val_loss"}`` from
    ``configure_optimizers``. It gets along with other schedulers: the plateau factor multiplies theirs.

    Args:
        optimizer: The optimizer.
        mode: ``"min"`` or ``"max"``.
        factor: Multiplier of the LR at a decay.
        total: How many observations (``step`` calls) the run is planned to have; ``None``: unknown. With it the trend
            rule's window is a share of the run, and the run ends at a low LR.
        interval: ``"epoch"`` or ``"step"``: what an observation comes from.
        patience: Asks for torch's rule: the LR falls at observation ``patience + 1`` in a row without progress.
        threshold: Of that rule: what counts as an improvement.
        threshold_mode: Of that rule: ``"rel"``, ``"abs"`` or ``"margin"``.
        cooldown: Observations after a decay that are ignored.
        min_lr: LR below which no decay goes, one or one a param group; groups added later get the last one. A range
            test in Lightning rescales it with the LR, as torch's.
        eps: An LR that would change by no more than this stays. None: 1e-8 for the patience rule (torch's), else 0.
        schedulers: Other schedulers of the optimizer, so that they go on with the lowered LR. One that isn't given is
            warned of: it would take the decays back.
        rule: ``"trend"``, ``"patience"``, a mapping with that ``name`` and further settings, or a rule:
            :class:`~lr_lightning.rules.plateau.trend.TrendRule`,
            :class:`~lr_lightning.rules.plateau.patience.PatienceRule`.

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
        patience: int | None = None,
        threshold: float | None = None,
        threshold_mode: str | None = None,
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float | None = None,
        schedulers: Sequence[Any] = (),
        rule: str | Mapping[str, Any] | Rule | None = None,
    ) -> None:
        # Without super().__init__: torch's settings are the rule's here. The class is what frameworks look for.
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
        check_has_lr("PlateauLR", [optimizer])
        if total is not None:
            check_count("total", total, 1)
        self.optimizer, self.factor, self.total = optimizer, factor, total
        # torch's names: whoever rescales a scheduler looks for them.
        self.min_lrs = _floors(min_lr, len(optimizer.param_groups))
        self.schedulers = _schedulers(schedulers)
        asked: dict[str, Any] = {"patience": patience, "threshold": threshold, "threshold_mode": threshold_mode}
        self.rule = plateau.configure(rule, mode=mode, factor=factor, cooldown=cooldown, interval=interval, **asked)
        self.eps = least_change(self.rule.name, eps)
        self.state = self.rule.start()
        self._writer = DecisionWriter(factor)
        self._path = WeightPath() if plateau.follows_weights(self.rule, total is not None) else None
        self._sample = WeightSampler()
        self.last_decision: Decision | None = None
        self._warned, self._left = False, LRsLeft()

    @property
    def last_epoch(self) -> int:  # type: ignore[override]
        """Observations so far."""
        return self.state.seen

    def __getattr__(self, name: str) -> Any:
        """A ReduceLROnPlateau's names for the rule's settings, and for the counters of the patience rule."""
        rule, state = vars(self).get("rule"), vars(self).get("state")
        if name in _SETTINGS and hasattr(rule, name):
            return getattr(rule, name)
        if name in _COUNTERS and isinstance(state, PatienceState):
            value = getattr(state, _COUNTERS[name])
            return value if value is not None else (-math.inf if self.mode == "max" else math.inf)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def get_last_lr(self) -> list[float]:  # type: ignore[override]
        """The LR of each param group."""
        return [get_lr(group) for group in self.optimizer.param_groups]

    def step(self, metrics: float, epoch: int | None = None) -> Decision:  # type: ignore[override]
        """Take one observation; the LR may change. Returns the decision with its reason.

        Args:
            metrics: The metric, under torch's name.
            epoch: Not used, and warned of: observations are counted here.

        Raises:
            ValueError: If ``metrics`` isn't one number; NaN and infinity are no evidence, but no error.
        """
        try:
            value = float(metrics)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise ValueError(f"metrics must be a number, got {shown(metrics)}") from None
        if epoch is not None:
            warnings.warn(f"PlateauLR counts its observations itself: epoch={shown(epoch)} isn't used", stacklevel=2)
        self._warn_of_others()
        decision = self.last_decision = self._decide(value)
        floors = [*self.min_lrs, *self.min_lrs[-1:] * (len(self.optimizer.param_groups) - len(self.min_lrs))]
        self._writer.apply(decision, [self.optimizer], self.schedulers, floors, self.eps)
        self._left.note_all([self.optimizer])
        if not (self._warned or self.schedulers):
            self._warn_of_schedulers()
        return decision

    def _warn_of_others(self) -> None:
        """An LR that has risen since the last step, where no scheduler is there to raise it."""
        for number, group in enumerate(self.optimizer.param_groups):
            left, now = self._left.moved((0, number), group) or (0.0, 0.0)
            if now > left and lr_factor(group) < 1.0 and "initial_lr" not in group and not self._warned:
                self._warned = True
                warnings.warn(
                    f"PlateauLR left the learning rate at {left:.4g}, and something else has set it to {now:.4g} "
                    "since: unless that multiplies the LR in the param group, the decays are lost",
                    UserWarning,
                    stacklevel=3,
                )

    def _warn_of_schedulers(self) -> None:
        """A torch scheduler leaves its mark in the groups; one that knows of the factor another one beside it."""
        if any("initial_lr" in group and BASE_LR not in group for group in self.optimizer.param_groups):
            self._warned = True
            warnings.warn(
                "PlateauLR: the optimizer has another scheduler, which would take the decays back; "
                "give it: PlateauLR(…, schedulers=[…])",
                UserWarning,
                stacklevel=3,
            )

    def _decide(self, value: float) -> Decision:
        drift = None
        if self._path is not None:
            at = float(self.state.seen + 1)
            if self._path.is_due(at, self.total):
                self._path.add(self._sample(p for group in self.optimizer.param_groups for p in group["params"]), at)
            drift = self._path.drift
        self.state, decision = plateau.observe(self.rule, self.state, value, None, self.total, drift)
        if self._path is not None and decision.action != "keep" and decision.cause != "endgame":
            self._path.clear()
        return decision

    def state_dict(self) -> dict[str, Any]:
        """The rule's state; the LRs themselves are in the optimizer's."""
        path = self._path.state_dict() if self._path is not None else None
        written = self._writer.state_dict()
        own = {"rule": self.rule.name, "state": self.state.to_dict(), "min_lrs": list(self.min_lrs)}
        return {**own, "gate": path, "writer": written}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: If it comes from another rule, or isn't what ``state_dict`` gives.
        """
        saved = Saved("PlateauLR", state_dict, later={"min_lrs": self.min_lrs})
        if saved["rule"] != self.rule.name:
            raise ValueError(f"the state is of rule {shown(saved['rule'])}, this is {self.rule.name!r}")
        state = self.rule.load(saved["state"])
        path = WeightPath.from_state(saved.child("gate")) if saved["gate"] is not None else None
        writer, floors = self._writer.loaded(saved.child("writer")), saved.floats("min_lrs")
        if self._path is not None and path is not None:
            self._path = path
        self.state, self._writer, self.min_lrs = state, writer, floors


def _floors(min_lr: Any, groups: int) -> list[float]:
    if isinstance(min_lr, (str, bytes)) or not isinstance(min_lr, Sequence):
        return [check_number("min_lr", min_lr, 0.0)] * groups
    if len(min_lr) != groups:
        raise ValueError(f"min_lr has {len(min_lr)} values for {groups} param groups: {shown(min_lr)}")
    return [check_number("min_lr", value, 0.0) for value in min_lr]


def _schedulers(schedulers: Any) -> list[Any]:
    listed = isinstance(schedulers, Sequence) and not isinstance(schedulers, (str, bytes))
    if not listed or not all(hasattr(scheduler, "step") for scheduler in schedulers):
        raise ValueError(f"schedulers must be a list of torch schedulers, got {shown(schedulers)}")
    return list(schedulers)
