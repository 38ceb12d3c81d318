"""The weights of the best observation, kept in memory, or found in the best checkpoint."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lr_lightning.rules.saved import Saved


class BestWeights:
    """Keeps the weights and buffers of the best value so far.

    Args:
        mode: ``"min"`` or ``"max"``.
        source: ``"memory"`` keeps a copy beside the model and in the callback's state; ``"checkpoint"`` keeps none and
            reads ``ModelCheckpoint``'s best file.
        monitor: The metric that the checkpoint must have been chosen by.
    """

    def __init__(self, mode: str, source: str, monitor: str) -> None:
        self.mode, self.source, self.monitor = mode, source, monitor
        self.value: float | None = None
        self.weights: dict[str, Tensor] = {}

    def check(self, trainer: Any) -> None:
        """Refuse what can't be restored, at fit start.

        Raises:
            MisconfigurationException: If weights are sharded over ranks, the metric is of averaged weights that memory
                doesn't keep, or no ``ModelCheckpoint`` watches the metric.
        """
        if trainer.strategy.__class__.__name__ in ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"):
            raise MisconfigurationException(f"restore_best needs whole weights; {trainer.strategy!r} shards them")
        if self.source == "memory" and _averages(trainer):
            raise MisconfigurationException(
                "restore_best='memory' keeps the weights that are trained, but WeightAveraging validates their "
                "average: take restore_best='checkpoint'"
            )
        if self.source == "checkpoint" and self._checkpoint(trainer) is None:
            raise MisconfigurationException(
                f"restore_best='checkpoint' needs a ModelCheckpoint(monitor={self.monitor!r}, mode={self.mode!r})"
            )

    def observe(self, value: float, module: torch.nn.Module) -> None:
        """Keep the weights if the value is the best so far; non-finite ones never are."""
        better = self.value is None or (value < self.value if self.mode == "min" else value > self.value)
        if not torch.isfinite(torch.tensor(value)) or not better:
            return
        self.value = value
        if self.source == "memory":
            self.weights = {key: item.detach().clone() for key, item in module.state_dict().items()}

    def restore(self, trainer: Any, module: torch.nn.Module) -> str:
        """Put the best weights back; says from where, or "" if there are none yet."""
        if self.source == "memory":
            if not self.weights:
                return ""
            module.load_state_dict(self.weights)
            return f"back to the weights of {self.monitor} = {self.value:.6g}"
        checkpoint = self._checkpoint(trainer)
        path = checkpoint.best_model_path if checkpoint is not None else ""
        if not path:
            return ""
        if "://" not in path and not os.path.exists(path):
            return f"no best checkpoint is left at {path}, the weights stay"
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(loaded["state_dict"])
        return f"back to the weights of {path}"

    def _checkpoint(self, trainer: Any) -> ModelCheckpoint | None:
        for callback in trainer.checkpoint_callbacks:
            if (
                isinstance(callback, ModelCheckpoint)
                and callback.monitor == self.monitor
                and callback.mode == self.mode
            ):
                return callback
        return None

    def state_dict(self) -> dict[str, Any]:
        """The best value and its weights."""
        return {"value": self.value, "weights": dict(self.weights)}

    def with_state(self, saved: Saved) -> BestWeights:
        """The same keeper with what ``state_dict`` gave.

        Raises:
            ValueError: If the state is something else.
        """
        weights = saved.child("weights").state
        if not all(isinstance(key, str) and isinstance(item, Tensor) for key, item in weights.items()):
            raise saved.refuse("weights", "tensors by name", weights)
        keeper = BestWeights(self.mode, self.source, self.monitor)
        keeper.value, keeper.weights = saved.optional("value", saved.number), dict(weights)
        return keeper


def _averages(trainer: Any) -> bool:
    """Whether other weights are validated than those that are trained."""
    kind = getattr(lightning_callbacks, "WeightAveraging", None)  # from Lightning 2.6 on
    return kind is not None and any(isinstance(callback, kind) for callback in trainer.callbacks)
