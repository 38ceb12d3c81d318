"""What a search is asked for, against the app's config: refused by name before the first job."""

import pytest
from omegaconf import OmegaConf

from lr_lightning.rules.search.axes import Axis
from lr_lightning.rules.search.records import SearchSettings
from lr_lightning.sweeper.errors import SearchRefused
from lr_lightning.sweeper.precheck import check_axes, nearest_key

CONFIG = OmegaConf.create(
    {"lr": 0.1, "opt": {"wd": 0.0, "name": "adam"}, "flag": True, "width": 4, "late": "${nowhere:x}", "sizes": [1, 2],
     "text": "1e-3", "need": "???"}
)  # fmt: skip
LR = Axis("lr", 1e-5, 1.0)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("opt", r"param=opt is a mapping, no number; it holds opt\.wd, opt\.name"),
        ("opt.name", r"param=opt\.name holds 'adam', no number"),
        ("flag", "param=flag holds True, no number"),
        ("sizes", r"param=sizes holds \[1, 2\], no number"),
    ],
)
def test_what_holds_no_number_is_refused(key, said):
    with pytest.raises(SearchRefused, match=rf"hydra\.sweeper\.{said}"):
        check_axes(SearchSettings((Axis(key, 1e-5, 1.0),)), CONFIG)
    with pytest.raises(SearchRefused, match=rf"hydra\.sweeper\.{said.replace('param=', 'params=')}"):
        check_axes(SearchSettings((LR, Axis(key, 1.0, 8.0))), CONFIG)


def test_numbers_choices_new_keys_and_what_only_a_job_knows_pass(caplog):
    more = (Axis("opt.wd", 1e-6, 0.1), Axis("text", 1e-5, 1.0), Axis("late", 1.0, 2.0), Axis("need", 1.0, 2.0),
            Axis("opt.name", choices=("adam", "sgd")), Axis("opt", choices=("a", "b")), Axis("+new", 1.0, 2.0),
            Axis("width", 1, 8, integer=True))  # fmt: skip
    check_axes(SearchSettings((LR, *more)), CONFIG)
    assert caplog.text == ""


def test_a_whole_number_searched_among_all_numbers_is_told(caplog):
    check_axes(SearchSettings((LR, Axis("width", 1.0, 8.0, scale="linear"))), CONFIG)
    assert "width is 4 in the config, and any number from 1 to 8 is tried" in caplog.text
    caplog.clear()
    check_axes(SearchSettings((LR, Axis("width", 0.0, 0.5, scale="linear"))), CONFIG)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("model.lr", "model.optimizer.lr"),  # by its last word, however long the way there
        ("optim.lr", "model.optimizer.lr"),
        ("model.schedular", "model.scheduler"),
    ],
)
def test_the_key_that_was_meant_is_named(key, meant):
    known = ["model.scheduler", "model.net.size", "model.optimizer.lr", "data.batch_size", "head.lr"]
    assert nearest_key(key, known) == f"; did you mean {meant!r}?"
