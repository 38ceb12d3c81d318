"""The command's optimizer for a module that makes its own: built over the same param groups and LRs in its place."""

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
from torch.optim import Optimizer

from lr_lightning.cli.given import Refused


def with_optimizer(module: L.LightningModule, build: Callable[..., Optimizer], chosen: str) -> None:
    """Let a module's ``configure_optimizers`` give the optimizer that the command was asked for.

    The module's own is still made: its param groups and their LRs are taken over, its other settings aren't. A shallow
    copy of the module behaves alike, since the class is derived, not the object's attribute set.

    Args:
        module: The module; its class is changed to one derived from it.
        build: Makes the optimizer from param groups and ``lr``.
        chosen: What the user said, for messages.

    Raises:
        Refused: When the optimizers are made, if the module gives anything but one optimizer without a scheduler.
    """
    kind = type(module)

    def configure_optimizers(self: Any) -> Optimizer:
        own = kind.configure_optimizers(self)
        own = own.get("optimizer") if isinstance(own, dict) and set(own) == {"optimizer"} else own
        if not isinstance(own, Optimizer):
            raise Refused(
                f"{kind.__name__} takes no 'optimizer' and makes more than one optimizer, or a scheduler with it, so "
                f"{chosen} can't take its place: give its __init__ an argument optimizer, to be called with "
                "parameters and lr, or leave the setting out"
            )
        return _over(own, build)

    module.__class__ = type(
        kind.__name__,
        (kind,),
        {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "configure_optimizers": configure_optimizers,
        },
    )


def _over(own: Optimizer, build: Callable[..., Optimizer]) -> Optimizer:
    if isinstance(build, partial) and "lr" in build.keywords:  # the user gave one LR for all
        made: Optimizer = build([{"params": group["params"]} for group in own.param_groups])
    else:
        groups = [{key: group[key] for key in ("params", "lr", "name") if key in group} for group in own.param_groups]
        made = build(groups, lr=groups[0]["lr"])
    return made
