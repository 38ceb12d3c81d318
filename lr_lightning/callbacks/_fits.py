"""Whether a fit is a new training to a callback object that may have been through others: folds, trainers, fits."""

import weakref
from collections.abc import Callable
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException


class Fits:
    """Of one callback: tells a new training from one that goes on.

    A fit begins anew at global step 0, unless state was given to the callback since the last one: from a checkpoint, or
    by hand before it. Ask in ``setup``, which Lightning calls before it restores a checkpoint: what a resumed fit is
    given comes after that, and so does what ``BatchSizeFinder`` and ``LearningRateFinder`` save and restore.

    Args:
        owner: The callback's name, if what it holds is of one training alone: a trainer that goes on after another had
            the callback is then refused.

    >>> class Trainer:
    ...     def __init__(self, global_step):
    ...         self.global_step = global_step
    >>> fits, start, later = Fits(), Trainer(0), Trainer(80)
    >>> fits.begins_anew(start), fits.begin(start)  # the first fit finds nothing to forget
    (False, False)
    >>> fits.begins_anew(start), fits.begins_anew(later)
    (True, False)
    >>> fits.give()
    >>> fits.begins_anew(start), fits.begin(start), fits.begins_anew(start)
    (False, True, True)
    """

    def __init__(self, owner: str = "") -> None:
        self._owner, self._given, self._used = owner, False, False
        self._trainer: Callable[[], Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the trainer: a copy goes into another process or to another trainer."""
        return {**vars(self), "_trainer": None}

    def give(self) -> None:
        """State has been loaded, or taken over: the next fit, or the one that is being set up, goes on with it."""
        self._given = True

    def begins_anew(self, trainer: Any) -> bool:
        """In ``setup``: whether to forget what other fits left.

        Raises:
            MisconfigurationException: If the trainer goes on, and another one had the callback meanwhile.
        """
        if not self._used or self._given:
            return False
        other = self._trainer is not None and self._trainer() is not trainer
        if self._owner and other and trainer.global_step > 0:
            raise MisconfigurationException(
                f"this {self._owner} has been in another Trainer's fit since this one's, which goes on at step "
                f"{trainer.global_step:,}: give each Trainer a {self._owner} of its own"
            )
        return bool(trainer.global_step == 0)

    def begin(self, trainer: Any) -> bool:
        """In ``on_train_start``: whether state was given for this fit; what comes later is for the next."""
        given, self._given, self._used = self._given, False, True
        self._trainer = weakref.ref(trainer)
        return given
