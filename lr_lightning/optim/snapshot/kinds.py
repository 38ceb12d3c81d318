"""Which types hold state that a training step may change, and which are machinery or plain values."""

import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import re
import sys
import types
import uuid
import weakref
from typing import Any

import numpy as np
import torch

MANY = 1000
"""Containers of more objects than this are data more likely than state; they are looked through last."""

# Values that never change, or that nothing can be put back in.
_PLAIN: tuple[type, ...] = (
    type(None), bool, int, float, complex, str, bytes, range, slice, type(Ellipsis), type(NotImplemented),
    types.ModuleType, types.MethodWrapperType, types.MethodDescriptorType,
    types.GetSetDescriptorType, types.CodeType, types.FrameType, types.TracebackType,
    property, classmethod, staticmethod, memoryview, weakref.ReferenceType,
    enum.Enum, np.generic, np.dtype, torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size,
    decimal.Decimal, fractions.Fraction, pathlib.PurePath, re.Pattern, uuid.UUID,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo,
)  # fmt: skip

# Packages whose objects are machinery, run with the world outside, or hold data. What a user derives from a class of
# theirs (a module, a dataset, a callback) has the user's package.
_MACHINERY = frozenset((
    "lightning", "pytorch_lightning", "lightning_fabric", "deepspeed", "accelerate",
    "numpy", "pandas", "polars", "pyarrow", "datasets", "h5py", "zarr", "lmdb", "PIL", "cv2",
    "matplotlib", "plotly", "tensorboard", "tensorflow", "wandb", "mlflow", "neptune", "comet_ml", "aim", "ray",
    "logging", "threading", "_thread", "concurrent", "asyncio", "multiprocessing", "selectors", "ssl", "http", "urllib",
    "importlib", "inspect", "ctypes", "warnings", "traceback", "abc", "typing", "contextvars", "tqdm", "rich",
))  # fmt: skip
_FOLLOWED_IN_TORCH = (
    "torch.nn", "torch.optim", "torch.utils.data", "torch.amp", "torch.cuda.amp", "torch.ao", "torch.distributions",
    "torch.utils.hooks", "torch.utils.checkpoint",
)  # fmt: skip
_WRAPPERS = (
    "torch.nn.parallel", "torch.distributed", "torch._dynamo", "deepspeed", "lightning_fabric",
    "lightning.fabric", "lightning.pytorch.overrides", "lightning.pytorch.strategies",
)  # fmt: skip


def is_plain(cls: type) -> bool:
    """Whether objects of this type hold no state."""
    return issubclass(cls, _PLAIN) and not (issubclass(cls, enum.Enum) and is_users(cls.__module__))


def is_machinery(name: str | None) -> bool:
    """Whether a package's objects aren't followed.

    >>> is_machinery("torch.nn.modules.linear"), is_machinery("torch.distributed.fsdp"), is_machinery("my.project")
    (False, True, False)
    """
    package = (name or "builtins").split(".")[0]
    if package == "lr_lightning":  # its schedulers hold state, its callbacks are a trainer's
        return str(name).startswith("lr_lightning.callbacks")
    if package == "torch":
        return not str(name).startswith(_FOLLOWED_IN_TORCH)
    return package in _MACHINERY


@functools.cache
def is_users(name: str | None) -> bool:
    """Whether a module is the user's own code: neither installed nor of the standard library.

    >>> is_users("torch.nn"), is_users("collections"), is_users("lr_lightning.optim")
    (False, False, False)
    """
    package = (name or "builtins").split(".")[0]
    if package in sys.stdlib_module_names or package in ("torch", "lr_lightning", *_MACHINERY):
        return False
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    if file is None:
        return package == "__main__"  # a notebook
    return not {"site-packages", "dist-packages"} & set(pathlib.PurePath(file).parts)


def is_wrapper(module: torch.nn.Module) -> bool:
    """Whether a module only wraps another for a strategy or a compiler, which keep books in its attributes."""
    return _is_wrappers(type(module).__module__)


def is_wrappers_hook(hook: Any) -> bool:
    """Whether a module's hook is a strategy's or a compiler's own."""
    hook = getattr(hook, "hook", hook)  # torch wraps some
    while isinstance(hook, functools.partial):
        hook = hook.func
    return _is_wrappers(getattr(hook, "__module__", None) or "")


def _is_wrappers(name: str) -> bool:
    return any(name == wrapper or name.startswith(f"{wrapper}.") for wrapper in _WRAPPERS)


def slots_of(cls: type) -> tuple[Any, ...]:
    """Descriptors of what Python classes keep in ``__slots__``."""
    found = {}
    for base in cls.__mro__:
        if "__slots__" in vars(base):
            found.update({k: v for k, v in vars(base).items() if isinstance(v, types.MemberDescriptorType)})
    return tuple(found.values())
