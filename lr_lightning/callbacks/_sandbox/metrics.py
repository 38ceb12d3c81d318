"""What Lightning has logged, and when: freshly produced metrics by name, and what is logged per step or per epoch."""

from typing import Any

from lightning.pytorch import Trainer


def step_metrics(trainer: Trainer) -> dict[str, Any]:
    """The callback metrics that the loop now running has produced at this step, by name.

    ``trainer.callback_metrics`` also holds the metrics of loops and steps that ended long ago.
    """
    results = trainer._results
    if results is None:
        return {}
    on_step = trainer._logger_connector._first_loop_iter is not None
    return dict(results.metrics(on_step)["callback"])


def epoch_metrics(trainer: Trainer) -> dict[str, Any]:
    """The callback metrics that hold for an epoch or a validation, whenever they were produced, by name.

    They are what ``EarlyStopping`` and schedulers with a ``monitor`` see, without the values of single steps.
    """
    steps = _steps_alone(trainer)
    return {name: value for name, value in trainer.callback_metrics.items() if name not in steps}


def logged(trainer: Trainer) -> dict[str, list[str]]:
    """Names that this fit has logged, by when: ``"validation end"``, ``"training epoch end"``, ``"training steps"``.

    Those of the sanity check are among them.
    """
    loop = trainer.fit_loop.epoch_loop
    found: dict[str, set[str]] = {"validation end": set(), "training epoch end": set(), "training steps": set()}
    for item in loop.val_loop._results.values():
        if item.meta.on_epoch:
            found["validation end"] |= {_suffixed(item, item.meta.name), _suffixed(item, item.meta.forked_name(False))}
    for item in loop._results.values():
        if item.meta.on_epoch:
            found["training epoch end"] |= {item.meta.name, item.meta.forked_name(False)}
        if item.meta.on_step:
            found["training steps"] |= {item.meta.forked_name(True)} | ({item.meta.name} - found["training epoch end"])
    everywhere = set().union(*found.values())
    found["training epoch end"] |= set(trainer.callback_metrics) - everywhere
    return {when: sorted(names) for when, names in found.items()}


def _suffixed(item: Any, name: str) -> str:
    index = item.meta.dataloader_idx
    return name if index is None or not item.meta.add_dataloader_idx else f"{name}/dataloader_idx_{index}"


def _steps_alone(trainer: Trainer) -> set[str]:
    """Names whose present value is that of a step: logged per step alone, or of an epoch that isn't over."""
    loop = trainer.fit_loop.epoch_loop
    validates = trainer._results is loop.val_loop._results
    fresh = {item.meta.name for item in loop.val_loop._results.values() if not item.has_reset and item.meta.on_epoch}
    over = trainer._results is loop._results and trainer._logger_connector._first_loop_iter is None
    found = set()
    for item in loop._results.values():
        meta = item.meta
        if not meta.on_step:
            continue
        if meta.on_epoch:
            found.add(meta.forked_name(True))
        if not meta.on_epoch or not (over or item.has_reset):
            found.add(meta.name)
    return found - fresh if validates else found
