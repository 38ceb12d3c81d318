"""All schedulers of a fit: those that Lightning was told of, and those that a module steps by itself."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lr_lightning.callbacks._marks import put_back
from lr_lightning.callbacks._traces import MACHINERY
from lr_lightning.optim import foreign
from lr_lightning.optim.foreign import is_scheduler
from lr_lightning.optim.left import LRsLeft
from lr_lightning.optim.schedulers import absolute_ends, flat, schedulers_of
from lr_lightning.optim.snapshot import reachable

_T = TypeVar("_T")


_memo: list[list[Any]] | None = None  # of the run under way


def searched_once(run: Callable[..., _T]) -> Callable[..., _T]:
    """Search for schedulers once in a call: a search goes through all that the module holds."""

    @functools.wraps(run)
    def wrapper(*args: Any, **kwargs: Any) -> _T:
        global _memo
        _memo = []
        try:
            return run(*args, **kwargs)
        finally:
            _memo = None

    return wrapper


def all_schedulers(trainer: Trainer) -> list[Any]:
    """Schedulers of the trainer's optimizers: Lightning's first, then others that module or datamodule hold."""
    if _memo:
        return list(_memo[0])
    found = _search(trainer)
    if _memo is not None:
        _memo.append(found)
    return list(found)


def _search(trainer: Trainer) -> list[Any]:
    configured = [config.scheduler for config in trainer.lr_scheduler_configs]
    roots = {"module": trainer.lightning_module, "datamodule": getattr(trainer, "datamodule", None)}
    held = [value for value in reachable(roots, MACHINERY) if is_scheduler(value, trainer.optimizers)]
    nested = {id(inner) for one in (*configured, *held) for inner in flat(getattr(one, "_schedulers", ()))}
    known = nested | set(map(id, configured))
    return configured + [one for one in held if id(one) not in known]


@contextlib.contextmanager
def ends_told(owner: str, schedulers: Sequence[Any]) -> Iterator[None]:
    """Say which floors and ends of schedulers a change of the LR within the block has scaled along."""
    before = absolute_ends(schedulers)
    yield
    after = absolute_ends(schedulers)
    changed = [f"{name} {old:.4g} -> {after[name]:.4g}" for name, old in before.items() if after.get(name, old) != old]
    if changed:
        rank_zero_info(
            f"{owner}: {', '.join(changed)}: an end of a schedule is taken for a share of its peak, and keeps it"
        )


def follow_again(trainer: Trainer) -> None:
    """In a resumed fit, go on with what was done to param groups, and to schedulers that aren't known."""
    put_back(trainer)
    if trainer.global_step > 0:
        foreign.follow_again(trainer.optimizers, all_schedulers(trainer))


def warn_of_strays(trainer: Trainer) -> None:
    """Say once that somebody else has set the LR of an optimizer whose scheduler isn't known."""
    for optimizer in trainer.optimizers:
        if foreign.has_strayed(optimizer):
            names = {type(one).__name__ for one in foreign.foreign(schedulers_of(optimizer, all_schedulers(trainer)))}
            rank_zero_warn(
                f"the learning rate isn't what {' and '.join(sorted(names)) or 'its scheduler'} and the changes by a "
                "range test, a search and PlateauDecay make it: somebody else has set it, and their changes may be lost"
            )
            foreign.forget(optimizer)


def decays(trainer: Trainer) -> bool:
    """Whether a scheduler, a formula or a plateau decay will write the LR."""
    return bool(trainer.lr_scheduler_configs) or bool({"PlateauDecay", "LRFormula"} & set(kinds(trainer)))


def kinds(trainer: Trainer) -> list[str]:
    """The classes of all callbacks and what they are derived from, by name."""
    return [kind.__name__ for callback in trainer.callbacks for kind in type(callback).__mro__]


class Applied:
    """The LRs that a range test or search has set, while nothing that is known of writes them.

    Args:
        owner: Its name, for the message.
    """

    def __init__(self, owner: str) -> None:
        self._owner, self._left, self._optimizers = owner, LRsLeft(), list[Any]()

    def note(self, trainer: Trainer, optimizers: Sequence[Any]) -> None:
        """Take the LRs as they are now, but not where a scheduler, another callback of ours will write them."""
        there = kinds(trainer)
        known = decays(trainer) or there.count("LRRangeTest") + there.count("LRSearch") > 1
        self._optimizers = [] if known or all_schedulers(trainer) else list(optimizers)
        self._left.note_all(self._optimizers)

    def warn_if_lost(self, trainer: Trainer) -> None:
        """Say once that somebody has written an LR since, where that may have taken away what was found."""
        for index, optimizer in enumerate(self._optimizers if not trainer.lr_scheduler_configs else ()):
            for number, group in enumerate(optimizer.param_groups):
                moved = self._left.moved((index, number), group)
                if moved is not None:
                    rank_zero_warn(
                        f"{self._owner} set the learning rate to {moved[0]:.4g}, and something else has set it to "
                        f"{moved[1]:.4g} since: unless that is computed from the LR in the param groups, the LR found "
                        "is lost. A scheduler or an LRFormula keeps it"
                    )
                    self._optimizers = []
                    return
