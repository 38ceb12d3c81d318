"""Wrong values, and what a clear refusal of one looks like."""

import math
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import lr_lightning

PACKAGE = str(Path(lr_lightning.__file__).parent)
CLEAR = (ValueError, TypeError, MisconfigurationException)


class Unprintable:
    """An object whose ``repr`` fails."""

    def __repr__(self):
        raise RuntimeError("no repr")


UNPRINTABLE_INT = 10**5000  # Python prints no more than 4300 digits, and hypothesis wants to
NUMBERS = [
    0,
    -1,
    1,
    2,
    7,
    0.5,
    -0.5,
    1.0,
    1e-300,
    1e300,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    UNPRINTABLE_INT,
    -(10**400),
]
OTHERS = [
    None, True, False, "", "x", "0.1", "1", "false", "ünïcode ✓", "\ud800", "a\nb", "\x00", "x" * 5000, b"x", [], [1],
    (), [None], [[]], {}, {"a": 1}, {1, 2}, 1j, object(), Unprintable(), int, len, lambda: 1, np.float32(0.1),
    np.int64(3), np.array([1.0, 2.0]), np.array(["a", "b"]), torch.tensor(0.1), torch.tensor([1.0, 2.0]), range(3),
    float("nan"), Path("/tmp"),
]  # fmt: skip
ANYTHING = [*NUMBERS, *OTHERS]
PRINTABLE = [v for v in ANYTHING if v is not UNPRINTABLE_INT and not isinstance(v, Unprintable)]  # by hypothesis


def anything():
    """Values of every kind, most of them wrong for any argument."""
    return st.one_of(
        st.sampled_from(PRINTABLE),
        st.integers(),
        st.floats(),
        st.text(max_size=12),
        st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.none()), max_size=3),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    )


def raised_in(error):
    """The file whose frame raised ``error``."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename


def assert_clear(error, name, value=None):
    """One error of ours, which names the argument, and quotes the value where it can be printed in a line."""
    assert isinstance(error, CLEAR), f"{name}={value!r:.80}: {type(error).__name__}: {error}"
    inside = raised_in(error)
    assert inside.startswith(PACKAGE), f"{name}: raised in {inside}: {type(error).__name__}: {error}"
    assert name in str(error), f"{name} isn't named: {error}"
    if isinstance(value, (bool, float)) or value is None or (isinstance(value, int) and abs(value) < 10**9):
        assert repr(value) in str(error), f"{name}={value!r} isn't quoted: {error}"


def clear_or_built(function, *args, **kwargs):
    """What ``function`` gives, or None if it refused with an error of ours."""
    try:
        return function(*args, **kwargs)
    except CLEAR as error:
        inside = raised_in(error)
        if not inside.startswith(PACKAGE) or not str(error):
            raise
        return None
