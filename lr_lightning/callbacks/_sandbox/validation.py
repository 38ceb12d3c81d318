"""The validation loss of the weights inside of a sandbox, on Lightning's path for validation batches."""

import inspect
from typing import Any

import torch

from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox.data import twin
from lr_lightning.callbacks._sandbox.sandbox import Sandbox
from lr_lightning.optim.batches import can_copy, copy_batch

_call_strategy_hook = _internals.find("lightning.pytorch.trainer.call._call_strategy_hook")


class Validation:
    """Mean validation loss of the running weights on a few fixed batches.

    Args:
        box: The running sandbox.
        num_batches: How many of the first validation batches are used; with several loaders their batches in order.

    Raises:
        ValueError: If there are no validation data.
    """

    def __init__(self, box: Sandbox, num_batches: int) -> None:
        if box.val_loader is None:
            raise ValueError('evaluate="val" needs a val_dataloader; this fit has none')
        self._trainer = box.trainer
        self._batches: list[tuple[Any, int, int]] = []  # with its number in its loader, and its loader's number
        for number, loader in enumerate(box.val_loader.flattened):
            for index, batch in enumerate(twin(loader, isolate_data=False)):
                if len(self._batches) == num_batches:
                    break
                self._batches.append((batch, index, number))
        if not self._batches:
            raise ValueError('evaluate="val" needs at least one validation batch; the val_dataloader gave none')
        self._copy = copy_batch if all(can_copy(batch) for batch, _, _ in self._batches) else lambda batch: batch
        wanted = inspect.signature(self._trainer.lightning_module.validation_step).parameters
        kinds = [p.kind for p in wanted.values()]
        self._takes = 3 if inspect.Parameter.VAR_POSITIONAL in kinds else len(wanted)
        self._several = len(box.val_loader.flattened) > 1

    @torch.no_grad()
    def __call__(self) -> list[tuple[torch.Tensor, Any]]:
        """Each batch's loss with the batch, in evaluation mode; the modules' modes come back.

        Raises:
            ValueError: If ``validation_step`` doesn't return its loss.
        """
        trainer, module = self._trainer, self._trainer.lightning_module
        modes = [(m, m.training) for m in module.modules()]
        trainer.validating = True
        module.eval()
        try:
            return [(self._loss(self._copy(batch), index, number), batch) for batch, index, number in self._batches]
        finally:
            trainer.training = True
            for submodule, mode in modes:
                submodule.training = mode

    def _loss(self, batch: Any, index: int, number: int) -> torch.Tensor:
        trainer = self._trainer
        batch = trainer.precision_plugin.convert_input(batch)
        batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=number)
        batch = _call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=number)
        assert trainer._results is not None
        trainer._results.batch = batch
        given = (batch, index, number)[: self._takes if self._several else min(self._takes, 2)]
        output = _call_strategy_hook(trainer, "validation_step", *given)
        loss = output.get("loss") if isinstance(output, dict) else output
        if not isinstance(loss, torch.Tensor):
            raise ValueError(
                f'evaluate="val" reads the loss that validation_step returns; it returned {type(output).__name__}'
            )
        return loss.detach().mean()
