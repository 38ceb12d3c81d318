"""Whether a training step that raised did so because the training had diverged."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lr_lightning.optim.snapshot import local
from lr_lightning.rules.range_test.curve import breaks_off

NOT_OF_VALUES = (LookupError, TypeError, NameError, AttributeError, ImportError, OSError, NotImplementedError)
"""Errors that no check of values raises: a misspelt key, a missing file. Odd values seldom lead to them: an index."""


def largest_weight(optimizers: Sequence[Any]) -> Tensor:
    """The largest weight, on the device: nothing waits for it.

    >>> largest_weight([torch.optim.SGD([torch.tensor([1.0, -3.0])])])
    tensor(3.)
    """
    everything = (local(p.detach()) for o in optimizers for group in o.param_groups for p in group["params"])
    weights = [w for w in everything if w.numel() and (w.is_floating_point() or w.is_complex())]
    # The norm takes no copy as large as the weight.
    largest = [torch.linalg.vector_norm(w, math.inf).float() for w in weights]
    return torch.stack([one.to(largest[0].device) for one in largest]).max() if largest else torch.ones(())


def has_diverged(losses: Sequence[float], before: Tensor, optimizers: Sequence[Any], error: Exception) -> bool:
    """Whether an error is what diverging leads to.

    Args:
        losses: The losses of the series up to the step that raised.
        before: :func:`largest_weight` at the start.
        optimizers: Those that are swept.
        error: What the step raised.
    """
    start, now = float(before), float(largest_weight(optimizers))
    return breaks_off(losses, now / start if start else now, bug=isinstance(error, NOT_OF_VALUES))


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory has run out: no sign of divergence.

    >>> is_out_of_memory(RuntimeError("CUDA error: out of memory")), is_out_of_memory(ValueError("not finite"))
    (True, False)
    """
    words = str(error)
    return isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words
