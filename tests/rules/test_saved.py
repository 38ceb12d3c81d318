"""Saved state is read key by key; what isn't as it was saved is refused with its owner, key and value."""

import math
import re
from dataclasses import dataclass

import pytest

from lr_lightning.rules.saved import Saved, load_fields

STATE = {
    "number": 0.5, "count": 3, "flag": True, "text": "min", "items": [1, "a"], "floats": [1, math.inf], "none": None,
    "counts": [0, 2], "texts": ["a", ""], "child": {"x": 1}, "named": {"a": 1, "b": math.nan}, "pair": (1, 2),
}  # fmt: skip


def test_what_was_saved_comes_back():
    saved = Saved("X", STATE, ["number", "none"])
    assert saved.number("number") == 0.5
    assert (saved.number("count", 3), saved.count("count", 3)) == (3.0, 3)
    assert type(saved.number("count")) is float
    assert saved.flag("flag") is True
    assert (saved.text("text"), saved.text("text", ["min", "max"])) == ("min", "min")
    assert saved.items("items") == [1, "a"]
    assert saved.items("pair") == [1, 2]
    assert saved.floats("floats") == [1.0, math.inf]
    assert saved.counts("counts") == [0, 2]
    assert saved.texts("texts") == ["a", ""]
    assert saved.child("child", ["x"]).count("x") == 1
    assert saved.named_floats("named")["a"] == 1.0
    assert math.isnan(saved.named_floats("named")["b"])
    assert saved.optional("none", saved.number) is None
    assert saved.optional("count", saved.count) == 3


@pytest.mark.parametrize(
    ("state", "read", "message"),
    [
        (None, lambda s: s, "X: the saved state must be a mapping, got None"),
        ({}, lambda s: s["a"], "X: the saved state lacks 'a'; it has none"),
        ({"b": 1, 2: 1}, lambda s: s["a"], "X: the saved state lacks 'a'; it has 2, b"),
        ({"a": math.inf}, lambda s: s.number("a"), "X: the saved a must be a finite number, got inf"),
        ({"a": 0.4}, lambda s: s.number("a", 0.5), "X: the saved a must be a finite number of at least 0.5, got 0.4"),
        ({"a": True}, lambda s: s.number("a"), "X: the saved a must be a finite number, got True"),
        ({"a": -1}, lambda s: s.count("a"), "X: the saved a must be an integer of at least 0, got -1"),
        ({"a": 1.0}, lambda s: s.count("a"), "X: the saved a must be an integer of at least 0, got 1.0"),
        ({"a": False}, lambda s: s.count("a"), "X: the saved a must be an integer of at least 0, got False"),
        ({"a": 2**63}, lambda s: s.count("a", 1), f"X: the saved a must be an integer of at least 1, got {2**63}"),
        ({"a": 1}, lambda s: s.flag("a"), "X: the saved a must be true or false, got 1"),
        ({"a": 1}, lambda s: s.text("a"), "X: the saved a must be a string, got 1"),
        ({"a": "x"}, lambda s: s.text("a", ["min", "max"]), "X: the saved a must be one of min, max, got 'x'"),
        ({"a": {"b": 1}}, lambda s: s.items("a"), "X: the saved a must be a list, got {'b': 1}"),
        ({"a": "ab"}, lambda s: s.items("a"), "X: the saved a must be a list, got 'ab'"),
        ({"a": [1, "2"]}, lambda s: s.floats("a"), "X: the saved a must be numbers, got '2'"),
        ({"a": [True]}, lambda s: s.floats("a"), "X: the saved a must be numbers, got True"),
        ({"a": [10**400]}, lambda s: s.floats("a"), "X: the saved a must be numbers, got 1000"),
        ({"a": [2, 0]}, lambda s: s.counts("a", 1), "X: the saved a must be an integer of at least 1, got 0"),
        ({"a": [1]}, lambda s: s.texts("a"), "X: the saved a must be a string, got 1"),
        ({"a": 3}, lambda s: s.child("a"), "X: the saved a must be a mapping, got 3"),
        ({"a": {}}, lambda s: s.child("a", ["b"]), "X: a: the saved state lacks 'b'; it has none"),
        ({"a": {1: 2}}, lambda s: s.named_floats("a"), "X: the saved a must be a mapping of names, got {1: 2}"),
        ({"a": {"b": "c"}}, lambda s: s.named_floats("a"), "X: the saved a must be numbers, got 'c'"),
        ({"a": "x"}, lambda s: s.optional("a", s.flag), "X: the saved a must be true or false, got 'x'"),
    ],
)
def test_what_was_not_saved_is_refused(state, read, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        read(Saved("X", state))


def test_keys_that_must_be_there():
    with pytest.raises(ValueError, match="lacks 'b'"):
        Saved("X", {"a": 1}, ["a", "b"])
    many = {f"key{i:03}": i for i in range(100)}
    with pytest.raises(ValueError, match="lacks 'z'; it has key000, key001") as caught:
        Saved("X", many)["z"]
    assert len(str(caught.value)) < 260


@dataclass
class Counts:
    seen: int = 0
    done: bool = False
    best: float = 0.0
    last: float | None = None
    note: str = ""


def test_fields_of_a_dataclass():
    state = {"seen": 2, "done": True, "best": 1, "last": None}
    assert load_fields("X", Counts, state, skip=["note"]) == {"seen": 2, "done": True, "best": 1.0, "last": None}
    assert load_fields("X", Counts, {**state, "last": 2, "note": 1}, skip=["note"])["last"] == 2.0
    for key, value in (("seen", True), ("seen", 1.5), ("done", 1), ("best", None), ("last", "x"), ("best", True)):
        with pytest.raises(ValueError, match=f"X: the saved {key} must be"):
            load_fields("X", Counts, {**state, key: value}, skip=["note"])
    with pytest.raises(ValueError, match="X: the saved state has the unknown key 'more'"):
        load_fields("X", Counts, {**state, "more": 1}, skip=["note"])
    with pytest.raises(ValueError, match="X: the saved state lacks 'best'"):
        load_fields("X", Counts, {key: value for key, value in state.items() if key != "best"}, skip=["note"])
