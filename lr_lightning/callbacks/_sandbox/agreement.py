"""Whether all ranks have raised in the same step, asked without a collective."""

import json
import time
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Trainer
from torch.nn.parallel import DistributedDataParallel

LEAST_WAIT = 5.0
"""Seconds that a rank which raised waits at least for the others to raise too. They have read the last window's losses
together, so none is further behind than one window takes; a choice."""

_asked = 0


def all_raised(trainer: Trainer, window: float) -> bool:
    """Whether every rank calls this for the same step, and nothing that they have begun together is left over.

    A rank that doesn't raise waits in its backward for the one that did: no collective could tell it. So the ranks that
    raised tell it in the store that the process group met in, and wait there for a bounded time. All have then passed
    the same collectives, if their counts are the same: of a backward that broke off, one may have begun more of them
    than another.

    Not for FSDP1 and DeepSpeed: the step runs inside of their wrappers' forward, which can't be taken up again.

    Args:
        trainer: The fitting trainer.
        window: Seconds since the ranks have last waited for each other.
    """
    global _asked
    strategy = trainer.strategy
    if not (isinstance(strategy.model, DistributedDataParallel) or strategy.model is strategy.lightning_module):
        return False
    _asked += 1
    keys = [f"lr_lightning/raised/{_asked}/{rank}" for rank in range(trainer.world_size)]
    try:
        store: Any = dist.distributed_c10d._get_default_store()
        store.set(keys[trainer.global_rank], json.dumps(_collectives()))
        until = time.monotonic() + max(LEAST_WAIT, 3 * window)
        while not store.check(keys):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return len({store.get(key) for key in keys}) == 1
    except (RuntimeError, AttributeError):  # the store has gone; a release without these names
        return False


def _collectives() -> list[int]:
    """How many collectives this rank has begun in each of its groups."""
    return [group._get_sequence_number_for_group() for group in dist.distributed_c10d._world.pg_map]
