"""LRSearch: coarse-to-fine search inside of a single fit, with short trials from one snapshot."""

import contextlib
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lr_lightning.callbacks._fits import Fits
from lr_lightning.callbacks._marks import KeepsMarks
from lr_lightning.callbacks._own_lr import note_lr_in_module
from lr_lightning.callbacks._sandbox import internals as _internals
from lr_lightning.callbacks._sandbox import range_test as _driver
from lr_lightning.callbacks._sandbox import sandbox as _sandbox
from lr_lightning.callbacks._sandbox.memory import explained_out_of_memory
from lr_lightning.callbacks._sandbox.progress import ProgressBar, say, without_bars
from lr_lightning.callbacks._sandbox.settings import check_device_is_here, check_optimizers, sandbox_settings
from lr_lightning.callbacks._sandbox.steps import Probe
from lr_lightning.callbacks._sandbox.trials import ShortTrials
from lr_lightning.callbacks._schedulers import (
    Applied,
    all_schedulers,
    ends_told,
    follow_again,
    searched_once,
    warn_of_strays,
)
from lr_lightning.optim import param_groups
from lr_lightning.reporting.events import LREvent, guard, write_event
from lr_lightning.reporting.files import local_folder
from lr_lightning.rules.checks import MOST_STEPS, check_count, check_flag, check_name, check_range
from lr_lightning.rules.range_test import protocol
from lr_lightning.rules.saved import Saved
from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.bracket import bracket
from lr_lightning.rules.search.records import STATUSES, Plan, SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round
from lr_lightning.sweeper.journal import Journal, plan_record, settings_record
from lr_lightning.sweeper.results import write_results

_SANDBOX = {"num_batches": None, "isolate_data": False, "snapshot_device": None}


