"""Where PlateauDecay's values come from: fresh metrics, and the training loss, collected on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lr_lightning.callbacks._sandbox import metrics
from lr_lightning.rules.checks import MOST_STEPS
from lr_lightning.rules.saved import Saved

LOSS_NAMES = ("train_loss", "loss")


class LossWindow:
    """The training losses of the newest optimizer steps, on the device, read by the host once a window.

    A micro-batch costs one in-place addition into a preallocated tensor: no host sync and no collective a step.

    Args:
        size: Steps a window.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.sums: Tensor | None = None
        self.counts: list[int] = []
        self._open = False

    def add(self, loss: Tensor, scale: float = 1.0, ends_step: bool = True) -> None:
        """Add a micro-batch's loss; ``scale`` undoes a division by the number of micro-batches."""
        loss = loss.detach()
        if self.sums is None or self.sums.device != loss.device:
            kind = torch.float64 if loss.dtype == torch.float64 else torch.float32
            held = [] if self.sums is None else self.sums.tolist()
            self.sums = torch.zeros(self.size, dtype=kind, device=loss.device)
            self.sums[: len(held)] = torch.tensor(held, dtype=kind)
        if not self._open:
            self.counts.append(0)
        self.sums[len(self.counts) - 1].add_(loss.mean() if loss.dim() else loss, alpha=scale)
        self.counts[-1] += 1
        self._open = not ends_step

    def end_step(self) -> None:
        """Close a step whose last micro-batch gave no loss."""
        self._open = False

    @property
    def full(self) -> bool:
        """Whether the window is complete."""
        return len(self.counts) == self.size and not self._open

    def means(self, strategy: Any) -> list[float]:
        """Mean loss of every step so far, averaged over ranks: one collective and one read."""
        if self.sums is None or not self.counts:
            return []
        used = len(self.counts)
        means = self.sums[:used] / torch.tensor(self.counts, dtype=self.sums.dtype, device=self.sums.device)
        return [float(x) for x in strategy.reduce(means, reduce_op="mean").tolist()]

    def clear(self) -> None:
        """Start the next window."""
        self.counts = []
        if self.sums is not None:
            self.sums.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts as plain numbers."""
        sums = [] if self.sums is None else self.sums[: len(self.counts)].tolist()
        double = self.sums is not None and self.sums.dtype == torch.float64
        return {"size": self.size, "sums": sums, "counts": list(self.counts), "open": self._open, "double": double}

    @classmethod
    def from_state(cls, saved: Saved) -> LossWindow:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: If the state is something else.
        """
        size, sums, counts = saved.count("size", 1), saved.floats("sums"), saved.counts("counts")
        if size > MOST_STEPS or len(counts) > size or len(sums) > size:
            raise saved.refuse("size", f"a window of at most {MOST_STEPS} steps that holds its sums", size)
        window = cls(size)
        window.counts, window._open = counts, saved.flag("open")
        window.sums = torch.zeros(size, dtype=torch.float64 if saved.flag("double") else torch.float32)
        window.sums[: len(sums)] = torch.tensor(sums, dtype=window.sums.dtype)
        return window


class TrainLosses:
    """The mean training loss between observations, the newest 16, for the diagnosis: summed up on the device."""

    def __init__(self) -> None:
        self.means: list[float] = []
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, loss: Tensor | None, scale: float) -> None:
        """Add a batch's loss, if there is one: one in-place addition."""
        if loss is None:
            return
        loss = loss.detach()
        if self._sum is None or self._sum.device != loss.device:
            held = 0.0 if self._sum is None else float(self._sum)
            self._sum = torch.full((), held, dtype=torch.float32, device=loss.device)
        self._sum.add_(loss.mean() if loss.dim() else loss, alpha=scale)
        self._count += 1

    def close(self, strategy: Any) -> None:
        """Read the mean since the last observation, over all ranks; each takes part, whether it had a loss or not."""
        total = torch.zeros(()) if self._sum is None else self._sum
        pair = torch.stack([total, torch.full_like(total, self._count)]).to(strategy.root_device)
        total, count = strategy.reduce(pair, reduce_op="sum").tolist()
        if count:
            self.means = [*self.means, total / count][-16:]
        self._sum, self._count = None, 0

    def state_dict(self) -> dict[str, Any]:
        """The means and the running sum."""
        return {"means": list(self.means), "sum": 0.0 if self._sum is None else float(self._sum), "count": self._count}

    @classmethod
    def from_state(cls, saved: Saved) -> TrainLosses:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: If the state is something else.
        """
        losses = cls()
        losses.means, losses._count = saved.floats("means"), saved.count("count")
        (held,) = Saved(saved.owner, {"sum": [saved["sum"]]}).floats("sum")
        losses._sum = torch.tensor(held) if losses._count else None
        return losses


class Value:
    """What is observed, each value once: the loss that is trained on, or a metric of steps or of epochs.

    A metric that is logged now and then keeps its storage until it is logged again.

    Args:
        monitor: The metric; with ``interval="step"`` one of ``LOSS_NAMES`` is the loss.
    """

    def __init__(self, monitor: str) -> None:
        self._monitor = monitor
        self._last: Any = None

    def of_step(self, trainer: Any, outputs: Any) -> tuple[Tensor | None, float]:
        """The value that this batch gave, if it did, and what undoes a division by the number of micro-batches."""
        if self._monitor in LOSS_NAMES:
            # Lightning has divided the loss by the number of micro-batches.
            return loss_of(outputs), float(trainer.accumulate_grad_batches)
        return self._take(metrics.step_metrics(trainer).get(self._monitor)), 1.0

    def of_epoch(self, trainer: Any) -> Any:
        """The metric's value if it has been logged anew, else None."""
        return self._take(metrics.epoch_metrics(trainer).get(self._monitor))

    def waiting(self, trainer: Any) -> Any:
        """The same, without taking it."""
        value = metrics.epoch_metrics(trainer).get(self._monitor)
        return None if value is None or self._seen(value) else value

    def _take(self, value: Any) -> Any:
        if value is None or self._seen(value):
            return None
        self._last = value
        return value

    def _seen(self, value: Any) -> bool:
        both = isinstance(value, Tensor) and isinstance(self._last, Tensor)
        return value.data_ptr() == self._last.data_ptr() if both else value is self._last


def loss_of(outputs: Any) -> Tensor | None:
    """The loss in what ``on_train_batch_end`` is given, if there is one."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return loss if isinstance(loss, Tensor) else None


def reduced(trainer: Any, value: Any) -> float:
    """``value`` averaged over ranks, so that metrics logged without ``sync_dist`` give every rank the same number."""
    number = float(value.mean() if isinstance(value, Tensor) else value)
    if trainer.world_size == 1:
        return number
    kind = torch.float32 if trainer.strategy.root_device.type == "mps" else torch.float64
    tensor = torch.tensor(number, device=trainer.strategy.root_device, dtype=kind)
    return float(trainer.strategy.reduce(tensor, reduce_op="mean"))


def reading_interval(end: float | None, accumulate: int) -> int:
    """Steps between two reads from the device: 1/200 of a run of ``end`` batches, at most 64, 32 where it is open."""
    return 32 if end is None else max(1, min(64, int(end / accumulate / 200)))
