"""Random number generators: the process's own, and those that objects hold."""

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Restore = Callable[[], Any]

GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)


def generator_state(generator: Any) -> tuple[Any, Callable[[Any], Any]]:
    """A generator's state now, and the function that takes such a state.

    Raises:
        NotImplementedError: If it has none (``random.SystemRandom``).
    """
    if isinstance(generator, random.Random):
        return generator.getstate(), generator.setstate
    if isinstance(generator, (torch.Generator, np.random.RandomState)):
        return generator.get_state(), generator.set_state
    bits: Any = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    return copy.deepcopy(bits.state), lambda state: setattr(bits, "state", state)


def rng_state() -> Restore:
    """Remember the global RNGs of torch (all devices), numpy and Python; the returned function puts them back."""
    cpu, python, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    def put_back() -> None:
        torch.set_rng_state(cpu)
        random.setstate(python)
        np.random.set_state(numpy_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return put_back
