"""What a search that was killed knows of its trials when it is resumed."""

import json

import pytest

from lr_lightning.sweeper.files import write_json
from lr_lightning.sweeper.job import outcome_file, started_file
from lr_lightning.sweeper.journal import Journal

POINT = {"round": 0, "values": [0.1], "repeat": []}


def launched(tmp_path, started, outcomes=()):
    """A journal whose jobs all try one point: the numbers of those that began, and of those that left an outcome."""
    journal = Journal(tmp_path / "trials.jsonl")
    for job in range(4):
        journal.write("launch", {"jobs": [{"job": job, **POINT}]})
    journal.folder.mkdir(exist_ok=True)
    for job in started:
        started_file(journal.folder, job).parent.mkdir(parents=True, exist_ok=True)
        started_file(journal.folder, job).touch()
    for job in outcomes:
        path = outcome_file(journal.folder, job)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"score": 0.5, "status": "completed", "reason": ""})
    return journal


@pytest.mark.parametrize(("deaths", "written"), [(1, 0), (2, 0), (3, 1), (4, 1)])
def test_a_trial_is_given_up_after_its_third_death(tmp_path, deaths, written):
    journal = launched(tmp_path, started=range(deaths))
    journal.give_up()
    trials = journal.of("trial")
    assert len(trials) == written
    assert [line["reason"] for line in trials] == [f"its process died {deaths} times without an outcome"] * written
    assert all((line["status"], line["score"]) == ("crashed", None) for line in trials)
    journal.give_up()
    assert len(journal.of("trial")) == written, "it is written off once"
    assert bool(journal.missing({"round": 0, "points": [[0.1]]}, [[]])) == (written == 0)


def test_a_job_that_never_began_is_no_death(tmp_path):
    journal = launched(tmp_path, started=())
    journal.give_up()
    assert journal.of("trial") == []


def test_an_outcome_left_on_disk_is_taken_once_and_ends_the_deaths(tmp_path):
    journal = launched(tmp_path, started=range(4), outcomes=[2])
    assert (journal.take_outcomes(), journal.take_outcomes()) == (1, 0)
    journal.give_up()
    (line,) = Journal(journal.path).of("trial")
    assert (line["job"], line["score"], line["status"]) == (2, 0.5, "completed")
    assert json.loads(journal.path.read_text().splitlines()[-1]) == line
