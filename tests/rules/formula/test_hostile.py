"""No string executes anything, works long or takes much memory.

Time is bounded by counting: every call that Python makes while a string is read and computed (a call costs well under
a microsecond of its own), with the one exception of ``ast.parse``, whose input is bounded in characters, tokens and
nesting. ``recipes/benchmarks/formula.py`` gives the milliseconds.
"""

import ast
import contextlib
import sys
import tracemalloc
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning import Formula, FormulaError
from lr_lightning.rules.formula import text as formula_text
from lr_lightning.rules.formula.schedule import Counters, Horizon, Schedule

MOST_CALLS = 60_000
MOST_BYTES = 50_000_000
FORBIDDEN = (
    "exec",
    "import",
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "pickle.",
    "marshal.",
    "code.__new__",
)
RUN = Horizon.of(2, 2)

_watching = False


class Executed(BaseException):
    """Not an Exception: nothing on the way may swallow it."""


def _audit(event, arguments):
    if _watching and event.startswith(FORBIDDEN):
        raise Executed(event)


sys.addaudithook(_audit)

HOSTILE = [
    "__import__('os').system('true')",
    "__builtins__",
    "().__class__.__bases__[0].__subclasses__()",
    "lr.__class__",
    "base_lr.as_integer_ratio()",
    "(lambda: 1)()",
    "lambda x: x",
    "[x for x in (1,)]",
    "(x for x in lr)",
    "{lr: 1}",
    "f'{lr}'",
    "f'{lr:>999999999}'",
    "'a' * 999999999",
    "metric('a' * 9999)",
    'metric("\'; import os", lr)',
    "eval('1')",
    "exec('1')",
    "open('x')",
    "getattr(lr, 'real')",
    "print(lr)",
    "lr := 2",
    "lr; lr",
    "import os",
    "raise lr",
    "while 1: pass",
    "yield lr",
    "await lr",
    "9**9**9",
    "9**9**9**9**9",
    "9**(9**9)*0",
    "(9**400000)*(9**400000)",
    "epoch**99999999999",
    "1e308*1e308*0",
    "9" * 4000,
    "0." + "0" * 3990 + "1",
    "1" * 3999 + "a",
    "1e" + "9" * 3990,
    "((((((((((lr or lr) or lr) or lr) or lr) or lr) or lr) or lr) or lr) or lr) or lr)",
    "(" * 5000 + "1" + ")" * 5000,
    "(" * 5000,
    ")" * 5000,
    "(" * 25 + "1 1" + ")" * 25,
    "((lr,)" * 200,
    "-" * 10_000 + "1",
    "not " * 2_500 + "1",
    "2" + "**2" * 400,
    "2" + "**2" * 3_000,
    "+".join(["1"] * 5_000),
    "1 if 1 else " * 166 + "1",
    "1 if " * 250,
    "lr" + "<lr" * 490,
    "lr" + " and lr" * 490,
    "min(" * 30 + "lr" + ",1)" * 30,
    "min(" + ",".join(["epoch"] * 480) + ")",
    "metric('a')" * 300,
    "\x0c",
    "\x0b lr \x0c",
    "\x00",
    "lr\x00",
    "ｌｒ",
    "lr\u2028+1",
    "＿＿import＿＿('os')",
    "lr\\\n+1",
    "# comment",
    "lr # comment",
    "'" * 3_999,
    '"' * 4_000,
    "'\\N{BULLET}'",
    "0x7f",
    "1j",
    "...",
    "\ud800",
    " " * 10_000,
    "lr" + " " * 10_000 + "+ 1",
    "1." + "0" * 10_000,
    "\n" * 3_999 + "lr",
    "z" * 4_000,
    "z " * 900,
]


class Calls:
    """Counts calls, of Python's and of C's functions; over the limit it stops the work."""

    def __enter__(self):
        self.count = 0
        self._before = sys.getprofile()
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_):
        sys.setprofile(self._before)

    def _event(self, frame, event, argument):
        self.count += event.endswith("call")
        if self.count > MOST_CALLS:
            raise Executed(f"more than {MOST_CALLS} calls")


@contextlib.contextmanager
def watched():
    global _watching
    _watching = True
    try:
        with Calls():
            yield
    finally:
        _watching = False


