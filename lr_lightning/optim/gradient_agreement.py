"""Compares gradients some steps apart, on the device: :mod:`lr_lightning.rules.plateau.gradients` judges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lr_lightning.optim import param_groups
from lr_lightning.optim.motion import MOST_WEIGHTS, WeightSampler
from lr_lightning.rules.plateau import gradients as rule
from lr_lightning.rules.plateau.gradients import Agreement, Chunk
from lr_lightning.rules.saved import Saved

Reduce = Callable[[Tensor], Tensor]


class GradientPath:
    """How much an optimizer's gradients agree, from pairs of them, 11 steps apart (more for a momentum above .9).

    Of each gradient at most 4096 coordinates are taken, the same ones that the drift of the weights is told from. One
    gradient is kept; between two of them a step adds 1 to a counter, and nothing is read from the device until
    :meth:`read`. Pairs of which one isn't finite don't count.

    Attributes:
        chunks: What was read in this stage.
        agreement: What it says; None: too few pairs.
    """

    def __init__(self) -> None:
        self.chunks: tuple[Chunk, ...] = ()
        self.agreement: Agreement | None = None
        self._optimizers: list[_Last] = []
        self._sums: Tensor | None = None
        self._fresh = 0

    def step(self, optimizer: Any, place: int = 0, scale: Callable[[], Tensor] | None = None) -> None:
        """Just before a step of the optimizer: take its gradient in, if one is due.

        Args:
            optimizer: A torch optimizer whose parameters have their gradients.
            place: Tells several optimizers apart.
            scale: By what the gradients are multiplied, where they aren't unscaled yet.
        """
        while len(self._optimizers) <= place:
            self._optimizers.append(_Last())
        last = self._optimizers[place]
        last.waited += 1
        if last.waited < last.spacing:
            return
        last.waited = 0
        last.spacing = rule.spacing(max((param_groups.momentum(g) for g in optimizer.param_groups), default=0.0))
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        gradient = last.sample.on_device(parameters, _gradient)
        self._pair(last, gradient if scale is None else gradient / scale().to(gradient.device))

    def _pair(self, last: _Last, gradient: Tensor) -> None:
        square = gradient.square().sum()
        held = last.gradient
        if held is None or held.shape != gradient.shape:
            last.gradient = gradient
            return
        if held.device != gradient.device:
            held = held.to(gradient.device)
        x = (gradient * held).sum() / square
        found = torch.stack([torch.ones_like(x), x, x * x, square.sqrt()]).float()
        found = torch.where(torch.isfinite(found).all(), found, torch.zeros_like(found))
        if self._sums is None:
            self._sums = torch.zeros_like(found)
        elif self._sums.device != found.device:
            self._sums = self._sums.to(found.device)
        self._sums += found
        last.gradient = torch.where(torch.isfinite(square), gradient, held)
        self._fresh += 1

    def read(self, reduce: Reduce | None = None) -> Agreement | None:
        """What the stage's gradients say: one read from the device if there are new pairs.

        Args:
            reduce: Averages a small tensor over ranks.
        """
        if self._fresh and self._sums is not None:
            count, total, squares, norms = (self._sums if reduce is None else reduce(self._sums)).tolist()
            if count > 0:
                self.chunks = rule.added(self.chunks, (count, total, squares, norms))
                self.agreement = rule.newest(self.chunks)
            self._sums, self._fresh = None, 0
        return self.agreement

    def clear(self) -> None:
        """Start anew: LR or momentum was changed."""
        self.chunks, self.agreement, self._sums, self._fresh = (), None, None, 0

    def state_dict(self, gradients: bool = True) -> dict[str, Any]:
        """Plain numbers, and the gradients kept as tensors, unless they are other ones on every rank."""
        return {
            "chunks": [list(chunk) for chunk in self.chunks],
            "sums": [] if self._sums is None else self._sums.tolist(),
            "fresh": self._fresh,
            "waited": [last.waited for last in self._optimizers],
            "spacing": [last.spacing for last in self._optimizers],
            "gradients": [last.saved(gradients) for last in self._optimizers],
        }

    @classmethod
    def from_state(cls, saved: Saved) -> GradientPath:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: If the state is something else.
        """
        path, sums, gradients = cls(), saved.floats("sums"), saved.items("gradients")
        path.chunks = tuple(_chunk(saved, item) for item in saved.items("chunks"))
        if len(path.chunks) >= rule.MOST_CHUNKS:
            raise saved.refuse("chunks", f"fewer than {rule.MOST_CHUNKS}", path.chunks)
        path.agreement = rule.newest(path.chunks) if path.chunks else None
        if len(sums) not in (0, 4) or not all(map(math.isfinite, sums)):
            raise saved.refuse("sums", "four finite numbers, or none", sums)
        path._sums, path._fresh = (torch.tensor(sums) if sums else None), saved.count("fresh")
        waited, spacing = saved.counts("waited"), saved.counts("spacing", 1)
        if not len(waited) == len(spacing) == len(gradients):
            raise saved.refuse("gradients", f"{len(waited)} tensors", gradients)
        for waits, spaces, gradient in zip(waited, spacing, gradients, strict=True):
            fits = isinstance(gradient, Tensor) and gradient.dim() == 1 and gradient.is_floating_point()
            if gradient is not None and not (fits and len(gradient) <= MOST_WEIGHTS):
                raise saved.refuse("gradients", f"tensors of at most {MOST_WEIGHTS} numbers, or None", gradient)
            path._optimizers.append(_Last(waits, spaces, None if gradient is None else gradient.clone()))
        return path


class _Last:
    """An optimizer's newest gradient taken, and the steps since."""

    def __init__(self, waited: int = 0, spacing: int = rule.LEAST_SPACING, gradient: Tensor | None = None) -> None:
        self.waited, self.spacing, self.gradient = waited, spacing, gradient
        self.sample = WeightSampler()

    def saved(self, whole: bool) -> Tensor | None:
        return None if self.gradient is None or not whole else self.gradient.cpu()


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    return parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad


def _chunk(saved: Saved, item: object) -> Chunk:
    read = Saved(saved.owner, {"chunk": item}).floats("chunk")
    if len(read) != 4 or not all(map(math.isfinite, read)) or read[0] <= 0:
        raise saved.refuse("chunks", "four finite numbers each", item)
    return read[0], read[1], read[2], read[3]
