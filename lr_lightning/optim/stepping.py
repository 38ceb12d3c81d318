"""How a plain loop takes one optimizer step: what its loss is, in which precision, over how many batches."""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lr_lightning.rules.checks import shown

LossFunction = Callable[[nn.Module, Any], Tensor]

_log = logging.getLogger(__name__)
# torch's own losses, functional ones too, name their second argument so; the rest is what people write.
_TARGETS = ("target", "targets", "label", "labels", "y_true")
_MODELS = ("model", "module", "net", "network")


def loss_of_batch(loss: Callable[..., Tensor]) -> LossFunction:
    """``loss(model, batch)``, also from a criterion of output and target; which it is taken for is logged.

    A criterion is a module (``nn.MSELoss()``), or a function whose second argument is named ``target`` or the like
    (``torch.nn.functional.cross_entropy``). Its batches are ``(input, target)``.

    >>> import torch
    >>> loss = loss_of_batch(torch.nn.MSELoss())
    >>> loss(torch.nn.Identity(), (torch.ones(2), torch.zeros(2)))
    tensor(1.)
    """
    if not _is_criterion(loss):
        _log.info("range_test: loss_fn is taken for a function of model and batch")
        return loss
    name = getattr(loss, "__name__", type(loss).__name__)
    _log.info("range_test: %s is taken for a criterion of the model's output and a target", name)

    def of_batch(model: nn.Module, batch: Any) -> Tensor:
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise ValueError(
                f"the criterion {name} takes batches (input, target), got {shown(batch)}: "
                "give a function of model and batch instead"
            )
        return loss(model(batch[0]), batch[1])

    return of_batch


def _is_criterion(loss: Callable[..., Tensor]) -> bool:
    if isinstance(loss, nn.Module):
        return True
    try:
        names = tuple(inspect.signature(loss).parameters)[:2]
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    return len(names) == 2 and names[1] in _TARGETS and names[0] not in _MODELS


def needs_closure(optimizer: Any) -> bool:
    """Whether ``optimizer.step`` can't do without a function that computes the loss anew (LBFGS).

    >>> import torch
    >>> needs_closure(torch.optim.LBFGS([torch.zeros(1)]))
    True
    """
    step = inspect.signature(type(optimizer).step).parameters
    return "closure" in step and step["closure"].default is inspect.Parameter.empty


def climb(optimizer: Any, before: float | None, lr: float) -> None:
    """Take from an optimizer with a closure (LBFGS) what it remembers, where a ladder rises from ``before`` to ``lr``.

    Its steps are scaled by the curvature between the last ones. Those of a ladder's low end are so small that the
    difference between two batches is all that it sees: it would hardly move at any LR that follows.

    Args:
        optimizer: The optimizer, not wrapped.
        before: LR of the step before; None for the first.
        lr: LR of the next step.
    """
    if before is not None and lr > before and needs_closure(optimizer):
        optimizer.state.clear()


@dataclass
class Stepper:
    """One optimizer step on some batches.

    Attributes:
        model: The model.
        optimizer: The optimizer.
        loss_fn: ``loss_fn(model, batch)``.
        scaler: A GradScaler, as in the training to come; None without.
        autocast: Type of the forward pass (``torch.bfloat16``), or None.
        evaluate_on: Validation batches whose mean loss is read in place of the training loss; empty: the training's.
    """

    model: nn.Module
    optimizer: Any
    loss_fn: LossFunction
    scaler: Any = None
    autocast: torch.dtype | None = None
    evaluate_on: Sequence[Any] = ()

    def __call__(self, batches: Sequence[Any]) -> Tensor:
        """Step on the mean loss of ``batches``; the loss before the step, on its device."""
        before = self._validation_loss() if self.evaluate_on else None
        if needs_closure(self.optimizer):
            seen: list[Tensor] = []

            def closure() -> Tensor:
                seen.append(self._backward(batches))
                return seen[-1]

            self.optimizer.step(closure)
            loss = seen[0]
        else:
            loss = self._backward(batches)
            self._apply()
        return loss if before is None else before

    def _backward(self, batches: Sequence[Any]) -> Tensor:
        self.optimizer.zero_grad()
        losses = []
        for batch in batches:
            loss = _scalar(self._loss(batch), trained=True) / len(batches)
            losses.append(loss.detach().clone().reshape(()))
            torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _apply(self) -> None:
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def _loss(self, batch: Any) -> Tensor:
        if self.autocast is None:
            return self.loss_fn(self.model, batch)
        device = next((p.device.type for p in self.model.parameters()), "cpu")
        with torch.autocast(device, self.autocast):
            return self.loss_fn(self.model, batch)

    def _validation_loss(self) -> Tensor:
        with torch.no_grad(), _evaluating(self.model):
            losses = [_scalar(self._loss(batch)).detach().reshape(()) for batch in self.evaluate_on]
        return torch.stack(losses).mean()


def _scalar(loss: Any, trained: bool = False) -> Tensor:
    """The loss, if it is one.

    Raises:
        ValueError: If it is no tensor of one number, or has no gradient where it is trained on.
    """
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else shown(loss)
        raise ValueError(f"loss_fn must return the loss as a tensor of one number, got {found}")
    if trained and not loss.requires_grad:
        raise ValueError("loss_fn returned a loss without a gradient: was it detached, or the model frozen?")
    return loss


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