def attempt(text):
    """Read, check and compute a string; the only way out but success is a FormulaError."""
    with watched(), contextlib.suppress(FormulaError):
        schedule = Schedule(Formula(text, interval="step"), RUN)
        schedule.check(0.1)
        assert 0 <= schedule.value(Counters(1, 3, 1), 0.1, 0.05) < float("inf")


attempt("base_lr * epok")  # what is imported at first use is imported now


@pytest.mark.parametrize("text", HOSTILE, ids=[f"{i}: {t[:30]!a}" for i, t in enumerate(HOSTILE)])
def test_hostile_strings(text):
    tracemalloc.start()
    try:
        attempt(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES


def test_the_watch_sees_execution_and_work():
    """The controls: what the tests above would have to catch is caught."""
    with pytest.raises(Executed, match="exec"), watched():
        eval("1")  # noqa: S307
    with pytest.raises(Executed, match="import"), watched():
        __import__("this_module_is_nowhere")
    with pytest.raises(Executed, match="open"), watched():
        open(__file__)  # noqa: SIM115
    with pytest.raises(Executed, match="calls"), watched():
        sorted(range(10**6), key=lambda number: number)


def test_what_python_parses_is_bounded(monkeypatch):
    """ast.parse gets no string beyond the bounds, and none with a sign that is not of the language."""
    seen = []
    spy = types.ModuleType("ast")
    spy.__dict__.update(ast.__dict__, parse=lambda text, **options: seen.append(text) or ast.parse(text, **options))
    monkeypatch.setattr(formula_text, "ast", spy)
    for text in HOSTILE:
        attempt(text)
    assert len(seen) > 5
    for text in seen:
        assert len(text) <= formula_text.MAX_CHARACTERS
        assert not set(text) & set("[]{}.:;@=\\`~$?&|^#") - set(".=")
        assert "__" not in text


WORDS = [
    *[
        "lr",
        "base_lr",
        "epoch",
        "step",
        "progress",
        "metric",
        "'a'",
        "min",
        "clip",
        "exp",
        "sqrt",
        "log",
        "floor",
        "pi",
    ],
    *["if", "else", "and", "or", "not", "lambda", "for", "in", "is", "await", "yield", "import", "None", "True", "def"],
    *["__import__", "__class__", "eval", "f'{lr}'", "0", "1", "9", "1e308", "0.5", "1_0", "0x1", "1j", "''", '"'],
    *[
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "<",
        "<=",
        "==",
        "!=",
        "=",
        ":=",
        "(",
        ")",
        ",",
        "[",
        "]",
        "{",
        "}",
        ".",
        ":",
    ],
    *[" ", "\n", "\t", "\\", "#", ";", "@", "~", "!", "\x00", "é", "ｌ"],
]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300) | st.text(alphabet="lre()*/+-.9 _'\"[]{}<>=,", max_size=300))
def test_any_text(text):
    attempt(text)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60), st.sampled_from(["", " "]), st.integers(1, 60))
def test_any_words(words, between, times):
    attempt(between.join(words * times))


LEAVES = st.sampled_from(["lr", "base_lr", "epoch", "step", "9", "1e300", "0.5", "metric('a', 2)", "(0-3)"])


def _deeper(inner):
    operators = st.sampled_from(["**", "*", "/", "//", "%", "+", "-", "<", "!=", " and ", " or "])
    binary = st.builds(lambda a, o, b: f"({a}{o}{b})", inner, operators, inner)
    called = st.builds(lambda f, a: f"{f}({a})", st.sampled_from(["exp", "floor", "-", "not ", "log", "sqrt"]), inner)
    return binary | called | st.builds(lambda a, b, c: f"({a} if {b} else {c})", inner, inner, inner)


@settings(max_examples=300, deadline=None)
@given(st.recursive(LEAVES, _deeper, max_leaves=80))
def test_any_expression(text):
    attempt(text)


def test_nesting_does_not_multiply_the_work():
    """Each part is computed once: nested and, or, chained comparisons and ifs cost as much as they are long."""
    for operator in ("or", "and", "<", "+"):
        text = "lr" + f" {operator} step < 3 {operator} lr)" * 29
        attempt("(" * 29 + text)
    attempt("(" * 29 + "lr" + " if epoch else step) if step else lr" * 28 + ")")
