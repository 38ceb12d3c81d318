"""Checks of arguments: each border, and the message that names the argument and quotes the value."""

import math
import re

import numpy as np
import pytest

from lr_lightning.rules.checks import (
    check_choice,
    check_count,
    check_flag,
    check_name,
    check_number,
    check_range,
    is_number,
    shown,
)


class Broken:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.1", "'0.1'"),
        (0.1, "0.1"),
        (None, "None"),
        ([1], "[1]"),
        (int, "<class 'int'>"),
        (np.float64(0.5), f"{np.float64(0.5)!r} (float64)"),
        (Broken(), "a value of type Broken"),
        ("x" * 300, "'" + "x" * 199 + "…"),
        ("x" * 198, "'" + "x" * 198 + "'"),
    ],
)
def test_values_as_they_are_shown(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0.5, True), (True, False), ("1", False), (math.inf, False), (math.nan, False), (10**400, False)],
)
def test_a_number_is_finite_and_no_flag(value, expected):
    assert is_number(value) is expected


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0.0, {"low": 0.0}, None),
        (0.0, {"low": 0.0, "open_low": True}, "x must be a number above 0, got 0.0"),
        (-1, {"low": 0.0}, "x must be a number of at least 0, got -1"),
        (1.0, {"high": 1.0}, None),
        (1.0, {"high": 1.0, "open_high": True}, "x must be a number below 1, got 1.0"),
        (2, {"low": 0.0, "high": 1.0}, "x must be a number of at least 0 and at most 1, got 2"),
        ("a", {}, "x must be a finite number, got 'a'"),
        (True, {"low": 0.0}, "x must be a number of at least 0, got True"),
    ],
)
def test_numbers_within_bounds(value, bounds, message):
    if message is None:
        assert check_number("x", value, **bounds) == value
    else:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_number("x", value, **bounds)


def test_a_number_comes_back_as_a_float():
    assert type(check_number("x", 3)) is float


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2, None),
        (2**63 - 1, None),
        (1, "n must be an integer of at least 2, got 1"),
        (2.0, "n must be an integer of at least 2, got 2.0"),
        (True, "n must be an integer of at least 2, got True"),
        (2**63, f"n must be an integer of at most {2**63 - 1}, got {2**63}"),
    ],
)
def test_counts(value, message):
    if message is None:
        assert check_count("n", value, 2) == value
    else:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_count("n", value, 2)
    with pytest.raises(KeyError, match="n must"):
        check_count("n", 9, 2, 8, error=KeyError)


def test_choices_and_flags():
    check_choice("c", "a", ("a", "b"))
    check_choice("c", True, (False, True))
    for value in ("ab", 1, np.array(["a"])):
        with pytest.raises(ValueError, match=r"c must be one of a, True, got "):
            check_choice("c", value, ("a", True))
    assert check_flag("f", True) is True
    assert check_flag("f", False) is False
    for value in (1, 0, "false", None):
        with pytest.raises(ValueError, match="f must be true or false, got"):
            check_flag("f", value)


@pytest.mark.parametrize("value", ["", "/", " / ", 3, None])
def test_what_is_no_name(value):
    with pytest.raises(ValueError, match="monitor must be the name of a metric, got"):
        check_name("monitor", value, "the name of a metric")


def test_names_are_printable_and_short():
    assert check_name("n", "x" * 200, "a name") == "x" * 200
    for value in ("x" * 201, "a\nb", "\x00"):
        with pytest.raises(ValueError, match="n must be a name, printable and of at most 200 characters, got"):
            check_name("n", value, "a name")


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ("1", 2, "min_lr must be a number, got '1', which is text"),
        ("1e-4", 2, "min_lr must be a number, got '1e-4', which is text: in YAML 1e-4 is text, and 1.0e-4 a number"),
        ("a", 2, "min_lr must be a number, got 'a'"),
        (1, True, "max_lr must be a number, got True"),
        (0, 1, "min_lr must be finite and greater than 0, got 0"),
        (1e-3, math.inf, "max_lr must be finite and greater than 0, got inf"),
        (1e-3, 2e30, "max_lr must be at most 1e+30, got 2e+30"),
        (1.0, 1.0, "min_lr must be below max_lr, got min_lr=1.0 and max_lr=1.0"),
        (1e-31, 1.0, "min_lr and max_lr must be at most 30 decades apart, got 1e-31 and 1.0"),
    ],
)
def test_ranges_that_cannot_be_swept(low, high, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_range(low, high)


def test_ranges_that_can():
    check_range(1, 2)
    check_range(1e-29, 1.0)
    check_range(1e29, 1e30)
    with pytest.raises(ValueError, match="low must be below high, got low=2 and high=1"):
        check_range(2, 1, ("low", "high"))
