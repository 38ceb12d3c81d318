"""The search as a Hydra sweep: overrides in, jobs to any launcher, records in the sweep's folder."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from lr_lightning.reporting.files import naming
from lr_lightning.rules.checks import check_count, check_flag, check_name, shown
from lr_lightning.rules.search.axes import Axis, Value, axis_from
from lr_lightning.rules.search.rounds import Plan, SearchSettings
from lr_lightning.sweeper.adapt import bracket_first, conflicts, pruner, quoted
from lr_lightning.sweeper.engine import Job, run_search
from lr_lightning.sweeper.files import read_json, write_json
from lr_lightning.sweeper.job import SearchTask, failure, outcome, outcome_file
from lr_lightning.sweeper.journal import Journal, settings_record
from lr_lightning.sweeper.results import folder_of, write_results

log = logging.getLogger(__name__)

JOURNAL = "trials.jsonl"
_RULE = ("mode", "budget", "first", "later", "tolerance", "widen_by", "confidence", "seed")


class Sweep:
    """One search of one Hydra app.

    Args:
        options: The sweeper's config, by field.
        hydra_context: Hydra's.
        task_function: The app's.
        config: The composed config of the multirun.

    Raises:
        ValueError: If a setting is out of its bounds.
        FileNotFoundError: If ``resume`` names no search.
    """

    def __init__(self, options: dict[str, Any], hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.options, self.context, self.config = options, hydra_context, config
        self.settings = settings_from(options)
        if options["resume"] is not None:
            _go_back_to(config, Path(str(options["resume"])).absolute())
        self.folder = folder_of(config)
        self.journal = Journal(self.folder / JOURNAL)
        if self.journal.lines and options["resume"] is None:
            raise ValueError(f"{self.folder} holds a search already; go on with it: hydra.sweeper.resume={self.folder}")
        task = SearchTask(task_function, str(self.journal.folder), options["score"])
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task, config=config
        )

    def run(self, arguments: list[str], check: Callable[[Any], None]) -> dict[str, Value] | None:
        """Search, with ``arguments`` as the overrides of the command line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with naming(self.folder / "multirun.yaml") as path:
            OmegaConf.save(self.config, path)
        settings, repeats = self.split(arguments)
        if not self.journal.lines:
            self.journal.write("begin", {"arguments": arguments})
        self.check = check
        self.always = conflicts(self.config)
        if self.options["range_test"]:
            settings = bracket_first(self, settings, repeats[0])
        self.always += pruner(self.options["prune"], self.config, settings.mode)
        self.settings = settings
        self.journal.begin(settings_record(settings, repeats))
        plan = run_search(settings, self.journal, repeats, self.launch, self.report)
        log.info("results: %s", self.folder / "optimization_results.yaml")
        names = [axis.name for axis in settings.axes]
        return dict(zip(names, plan.best, strict=True)) if plan.best is not None else None

    def split(self, arguments: list[str]) -> tuple[SearchSettings, list[list[str]]]:
        """Settings with the intervals given on the command line, and the repeats: all combinations of other sweeps.

        Raises:
            ValueError: If a searched parameter has a value on the command line.
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser

        parsed = OverridesParser.create(config_loader=self.context.config_loader).parse_overrides(arguments)
        searched = {axis.name.lstrip("+") for axis in self.settings.axes}
        extra: list[Axis] = []
        choices: list[list[str]] = []
        for override in parsed:
            key = override.get_key_element()
            if key.lstrip("+~") in searched:
                raise ValueError(f"{key} is chosen by the search: drop {override.input_line!r} from the command line")
            if override.is_interval_sweep():
                extra.append(_interval(key, override.value()))
            elif override.is_sweep_override():
                choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            else:
                choices.append([str(override.input_line)])
        repeats = [list(combination) for combination in itertools.product(*choices)]
        return replace(self.settings, axes=(*self.settings.axes, *extra)), repeats

    def launch(self, jobs: list[Job]) -> None:
        """Send jobs to the launcher, a batch at a time, and see that what came back is on disk."""
        size = self.options["max_batch_size"] or len(jobs)
        for start in range(0, len(jobs), size):
            batch = jobs[start : start + size]
            overrides = [self.overrides(job) for job in batch]
            # Jobs of a batch that differ in the searched values alone compose alike: one of each kind is tried.
            self.check(list({tuple(job["repeat"]): line for job, line in zip(batch, overrides, strict=True)}.values()))
            returns = self.launcher.launch(overrides, initial_job_idx=batch[0]["job"])
            for job, one in zip(batch, returns, strict=True):
                self.keep(job["job"], one)

    def keep(self, job: int, returned: Any) -> None:
        """Write an outcome that the job could not write itself: a launcher without a shared file system."""
        path = outcome_file(self.journal.folder, job)
        if read_json(path) is not None:
            return
        try:
            result = outcome(returned.return_value, self.options["score"])
        except Exception as error:  # Hydra re-raises what the job raised.
            result = failure(error)
        write_json(path, {**result, "output": "", "seconds": None})

    def overrides(self, job: Job) -> list[str]:
        """The command line of one job."""
        values = zip(self.settings.axes, job["values"], strict=True)
        return [*job["repeat"], *self.always, *(f"{axis.name}={_text(value)}" for axis, value in values)]

    def report(self, plan: Plan, status: str) -> None:
        """Write the results as they stand."""
        write_results(self.settings, plan, self.journal, status)


def settings_from(options: dict[str, Any]) -> SearchSettings:
    """The rule's settings from the sweeper's config.

    Raises:
        ValueError: If a value is out of its bounds.
    """
    first = Axis(options["param"], options["low"], options["high"], widen=options["widen"])
    params = {} if options["params"] is None else options["params"]
    more: Any = OmegaConf.to_container(params) if OmegaConf.is_config(params) else params
    if not isinstance(more, dict):
        raise ValueError(f"params must map keys to {{low, high}} or {{choices}}, got {shown(more)}")
    _check_rest(options)
    try:
        axes = [axis_from(str(name), item) for name, item in more.items()]
    except ValueError as error:
        raise ValueError(f"params: {error}") from None
    return SearchSettings((first, *axes), **{name: options[name] for name in _RULE})


def _check_rest(options: dict[str, Any]) -> None:
    """What isn't the rule's."""
    for name, what in (("score", "a score"), ("prune", "a metric, auto or null"), ("resume", "a sweep's folder")):
        if options[name] is not None:
            check_name(name, options[name], what)
    check_flag("range_test", options["range_test"])
    if options["max_batch_size"] is not None:
        check_count("max_batch_size", options["max_batch_size"], 1)
    given = options["range_test_overrides"]
    given = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given
    if given is not None and not (isinstance(given, (list, tuple)) and all(isinstance(x, str) for x in given)):
        raise ValueError(f"range_test_overrides must be a list of overrides, got {shown(given)}")


def _interval(key: str, sweep: Any) -> Axis:
    """``key='tag(log, interval(a, b))'`` as an axis; without the tag it is linear."""
    scale = "log" if "log" in sweep.tags else "linear"
    return Axis(key, float(sweep.start), float(sweep.end), scale=scale, integer="int" in sweep.tags)


def _text(value: Value) -> str:
    """A value as Hydra's override grammar takes it."""
    return quoted(value) if isinstance(value, str) else repr(value)


def _go_back_to(config: DictConfig, folder: Path) -> None:
    """Make the sweep write to ``folder``: in this config and in those that Hydra composes for the jobs."""
    if not (folder / JOURNAL).is_file():
        raise FileNotFoundError(f"hydra.sweeper.resume: no {JOURNAL} in {folder}")
    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={_text(str(folder))}")
