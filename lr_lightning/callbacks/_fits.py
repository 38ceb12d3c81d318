"""Whether a fit is a new training to a callback object that may have been through others: folds, trainers, fits."""

from typing import Any


class Fits:
    """Of one callback: tells a new training from one that goes on.

    A fit begins anew at global step 0, unless state was given to the callback since the last one: from a checkpoint, or
    by hand before it. Ask in ``setup``, which Lightning calls before it restores a checkpoint: what a resumed fit is
    given comes after that, and so does what ``BatchSizeFinder`` and ``LearningRateFinder`` save and restore.

    >>> from types import SimpleNamespace
    >>> fits, start, later = Fits(), SimpleNamespace(global_step=0), SimpleNamespace(global_step=80)
    >>> fits.begins_anew(start), fits.begin()  # the first fit finds nothing to forget
    (False, False)
    >>> fits.begins_anew(start), fits.begins_anew(later)
    (True, False)
    >>> fits.give()
    >>> fits.begins_anew(start), fits.begin(), fits.begins_anew(start)
    (False, True, True)
    """

    def __init__(self) -> None:
        self._given = self._used = False

    def give(self) -> None:
        """State has been loaded, or taken over: the next fit, or the one that is being set up, goes on with it."""
        self._given = True

    def begins_anew(self, trainer: Any) -> bool:
        """In ``setup``: whether to forget what other fits left."""
        return self._used and trainer.global_step == 0 and not self._given

    def begin(self) -> bool:
        """In ``on_train_start``: whether state was given for this fit; what comes later is for the next."""
        given, self._given, self._used = self._given, False, True
        return given
