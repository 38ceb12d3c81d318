"""What a search changes in an app's config: a range test first, pruned trials, no other choice of the LR."""

import logging
import re
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lr_lightning.rules.search.bracket import bracket
from lr_lightning.rules.search.records import SearchSettings
from lr_lightning.sweeper.files import read_json

log = logging.getLogger(__name__)

_OURS = ("LRRangeTest", "LRSearch")
_CALLBACK = "lr_lightning.callbacks.search_bracket.SearchBracket"
FILE = "bracket.json"


def conflicts(config: DictConfig) -> list[str]:
    """Overrides that drop what would choose another LR than the search: range tests and in-process searches.

    Args:
        config: The app's composed config; callbacks are looked for in a mapping ``callbacks``.

    Returns:
        ``~callbacks.<key>`` for each of them.
    """
    return [
        f"~callbacks.{key}"
        for key, target in _callbacks(config).items()
        if target.startswith("lr_lightning.") and target.rsplit(".", 1)[-1] in _OURS
    ]


def pruner(metric: str | None, config: DictConfig, mode: str) -> list[str]:
    """The override that adds a ``TrialPruner``, where there is a mapping ``callbacks`` to take it and a metric."""
    strict = metric != "auto"  # a score that the app makes itself needn't be a metric
    if metric == "auto":
        metric = OmegaConf.select(config, "score", default=None)
    targets = _callbacks(config)
    has_place = OmegaConf.is_dict(OmegaConf.select(config, "callbacks", default=None))
    if not isinstance(metric, str) or any(t.endswith(".TrialPruner") for t in targets.values()):
        return []
    if not has_place:
        if strict:
            log.warning("hydra.sweeper.prune=%s: no trial stops early, the app has no mapping 'callbacks'", metric)
        return []
    arguments = f"monitor:{quoted(metric)},mode:{mode},strict:{str(strict).lower()}"
    return [f"+callbacks.lr_trial_pruner={{_target_:lr_lightning.TrialPruner,{arguments}}}"]


def bracket_first(sweep: Any, settings: SearchSettings, repeat: list[str]) -> SearchSettings:
    """Launch the range test, or read the one of the search that is resumed, and narrow the first axis by it.

    An app without a ``callbacks`` mapping, for which nothing is said in ``range_test_overrides``, is searched without.
    Any trouble with the range test is logged and leaves the range as it was given: it is there to save trials only.
    """
    axis = settings.axes[0]
    lines = sweep.journal.of("range_test")
    if not lines and not sweep.journal.of("search"):
        extra = overrides(sweep.options["range_test_overrides"], sweep.config, axis.low, axis.high)
        if extra is None:
            log.info("no range test first: the app has no mapping 'callbacks' (set hydra.sweeper.range_test_overrides)")
            return settings
        job = sweep.journal.next_job()
        sweep.journal.write("range_test_launch", {"job": job})
        low, high, reason = _launch(sweep, [*repeat, *sweep.always, *extra], job, axis.low, axis.high)
        sweep.journal.write("range_test", {"low": low, "high": high, "reason": reason})
        lines = sweep.journal.of("range_test")
    if not lines:
        return settings
    log.info("range test: %s", lines[0]["reason"])
    return replace(settings, axes=(replace(axis, low=lines[0]["low"], high=lines[0]["high"]), *settings.axes[1:]))


def overrides(given: Any, config: DictConfig, low: float, high: float) -> list[str] | None:
    """What makes a job a range test: the given overrides, or one callback more; None if there is no place for it."""
    if given is not None:
        return [str(item) for item in given]
    if not OmegaConf.is_dict(OmegaConf.select(config, "callbacks", default=None)):
        return None
    return [f"+callbacks.lr_search_bracket={{_target_:{_CALLBACK},min_lr:{low!r},max_lr:{high!r}}}"]


def _launch(sweep: Any, line: list[str], job: int, low: float, high: float) -> tuple[float, float, str]:
    try:
        sweep.check([line])
        sweep.launcher.launch([line], initial_job_idx=job)
        found = read_json(sweep.journal.folder / FILE)
    except Exception as error:
        return low, high, f"failed ({type(error).__name__}: {error}); the whole range is searched"
    if found is None:
        return low, high, "left no result; the whole range is searched"
    return bracket(found, low, high)


def _callbacks(config: DictConfig) -> dict[str, str]:
    node = OmegaConf.select(config, "callbacks", default=None)
    if not OmegaConf.is_dict(node):
        return {}
    plain = OmegaConf.to_container(node, resolve=False)
    return {
        str(key): str(item["_target_"])
        for key, item in dict(plain).items()  # type: ignore[arg-type]
        if isinstance(item, dict) and "_target_" in item
    }


def quoted(text: str) -> str:
    """A string as Hydra's override grammar takes it, whatever it holds: a backslash is special before a quote alone."""
    inner = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return f"'{inner}{inner[len(inner.rstrip(chr(92))) :]}'"
