"""Samples a few weights now and then, to tell whether they move on: :mod:`lr_lightning.rules.plateau.motion` judges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from lr_lightning.rules.plateau import motion as rule
from lr_lightning.rules.plateau.motion import Drift
from lr_lightning.rules.saved import Saved

MOST_WEIGHTS = 4096
_SEED = 20070534

Reduce = Callable[[Tensor], Tensor]


class WeightPath:
    """Snapshots of the same few weights since the last cut, at most 24 of them, on the host.

    Attributes:
        positions: Where they were taken, oldest first.
        spacing: Least distance to the next one.
        drift: What they tell.
    """

    def __init__(self) -> None:
        self.positions: list[float] = []
        self.spacing = 0.0
        self.drift = Drift()
        self._snapshots: list[Tensor] = []

    def is_due(self, at: float, horizon: float | None = None) -> bool:
        """Whether to sample at this observation."""
        return rule.is_due(self.positions, self.spacing, at, horizon)

    def add(self, weights: Tensor, at: float, reduce: Reduce | None = None) -> Drift:
        """Take a sample in.

        Args:
            weights: The same weights as before, in one dimension.
            at: The observation's position.
            reduce: Sums a tensor of three numbers over ranks.
        """
        fits = not self._snapshots or self._snapshots[-1].shape == weights.shape
        chosen = rule.triples(len(self._join(weights, at))) if fits else []
        sums = self._distances(chosen) if chosen else torch.zeros(2, dtype=torch.float64)
        if reduce is not None:
            # Every rank takes part at every sample, and all start anew where one has to.
            *both, misfits = reduce(torch.cat([sums, torch.tensor([0.0 if fits else 1.0], dtype=sums.dtype)])).tolist()
            sums, fits = torch.tensor(both), misfits == 0
        if not fits:
            self.clear()
            self._join(weights, at)
        elif chosen:
            far, near = sums.tolist()
            self.drift = Drift(rule.ratio_of(far, near))
        return self.drift

    def _join(self, weights: Tensor, at: float) -> list[float]:
        self.positions.append(at)
        self._snapshots.append(weights)
        if len(self.positions) >= rule.MOST_SAMPLES:
            self.spacing = rule.thinned_spacing(self.positions)
            self.positions, self._snapshots = self.positions[1::2], self._snapshots[1::2]
        return self.positions

    def _distances(self, chosen: list[tuple[int, int, int]]) -> Tensor:
        stack = torch.stack(self._snapshots)
        new, mid, old = (stack[list(part)] for part in zip(*chosen, strict=True))
        near = (new - mid).square().sum(dtype=torch.float64) + (mid - old).square().sum(dtype=torch.float64)
        return torch.stack([(new - old).square().sum(dtype=torch.float64), near])

    def clear(self) -> None:
        """Start anew: the LR was cut."""
        vars(self).update(vars(WeightPath()))

    def state_dict(self) -> dict[str, Any]:
        """Numbers, and the snapshots as one tensor."""
        return {
            "positions": list(self.positions),
            "spacing": self.spacing,
            "ratio": self.drift.ratio,
            "snapshots": torch.stack(self._snapshots) if self._snapshots else torch.zeros(0, 0),
        }

    @classmethod
    def from_state(cls, saved: Saved) -> WeightPath:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: If the state is something else.
        """
        path, snapshots = cls(), saved["snapshots"]
        path.positions, path.spacing = saved.floats("positions"), saved.number("spacing", 0.0)
        ratio = None if saved["ratio"] is None else Saved(saved.owner, {"ratio": [saved["ratio"]]}).floats("ratio")[0]
        path.drift = Drift(ratio)
        count = len(path.positions)
        if not all(map(math.isfinite, path.positions)):
            raise saved.refuse("positions", "finite numbers", path.positions)
        fits = isinstance(snapshots, Tensor) and snapshots.dim() == 2 and snapshots.is_floating_point()
        if not fits or len(snapshots) != count or count >= rule.MOST_SAMPLES or snapshots.shape[1] > MOST_WEIGHTS:
            raise saved.refuse("snapshots", f"a tensor of {count} rows", snapshots)
        path._snapshots = list(snapshots.cpu().clone())
        return path


class WeightSampler:
    """Reads the same few weights, at most 4096 of all, from wherever they are: one gather and one copy to the host.

    The choice depends on nothing but the parameters' sizes. Of sharded parameters each rank reads its own part.
    """

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._most = MOST_WEIGHTS
        self._places: list[Tensor | None] = []

    def __call__(self, parameters: Iterable[Tensor], most: int = MOST_WEIGHTS) -> Tensor:
        """The weights, at most ``most``, in one dimension, on the host."""
        return self.on_device(parameters, None, most).cpu()

    def on_device(
        self, parameters: Iterable[Tensor], of: Callable[[Tensor], Tensor] | None = None, most: int = MOST_WEIGHTS
    ) -> Tensor:
        """The weights, or of each parameter what ``of`` gives in its shape, on the device of the first."""
        trained = [p for p in parameters if p.requires_grad]
        parts = [_local(p if of is None else of(p)) for p in trained]
        if (sizes := [part.numel() for part in parts]) != self._sizes or most != self._most:
            self._choose(sizes, most)
        pieces = []
        for i, (part, place) in enumerate(zip(parts, self._places, strict=True)):
            if place is None:
                continue
            if place.device != part.device:
                self._places[i] = place = place.to(part.device)
            piece = torch.take(part, place)
            pieces.append(piece if piece.dtype == torch.float64 else piece.float())
        if not pieces:
            return torch.zeros(0)
        device = pieces[0].device
        return torch.cat([piece.to(device) for piece in pieces])

    def _choose(self, sizes: list[int], most: int) -> None:
        total = sum(sizes)
        if total <= most:
            flat = torch.arange(total)
        else:
            chosen = torch.randint(total, (most,), generator=torch.Generator().manual_seed(_SEED))
            flat = chosen.sort().values
        ends = torch.tensor(sizes, dtype=torch.long).cumsum(0)
        owner = torch.searchsorted(ends, flat, right=True)
        self._places = []
        for i, size in enumerate(sizes):
            mine = flat[owner == i] - (int(ends[i]) - size)
            self._places.append(mine if len(mine) else None)
        self._sizes, self._most = sizes, most


def _local(parameter: Tensor) -> Tensor:
    """This rank's part of a parameter, as real numbers."""
    local: Tensor = getattr(parameter, "ds_tensor", parameter).detach()  # DeepSpeed's ZeRO 3
    if hasattr(local, "to_local"):
        local = local.to_local()
    return torch.view_as_real(local) if local.is_complex() else local
