"""What the parts of a formula compute: once on plain floats, once on numpy arrays.

The scalar twin is what training uses. The vector twin checks a whole run; wherever the scalar one would raise an error
it gives NaN.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

Evaluator = Callable[[Sequence[Any]], Any]


class Backend(NamedTuple):
    """The operations of the language."""

    binary: Mapping[type, Callable[[Any, Any], Any]]
    compare: Mapping[type, Callable[[Any, Any], Any]]
    functions: Mapping[str, Callable[..., Any]]
    choose: Callable[[Evaluator, Evaluator, Evaluator], Evaluator]  # test, if true, if false
    first: Callable[[Sequence[Evaluator], bool], Evaluator]  # `and` (the first that is false) and `or` (true)
    negate: Callable[[Any], Any]


def _choose_scalar(test: Evaluator, yes: Evaluator, no: Evaluator) -> Evaluator:
    return lambda env: yes(env) if test(env) else no(env)


def _choose_vector(test: Evaluator, yes: Evaluator, no: Evaluator) -> Evaluator:
    def evaluate(env: Sequence[Any]) -> Any:
        tested = np.asarray(test(env))
        return np.where(np.isnan(tested), np.nan, np.where(tested != 0, yes(env), no(env)))

    return evaluate


def _first_scalar(parts: Sequence[Evaluator], first_false: bool) -> Evaluator:
    *early, last = parts

    def evaluate(env: Sequence[Any]) -> Any:
        for part in early:
            value = part(env)
            if (value != 0) is not first_false:
                return value
        return last(env)

    return evaluate


def _first_vector(parts: Sequence[Evaluator], first_false: bool) -> Evaluator:
    def evaluate(env: Sequence[Any]) -> Any:
        value = np.asarray(parts[0](env))
        for part in parts[1:]:
            value = np.where(((value != 0) == first_false) & ~np.isnan(value), part(env), value)
        return value

    return evaluate


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """NaN wherever the scalar twin raises: an overflow or a division by zero must not come out as a finite LR."""

    def evaluate(*values: Any) -> Any:
        result = function(*values)
        fine = np.isfinite(result)
        if np.all(fine):
            return result
        failed = ~fine & np.logical_and.reduce([np.isfinite(value) for value in np.broadcast_arrays(*values)])
        return np.where(failed, np.nan, result)

    return evaluate


def _pow_vector(base: Any, exponent: Any) -> Any:
    """A power that keeps NaN: numpy's ``nan ** 0`` is 1, and would hide what could not be computed."""
    result = _strict(np.power)(base, exponent)
    return np.where(np.isnan(base) | np.isnan(exponent), np.nan, result)


def _compare_vector(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A comparison that keeps NaN: what could not be computed is neither smaller nor greater."""
    return lambda left, right: np.where(np.isnan(left) | np.isnan(right), np.nan, function(left, right))


SCALAR = Backend(
    binary={
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
        ast.Pow: math.pow,  # not **: a negative number to a fraction would be a complex one
    },
    compare={
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
    },
    functions={
        "min": min,
        "max": max,
        "clip": lambda x, low, high: min(max(x, low), high),
        "abs": abs,
        "sqrt": math.sqrt,
        "exp": math.exp,
        "log": math.log,
        "log10": math.log10,
        "sin": math.sin,
        "cos": math.cos,
        "floor": lambda x: float(math.floor(x)),
        "ceil": lambda x: float(math.ceil(x)),
    },
    choose=_choose_scalar,
    first=_first_scalar,
    negate=lambda x: 0.0 if x else 1.0,
)
VECTOR = Backend(
    binary={
        **SCALAR.binary,
        ast.Div: _strict(np.divide),
        ast.FloorDiv: _strict(np.floor_divide),
        ast.Mod: _strict(np.mod),
        ast.Pow: _pow_vector,
    },
    compare={kind: _compare_vector(function) for kind, function in SCALAR.compare.items()},
    functions={
        "min": lambda *xs: reduce(np.minimum, xs),
        "max": lambda *xs: reduce(np.maximum, xs),
        "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
        "abs": np.abs,
        **{name: _strict(getattr(np, name)) for name in ("sqrt", "exp", "log", "log10", "sin", "cos", "floor", "ceil")},
    },
    choose=_choose_vector,
    first=_first_vector,
    negate=lambda x: np.where(np.isnan(x), np.nan, np.where(np.asarray(x) != 0, 0.0, 1.0)),
)
