"""The weights of the best observation, kept in memory, or found in the best checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor


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
            MisconfigurationException: If weights are sharded over ranks, or no ``ModelCheckpoint`` watches the metric.
        """
        if trainer.strategy.__class__.__name__ in ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy"):
            raise MisconfigurationException(f"restore_best needs whole weights; {trainer.strategy!r} shards them")
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

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.value, self.weights = state["value"], dict(state["weights"])
