"""Snapshot and restore for plain PyTorch: model, optimizer, random numbers and loader, bit by bit."""

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_GENERATOR_OWNERS = ("sampler", "batch_sampler", "batch_sampler.sampler")


class Snapshot:
    """Everything that a range test touches. Tensors go back in place, so that references elsewhere stay valid."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, loader: Any) -> None:
        self.model, self.optimizer = model, optimizer
        self._modes = [(module, module.training) for module in model.modules()]
        self._grads = [(p, None if p.grad is None else p.grad.detach().clone()) for p in _parameters(model, optimizer)]
        self._tensors = [(t, t.detach().clone()) for t in _tensors(model, optimizer)]
        self._groups = [{k: _copy(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        self._state = {p: {k: _copy(v) for k, v in s.items()} for p, s in optimizer.state.items()}
        self._generators = [(g, g.get_state()) for g in _generators(loader)]
        self._python, self._numpy, self._torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None

    @torch.no_grad()
    def restore_training(self) -> None:
        """Weights, buffers, gradients, optimizer and random numbers as they were; leaves the loader alone."""
        for tensor, value in self._tensors:
            tensor.copy_(value)
        for parameter, grad in self._grads:
            parameter.grad = None if grad is None else grad.clone()
        for group, saved in zip(self.optimizer.param_groups, self._groups, strict=True):
            self._restore_group(group, saved)
        self.optimizer.state.clear()
        self.optimizer.state.update({p: {k: _copy(v) for k, v in s.items()} for p, s in self._state.items()})
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)

    def restore(self) -> None:
        """Everything, modules' modes and the loader's generators included."""
        self.restore_training()
        for module, mode in self._modes:
            module.training = mode
        for generator, state in self._generators:
            generator.set_state(state)

    @staticmethod
    def _restore_group(group: dict[str, Any], saved: dict[str, Any]) -> None:
        from lr_lightning.param_groups import set_lr

        for key in [key for key in group if key != "params" and key not in saved]:
            del group[key]
        for key, value in saved.items():
            if key == "lr":
                set_lr(group, float(value))
            else:
                group[key] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copy(item) for item in value)
    return value


def _parameters(model: nn.Module, optimizer: Optimizer) -> list[nn.Parameter]:
    own = {id(p): p for p in model.parameters()}
    own.update({id(p): p for group in optimizer.param_groups for p in group["params"]})
    return list(own.values())


def _tensors(model: nn.Module, optimizer: Optimizer) -> Iterable[Tensor]:
    """Parameters and all buffers, the non-persistent ones too."""
    yield from _parameters(model, optimizer)
    yield from model.buffers()


def _generators(loader: Any) -> list[torch.Generator]:
    found = {}
    for path in ("", *_GENERATOR_OWNERS):
        owner = loader
        for name in filter(None, path.split(".")):
            owner = getattr(owner, name, None)
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            found[id(generator)] = generator
    return list(found.values())
