"""What the whole process has one of: random numbers, and settings that a step may change."""

import contextlib
import gc
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from lr_lightning.optim.rng import Restore, rng_state


def _set_anomaly(modes: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(*modes)


def _set_deterministic(modes: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])


def _cudnn() -> tuple[Any, ...]:
    return tuple(getattr(torch.backends.cudnn, name) for name in _CUDNN)


def _set_cudnn(values: tuple[Any, ...]) -> None:
    for name, value in zip(_CUDNN, values, strict=True):
        setattr(torch.backends.cudnn, name, value)


_CUDNN = ("benchmark", "deterministic", "allow_tf32")
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()), _set_anomaly),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_deterministic,
    ),
    (_cudnn, _set_cudnn),
    (np.geterr, lambda modes: np.seterr(**modes)),
    (os.getcwd, os.chdir),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
)
"""How each is read and set."""


def process_state() -> Restore:
    """Remember random numbers and settings; the returned function puts back those that have changed."""
    put_random_numbers_back = rng_state()
    settings = []
    for read, write in _SETTINGS:
        with contextlib.suppress(Exception):  # a working directory that is gone; torch's newer switches in the mix
            settings.append((read, write, read()))

    def put_back() -> None:
        for read, write, value in settings:
            with contextlib.suppress(Exception):
                if read() != value:
                    write(value)
        put_random_numbers_back()

    return put_back