class LRSearch(KeepsMarks):
    """Searches the LR at the start of a fit, coarse to fine, and trains on with the winner.

    On the first training batch it runs short trials at constant LRs, all from the same weights, batches and random
    numbers, inside of the sandbox of :class:`~lr_lightning.LRRangeTest`: what differs between two trials is the LR
    alone, no trial pays for a start-up, and training after the search is bit for bit training with that LR set by
    hand. A trial's score is its mean training loss over its last quarter.

    Short trials prefer LRs that are good early. ``num_steps`` should be a fair share of the run: some hundred steps.

    Args:
        min_lr: Lower end of the range, for the first param group; the others keep their ratio to it.
        max_lr: Upper end.
        num_steps: Optimizer steps of a trial, at least 4.
        budget: Most trials.
        first: Trials of the first round, spread evenly over the range.
        later: Trials of each later round, inside of the low region.
        tolerance: Done when the best LR is known to within this, in decades.
        widen: Whether a minimum at a border of the range moves that border.
        range_test: Whether a range test of ``num_steps`` steps gives the range first.
        eta: Trials that aren't among the best ``1 / eta`` at a rung stop early; None: all run to their end.
        apply: Whether to train on with the winner; otherwise it is only reported.
        progress_bar: Whether to show progress where the trainer shows a progress bar.
        name: Folder of the records in the log folder, and the tag in checkpoints.
        sandbox: A mapping with an expert's settings of how steps are taken inside of the fit, as of
            :class:`~lr_lightning.LRRangeTest`: ``num_batches`` that every trial cycles through, kept in memory
            (None: as many as a trial takes), ``isolate_data`` and ``snapshot_device``.

    Attributes:
        plan: The last :class:`~lr_lightning.rules.search.records.Plan`, or None.
        trials: All trials, in order; one that was stopped early has the score that it would have reached.
        costs: Optimizer steps of each trial.
        steps: Optimizer steps spent, the range test's included.
        best_lr: The winner, or None: no trial gave a finite loss, and the user's LR stays.
        previous_lr: The LR before.

    Raises:
        ValueError: If an argument is out of its range; the message quotes it.

    >>> search = LRSearch(min_lr=1e-5, max_lr=0.1)  # L.Trainer(callbacks=[search]).fit(model)
    >>> search.best_lr is None  # until the first batch of a fit
    True
    """

    def __init__(
        self,
        min_lr: float = 1e-6,
        max_lr: float = 1.0,
        num_steps: int = 100,
        *,
        budget: int = 15,
        first: int = 5,
        later: int = 5,
        tolerance: float = 0.1,
        widen: bool = True,
        range_test: bool = True,
        eta: float | None = 2.0,
        apply: bool = True,
        progress_bar: bool = True,
        name: str = "lr_search",
        sandbox: dict[str, Any] | None = None,
    ) -> None:
        check_range(min_lr, max_lr)
        check_count("num_steps", num_steps, 4, MOST_STEPS)
        for flag, value in {
            "widen": widen, "range_test": range_test, "apply": apply, "progress_bar": progress_bar,
        }.items():  # fmt: skip
            check_flag(flag, value)
        check_name("name", name, "a folder")
        if name in (".", "..") or any(sign in name for sign in "/\\:"):
            raise ValueError(f"name must be the name of one folder, without / \\ and :, got {name!r}")
        axis = Axis("lr", min_lr, max_lr, widen=widen)
        self.settings = SearchSettings((axis,), budget=budget, first=first, later=later, tolerance=tolerance)
        self.short = ShortTrials(num_steps, protocol.WINDOW, eta)
        self.sandbox = sandbox_settings(sandbox, _SANDBOX)
        self.num_steps, self.range_test, self.apply = num_steps, range_test, apply
        self.progress_bar, self.name = progress_bar, name
        self._fits, self._applied = Fits(), Applied("LRSearch")
        self._begin()

    def _begin(self) -> None:
        self.plan: Plan | None = None
        self.trials: list[Trial] = []
        self.costs: list[int] = []
        self.steps = 0
        self.best_lr: float | None = None
        self.previous_lr: float | None = None
        self._pending = self._resumed = False

    @cached_property  # Lightning asks for it at every hook
    def state_key(self) -> str:
        """Distinguishes two searches of one trainer in a checkpoint."""
        return self._generate_state_key(name=self.name)

    def state_dict(self) -> dict[str, Any]:
        """The finished search, as plain types."""
        trials = [[t.values[0], t.score, t.round, t.status] for t in self.trials]
        return {"best_lr": self.best_lr, "previous_lr": self.previous_lr, "steps": self.steps, "trials": trials}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a finished search: it isn't run again.

        Raises:
            ValueError: If it isn't what ``state_dict`` gives; the callback stays as it is then.
        """
        saved = Saved("LRSearch", state_dict)
        lrs = {key: saved.optional(key, saved.number) for key in ("best_lr", "previous_lr")}
        steps, trials = saved.count("steps"), [_trial(saved, trial) for trial in saved.items("trials")]
        self.best_lr, self.previous_lr = lrs["best_lr"], lrs["previous_lr"]
        self.steps, self.trials = steps, trials
        self._fits.give()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check Lightning's internals and go first, so that no other callback sees the LR before the search."""
        if stage != "fit":
            return
        _internals.require(trainer, "LRSearch")
        trainer.callbacks = [self, *(c for c in trainer.callbacks if c is not self)]
        if self._fits.begins_anew(trainer):
            self._begin()
        self._pending = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Only a fit that starts anew is searched."""
        follow_again(trainer)
        self._resumed = self._fits.begin(trainer) and bool(self.trials)
        if trainer.fast_dev_run or self._resumed or trainer.global_step > 0:
            self._pending = False
            rank_zero_info("LRSearch: skipped (resumed, or fast_dev_run)")
            if self._resumed and self.apply and self.best_lr is not None and self.previous_lr is not None:
                # The module was built anew, with the LR before.
                note_lr_in_module(trainer, self.best_lr, self.previous_lr, resumed=True)
        else:
            check_device_is_here("snapshot_device", self.sandbox.snapshot_device)
            check_optimizers("LRSearch", trainer.optimizers)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Search on the first batch: everything is restored and set up by then, on every strategy."""
        if self._pending:
            self._pending = False
            self.run(trainer)
        warn_of_strays(trainer)
        self._applied.warn_if_lost(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget what belongs to this fit."""
        self._pending = self._resumed = False
        self._applied = Applied("LRSearch")

    @without_bars
    @searched_once
    def run(self, trainer: Trainer) -> Plan:
        """Search now, from inside of an ``on_train_batch_start`` hook, and apply the winner if ``apply``."""
        optimizers, schedulers = trainer.optimizers, all_schedulers(trainer)
        previous = param_groups.reference_lr(optimizers, schedulers)
        sight = SimpleNamespace(loggers=list(trainer.loggers), is_global_zero=trainer.is_global_zero)
        step, epoch, folder = _sandbox.logging_step(trainer), trainer.current_epoch, trainer.log_dir
        self.trials, self.costs, self.steps = [], [], 0
        plan = self._search(trainer, optimizers)
        self.plan, self.previous_lr = plan, previous
        self.best_lr = float(plan.best[0]) if plan.best is not None else None
        if self.apply and self.best_lr is not None:
            with ends_told("LRSearch", schedulers):
                param_groups.rescale(optimizers, schedulers, self.best_lr)
            note_lr_in_module(trainer, self.best_lr, previous)
            self._applied.note(trainer, optimizers)
        new = self.best_lr if self.apply and self.best_lr is not None else previous
        if trainer.is_global_zero and folder is not None:
            guard(self, partial(self._save, f"{folder}/{self.name}", plan))
        write_event(sight, LREvent("search", step, epoch, previous, new, plan.reason, self.name))
        rank_zero_info(f"LRSearch: {self._in_words(plan)}; LR {previous:.4g} -> {new:.4g}")
        return plan

    def _search(self, trainer: Trainer, optimizers: Any) -> Plan:
        probe = Probe(trainer, optimizers, protocol.WINDOW)
        with contextlib.ExitStack() as stack:
            stack.enter_context(explained_out_of_memory(type(self).__name__, self.sandbox.snapshot_device))
            stack.callback(probe.close)
            bar = stack.enter_context(ProgressBar(trainer, self.settings.budget, self.progress_bar, "LR search"))
            box = stack.enter_context(_sandbox.sandbox(trainer, probe, self.sandbox))
            searched = self._bracket(box, probe) if self.range_test else self.settings
            return self._rounds(searched, box, probe, bar)

    def _rounds(self, settings: SearchSettings, box: _sandbox.Sandbox, probe: Probe, bar: ProgressBar) -> Plan:
        self.searched, self._plans = settings, list[Plan]()
        self.short.begin()
        batches = (self.sandbox.num_batches or self.num_steps) * box.trainer.accumulate_grad_batches
        batches = batches if box.can_keep_batches else 0  # what can't be copied is fetched anew
        while True:
            # numpy may round differently on another machine: rank 0's plan is everybody's.
            plan: Plan = box.trainer.strategy.broadcast(next_round(settings, self.trials))
            if plan.done:
                return plan
            self._plans.append(plan)
            for (lr,) in plan.points:
                box.rewind()
                box.use(0, batches)
                one = self.short.run(box, probe, float(lr))
                self.trials.append(Trial((float(lr),), one.score, plan.round, one.status))
                self.costs.append(one.steps)
                self.steps += one.steps
                if probe.lrs.other is not None:
                    why = f"{probe.lrs.other} writes the LR itself: the trials' LRs are not in force"
                    return Plan((), True, why, plan.round)
                bar.update(1, float(lr), float("nan") if one.score is None else one.score)
            self.trials = [replace(t, score=s) for t, s in zip(self.trials, self.short.scores(), strict=True)]

    def _bracket(self, box: _sandbox.Sandbox, probe: Probe) -> SearchSettings:
        """A range test over the whole range, and the settings with the range that it leaves."""
        axis = self.settings.axes[0]
        settings = protocol.SweepSettings(axis.low, axis.high, max(self.num_steps, 20))
        training = protocol.Training(batches=box.trainer.num_training_batches)
        result = _driver.run(box, probe, settings, training, lambda *_: None)
        self.steps += result.steps
        low, high, reason = bracket(result.to_dict(), axis.low, axis.high)
        say(box.trainer, f"LRSearch: {reason}")
        return replace(self.settings, axes=(replace(axis, low=low, high=high),))

    def _save(self, folder: str, plan: Plan) -> None:
        with local_folder(folder) as path:
            self._write(path, plan)

    def _write(self, folder: Path, plan: Plan) -> None:
        """The records of a search over many processes: the same files, the same keys."""
        path = folder / "trials.jsonl"
        path.unlink(missing_ok=True)
        journal = Journal(path)
        journal.begin(settings_record(self.searched, [[]]))
        for one in self._plans:
            journal.write("round", plan_record(one))
        for job, t in enumerate(self.trials):
            line = {"job": job, "round": t.round, "values": list(t.values), "repeat": [], "score": t.score}
            journal.write("trial", {**line, "status": t.status, "reason": ""})
        journal.write("done", plan_record(plan))
        write_results(self.searched, plan, journal, "done", rows=False)

    def _in_words(self, plan: Plan) -> str:
        if plan.best is None or plan.interval is None:
            return f"no LR found: {plan.reason}"
        low, high = plan.interval
        spent = f"{len(self.trials)} trials, {self.steps} steps"
        return f"best LR {plan.best[0]:.4g} (interval {low:.3g} to {high:.3g}; {spent}; {plan.reason})"


def _trial(saved: Saved, trial: object) -> Trial:
    if not isinstance(trial, (list, tuple)) or len(trial) != 4:
        raise saved.refuse("trials", "a list of LR, score, round and status", trial)
    one = Saved(f"{saved.owner}: trials", dict(zip(("lr", "score", "round", "status"), trial, strict=True)))
    score = one.optional("score", one.number)
    return Trial((one.number("lr"),), score, one.count("round"), one.text("status", STATUSES))
