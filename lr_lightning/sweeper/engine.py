"""The loop of a search: plan a round, launch what has no outcome yet, read the outcomes, report, plan again."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lr_lightning.rules.search.effect import without_effect
from lr_lightning.rules.search.records import Plan, SearchSettings, Trial
from lr_lightning.rules.search.rounds import next_round
from lr_lightning.sweeper.errors import SearchFailed
from lr_lightning.sweeper.files import read_json
from lr_lightning.sweeper.job import refusal_file
from lr_lightning.sweeper.journal import Journal, plan_record

log = logging.getLogger(__name__)

Job = dict[str, Any]
Launch = Callable[[list[Job]], None]
Report = Callable[[Plan, str], None]


def run_search(
    settings: SearchSettings, journal: Journal, repeats: Sequence[Sequence[str]], launch: Launch, report: Report
) -> Plan:
    """Search until the rule says done.

    Args:
        settings: What to search.
        journal: Where it is written down; a journal with lines is resumed.
        repeats: The variants of each point (seeds), averaged by the rule; ``[[]]`` for none.
        launch: Runs jobs; each leaves its outcome as :class:`~lr_lightning.sweeper.job.SearchTask` does. An exception
            means that jobs without an outcome died.
        report: Told the plan after each round, with ``"running"`` or ``"done"``.

    Returns:
        The last plan: its ``best`` is the answer.

    Raises:
        SearchFailed: If no trial of the first round gave a score and none of them merely diverged, or if one found that
            none can have a score.
    """
    if journal.take_outcomes():
        log.info("resumed: %d trials are known", len(journal.of("trial")))
    journal.give_up()
    while True:
        opened = journal.open_round()
        if opened is not None:
            _finish_round(journal, opened, repeats, launch)
        trials = journal.trials()
        plan = next_round(settings, trials)
        _log(settings, plan, trials)
        if note := effect(settings, journal):
            log.warning("%s", note)
        report(plan, "done" if plan.done else "running")
        if plan.done:
            journal.write("done", plan_record(plan))
            return plan
        journal.write("round", plan_record(plan))


def _finish_round(journal: Journal, plan: Mapping[str, Any], repeats: Sequence[Sequence[str]], launch: Launch) -> None:
    """Launch the trials of a round that have no outcome, and see that each has one."""
    missing = journal.missing(plan, repeats)
    if not missing:
        return
    first = journal.next_job()
    jobs = [
        {"job": first + i, "round": plan["round"], "values": values, "repeat": repeat}
        for i, (values, repeat) in enumerate(missing)
    ]
    journal.write("launch", {"jobs": jobs})
    try:
        launch(jobs)
    except Exception as error:
        if not journal.of("trial") and not journal.take_outcomes() and not refusal_file(journal.folder).exists():
            raise
        log.warning("the launcher stopped: %s: %s", type(error).__name__, error)
    if refusal := read_json(refusal_file(journal.folder)):
        raise SearchFailed(refusal["reason"])
    journal.take_outcomes()
    done = {line["job"] for line in journal.of("trial")}
    for job in jobs:
        if job["job"] not in done:
            result = {"score": None, "status": "crashed", "reason": "its process died without an outcome"}
            journal.write("trial", {**job, **result})
    _refuse_hopeless(journal)


def _refuse_hopeless(journal: Journal) -> None:
    """A broken app fails in every trial: say so at once instead of spending the budget on it."""
    trials = journal.of("trial")
    if all(line["status"] == "crashed" for line in trials):
        raise SearchFailed(f"all {len(trials)} trials of the first round crashed; the first: {trials[0]['reason']}")


def effect(settings: SearchSettings, journal: Journal) -> str:
    """A sentence if nothing that is searched has an effect on the score."""
    lines = [(tuple(line["values"]), tuple(line["repeat"]), line["score"]) for line in journal.of("trial")]
    return without_effect([axis.name.lstrip("+") for axis in settings.axes], lines)


def _log(settings: SearchSettings, plan: Plan, trials: Sequence[Trial]) -> None:
    """One paragraph a round."""
    if plan.best is not None:
        last = [t for t in trials if t.round == plan.round - 1]
        bad = sum(t.bad for t in last)
        names = [axis.name for axis in settings.axes]
        best = ", ".join(f"{name}={value}" for name, value in zip(names, plan.best, strict=True))
        low, high = plan.interval or (float("nan"), float("nan"))
        log.info(
            "round %d: %d trials (%d bad); best %s, expected score %.5g, interval %.3g to %.3g",
            *(plan.round - 1, len(last), bad, best, plan.expected, low, high),
        )
    log.info("%s: %s", "done" if plan.done else f"round {plan.round}", plan.reason)
