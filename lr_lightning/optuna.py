"""Let an Optuna study drive: its storage, samplers, pruners and dashboard, with a range test's bracket to search in.

Needs the extra ``optuna`` (Optuna 5)::

    study = optuna.create_study(storage="sqlite:///study.db", study_name="digits", load_if_exists=True)
    space = search_space(study, range_test.result)  # RangeTestResult of LRRangeTest(apply=False)

    def objective(trial):
        pruning = PruneWithOptuna(trial, monitor="val_loss")
        trainer = L.Trainer(callbacks=[pruning], max_epochs=10)
        trainer.fit(Net(lr=suggest_lr(trial, space)), datamodule=data)
        return pruning.score()

    study.optimize(objective, n_trials=15)
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lr_lightning.callbacks._search_metric import Watch
from lr_lightning.rules.checks import check_name, check_range, shown
from lr_lightning.rules.range_test.result import RangeTestResult
from lr_lightning.rules.search.bracket import bracket

if TYPE_CHECKING:
    import optuna

_KEY = "lr_lightning:{name}"


def search_space(
    study: "optuna.Study",
    result: RangeTestResult | None,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    name: str = "lr",
) -> "dict[str, optuna.distributions.BaseDistribution]":
    """The range that a range test leaves, as a search space that all workers of a study share.

    The first call stores the bracket in the study; later calls, of a resumed study or of other workers, get the stored
    one, whatever range test they ran. The test's suggestion is enqueued as the first trial.

    Args:
        study: An Optuna study with any storage.
        result: The range test's result; None, or one without a suggestion, leaves ``low`` to ``high``.
        low: Lower end of the range.
        high: Upper end.
        name: Name of the LR among the trial's parameters.

    Returns:
        ``{name: FloatDistribution(…, log=True)}``, for :func:`suggest_lr` or ``study.ask(fixed_distributions=…)``.

    Raises:
        ValueError: If the range is empty.
        TypeError: If ``study`` is no study or ``result`` no range test's result.
        ImportError: If Optuna is not installed.
    """
    check_range(low, high, ("low", "high"))
    check_name("name", name, "the LR among the trial's parameters")
    if not hasattr(study, "user_attrs"):
        raise TypeError(f"study must be an Optuna study, got {shown(study)}")
    if not (result is None or isinstance(result, RangeTestResult)):
        raise TypeError(f"result must be a RangeTestResult or None, got {shown(result)}")
    distribution = _optuna().distributions.FloatDistribution
    key = _KEY.format(name=name)
    stored = study.user_attrs.get(key)
    if stored is None:
        new_low, new_high, reason = bracket(result.to_dict(), low, high) if result else (low, high, "no range test")
        stored = {"low": new_low, "high": new_high, "reason": reason}
        study.set_user_attr(key, stored)
        if result is not None and result.suggestion is not None and new_low <= result.suggestion <= new_high:
            study.enqueue_trial({name: result.suggestion}, skip_if_exists=True)
    return {name: distribution(stored["low"], stored["high"], log=True)}


def suggest_lr(trial: "optuna.Trial", space: "Mapping[str, Any]", name: str = "lr") -> float:
    """The trial's LR, chosen by the study's sampler within the search space.

    Args:
        trial: The running trial.
        space: From :func:`search_space`.
        name: Name of the LR in it.

    Raises:
        KeyError: If the space has no such name; it names those that there are.
        TypeError: If ``trial`` is no trial or ``space`` no search space.
    """
    if not hasattr(trial, "suggest_float"):
        raise TypeError(f"trial must be a running Optuna trial, got {shown(trial)}")
    if not isinstance(space, Mapping):
        raise TypeError(f"space must be what search_space returned, got {shown(space)}")
    if name not in space:
        raise KeyError(f"no {name!r} in the search space; it has {', '.join(space)}")
    return trial.suggest_float(name, space[name].low, space[name].high, log=True)


class PruneWithOptuna(Callback):
    """Reports a metric to a trial after each validation, and ends the fit when the study's pruner says so.

    With several ranks, rank 0 reports and decides for all; other ranks may pass None for the trial. A metric that isn't
    finite ends the fit as well.

    Args:
        trial: The running trial; a ``FixedTrial``, or a study's ``best_trial``, runs to its end.
        monitor: Metric, as logged.

    Attributes:
        pruned: Whether the fit was ended early.
        value: The last value of the metric, or NaN.
    """

    def __init__(self, trial: "optuna.Trial | None", monitor: str = "val_loss") -> None:
        check_name("monitor", monitor, "the name of a metric")
        if not (trial is None or hasattr(trial, "should_prune")):
            raise TypeError(f"trial must be a running Optuna trial or None, got {shown(trial)}")
        self.trial, self.monitor = trial, monitor
        self.pruned, self.value = False, math.nan
        self._count = 0
        self._watch = Watch("PruneWithOptuna", monitor)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report and ask."""
        if trainer.sanity_checking or not self._watch.look(trainer):
            return
        self.value = float(trainer.callback_metrics[self.monitor])
        self._count += 1
        stop = False
        if trainer.is_global_zero and self.trial is not None:
            stop = self._ask(self.trial)
        if trainer.strategy.broadcast(stop):
            self.pruned, trainer.should_stop = True, True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a metric that isn't logged.

        Raises:
            ValueError: If it wasn't by the end of the first epoch with a validation; the message names those that were.
        """
        if missing := self._watch.missing(trainer):
            raise ValueError(missing)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse it after the only epoch, too."""
        self.on_train_epoch_start(trainer, pl_module)

    def _ask(self, trial: "optuna.Trial") -> bool:
        if not math.isfinite(self.value):
            return True
        study = getattr(trial, "study", None)  # a FixedTrial and a study's best_trial have none: they are run anew
        if study is None or len(study.directions) > 1:  # Optuna's pruners know one objective only.
            return False
        trial.report(self.value, self._count)
        return trial.should_prune()

    def score(self) -> float:
        """The objective's value: the last metric.

        Raises:
            optuna.TrialPruned: If the fit was ended early.
        """
        if self.pruned:
            raise _optuna().TrialPruned(f"{self.monitor}={self.value:.4g} after {self._count} validations")
        return self.value


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError("Optuna is missing: pip install 'lr-lightning[optuna]'") from error
    return optuna
