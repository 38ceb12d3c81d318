"""The search as a Hydra sweep: overrides in, jobs to any launcher, records in the sweep's folder."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from lr_lightning.reporting.files import naming
from lr_lightning.rules.search.axes import Value
from lr_lightning.rules.search.records import Plan, SearchSettings
from lr_lightning.sweeper.adapt import bracket_first, conflicts, pruner
from lr_lightning.sweeper.arguments import lines_of, settings_from, split, text
from lr_lightning.sweeper.engine import Job, run_search
from lr_lightning.sweeper.errors import TrialRefused
from lr_lightning.sweeper.files import read_json, write_json
from lr_lightning.sweeper.job import SearchTask, failure, outcome, outcome_file, refusal_file
from lr_lightning.sweeper.journal import SHARED, Journal, settings_record
from lr_lightning.sweeper.lock import hold
from lr_lightning.sweeper.precheck import check_axes, check_lines
from lr_lightning.sweeper.results import folder_of, write_results

log = logging.getLogger(__name__)

JOURNAL = "trials.jsonl"


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
        self.lock = hold(self.folder / SHARED)
        self.journal = Journal(self.folder / JOURNAL)
        if self.journal.lines and options["resume"] is None:
            go_on = f"hydra.sweeper.resume={text(str(self.folder))}"
            raise ValueError(f"{self.folder} holds a search already; go on with it: {go_on}")
        task = SearchTask(task_function, str(self.journal.folder), options["score"])
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task, config=config
        )

    def run(self, arguments: list[str], check: Callable[[Any], None]) -> dict[str, Value] | None:
        """Search, with ``arguments`` as the overrides of the command line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with naming(self.folder / "multirun.yaml") as path:
            OmegaConf.save(self.config, path)
        settings, repeats = split(self.context.config_loader, self.settings, arguments, lines_of(self.options))
        self.always = conflicts(self.config)
        self.try_out(check, settings, repeats)
        if not self.journal.lines:
            self.journal.write("begin", {"arguments": arguments})
        self.check = check
        if self.options["range_test"]:
            settings = bracket_first(self, settings, repeats[0])
        self.always += pruner(self.options["prune"], self.config, settings.mode)
        self.settings = settings
        self.journal.begin(settings_record(settings, repeats))
        plan = run_search(settings, self.journal, repeats, self.launch, self.report)
        log.info("results: %s", self.folder / "optimization_results.yaml")
        names = [axis.name for axis in settings.axes]
        return dict(zip(names, plan.best, strict=True)) if plan.best is not None else None

    def try_out(self, check: Callable[[Any], None], settings: SearchSettings, repeats: list[list[str]]) -> None:
        """Compose a job of each repeat and of each choice, before the range test spends anything.

        Raises:
            SearchRefused: If what is searched is no key of the config, or holds no value.
        """
        check_axes(settings, self.config)
        self.settings = settings
        refusal_file(self.journal.folder).unlink(missing_ok=True)  # of a search that is gone on with, now put right
        first = tuple(axis.value(0.0) for axis in settings.axes)
        jobs = [{"values": first, "repeat": repeat} for repeat in repeats]
        for at, axis in enumerate(settings.axes):
            others = ((*first[:at], choice, *first[at + 1 :]) for choice in axis.choices[1:])
            jobs += [{"values": values, "repeat": repeats[0]} for values in others]
        lines = [self.overrides(job) for job in jobs]
        check_lines(check, lines, settings, self.config)

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
        except TrialRefused as error:
            write_json(refusal_file(self.journal.folder), {"reason": str(error)})
            return
        except Exception as error:  # Hydra re-raises what the job raised.
            result = failure(error)
        ran = (
            OmegaConf.select(returned.hydra_cfg, "hydra.runtime.output_dir") if returned.hydra_cfg is not None else None
        )
        write_json(path, {**result, "output": str(ran or ""), "seconds": None})

    def overrides(self, job: Job) -> list[str]:
        """The command line of one job."""
        values = zip(self.settings.axes, job["values"], strict=True)
        return [*job["repeat"], *self.always, *(f"{axis.name}={text(value)}" for axis, value in values)]

    def report(self, plan: Plan, status: str) -> None:
        """Write the results as they stand."""
        write_results(self.settings, plan, self.journal, status)


def _go_back_to(config: DictConfig, folder: Path) -> None:
    """Make the sweep write to ``folder``: in this config and in those that Hydra composes for the jobs."""
    if not (folder / JOURNAL).is_file():
        raise FileNotFoundError(f"hydra.sweeper.resume: no {JOURNAL} in {folder}")
    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = str(folder)
        literal = str(folder).replace("${", "\\${")  # in a folder's name it is no interpolation
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={text(literal)}")
