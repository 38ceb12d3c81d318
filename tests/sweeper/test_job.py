"""Outcomes of trials: scores, bad trials, and what no trial of the search could score with."""

import pytest

from lr_lightning.sweeper.errors import TrialRefused
from lr_lightning.sweeper.job import outcome


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        (0.5, "loss", "hydra.sweeper.score=loss names a key of a mapping, but the task returned float"),
        ({"loss": 1.0}, None, r"a mapping \(loss\); name its score: hydra.sweeper.score="),
        ({"loss": 1.0, "acc": 2}, "los", "it has no hydra.sweeper.score=los; did you mean 'loss'"),
    ],
)
def test_a_score_and_a_task_that_do_not_go_together_end_the_search(value, key, said):
    with pytest.raises(TrialRefused, match=said):
        outcome(value, key)


@pytest.mark.parametrize("value", [{}, {"fid": 1.0}, {"loss": None}, None])
def test_a_missing_score_is_one_bad_trial(value):
    found = outcome(value, "loss")
    assert (found["score"], found["status"]) == (None, "crashed")


def test_another_metric_of_nearly_this_name_does_not_end_the_search():
    assert outcome({"val_mse": 1.0}, "val_rmse")["status"] == "crashed"
