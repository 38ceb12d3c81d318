"""A checked syntax tree as nested functions: once over plain floats, once over numpy arrays.

Every value is a float; a comparison and ``not`` give 1.0 or 0.0; 0 is false. There are no big integers to blow up, and
a power that is too large is an error or an infinity, at once.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lr_lightning.rules.formula.backends import SCALAR, VECTOR, Backend, Evaluator
from lr_lightning.rules.formula.text import FormulaError, error_at, parse

# The variables, in the order in which an evaluation gets their values; the last place holds the metrics.
VARIABLES = ("lr", "base_lr", "epoch", "step", "batch", "epochs", "steps", "batches")
METRICS = len(VARIABLES)
DERIVED = ("progress", "pi")


class MissingMetricError(LookupError):
    """A metric that has no value yet; the first argument is its name."""


class _Constant:
    """A part without variables."""

    def __init__(self, value: float):
        self.value = value

    def __call__(self, env: Sequence[Any]) -> float:
        return self.value


class _Compiler:
    """Turns syntax nodes into functions of one backend."""

    def __init__(self, text: str, params: Mapping[str, float], progress: tuple[str, str], use: Backend):
        self.text = text
        self.params = {"pi": math.pi, **params}
        self.progress = tuple(VARIABLES.index(name) for name in progress)
        self.use = use
        self.parts: dict[ast.expr, Evaluator] = {}

    def build(self, node: ast.expr) -> bool:
        """Put the node's function into ``parts``; return whether it is constant, that is free of variables."""
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if is_metric(node):
            self.parts[node] = self._metric(node)
            return False
        children = children_of(node)
        constant = not [child for child in children if not self.build(child)]
        self.parts[node] = self._combine(node, [self.parts[child] for child in children])
        if constant:
            self.parts[node] = _Constant(self._fold(node))
        return constant

    def _fold(self, node: ast.expr) -> float:
        try:
            value = float(self.parts[node](()))
        except (ArithmeticError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            source = self.text[node.col_offset : node.end_col_offset]
            raise error_at(self.text, node.col_offset, f"the constant part {source!r} has no finite value")
        return value

    def _number(self, node: ast.Constant) -> bool:
        try:
            value = float(node.value) if isinstance(node.value, (int, float)) else math.nan
        except OverflowError:  # an integer of hundreds of digits
            value = math.inf
        if not math.isfinite(value):
            raise error_at(self.text, node.col_offset, "this number is too large")
        self.parts[node] = _Constant(value)
        return True

    def _name(self, node: ast.Name) -> bool:
        if node.id in self.params:
            self.parts[node] = _Constant(float(self.params[node.id]))
            return True
        if node.id == "progress":
            (counter, total), least = self.progress, self.use.functions["min"]
            self.parts[node] = lambda env: least(1.0, env[counter] / env[total])
        else:
            self.parts[node] = operator.itemgetter(VARIABLES.index(node.id))
        return False

    def _metric(self, node: ast.expr) -> Evaluator:
        name = metric_name(node)
        default: Evaluator | None = None
        for child in children_of(node):
            self.build(child)
            default = self.parts[child]

        def metric(env: Sequence[Any]) -> Any:
            if name in env[METRICS]:
                return env[METRICS][name]
            if default is None:
                raise MissingMetricError(name)
            return default(env)

        return metric

    def _combine(self, node: ast.expr, parts: list[Evaluator]) -> Evaluator:
        if isinstance(node, ast.BinOp):
            return _binary(self.use.binary[type(node.op)], *parts)
        if isinstance(node, ast.Call):
            return _call(self.use.functions[getattr(node.func, "id", "")], parts)
        if isinstance(node, ast.IfExp):
            return self.use.choose(*parts)
        if isinstance(node, ast.BoolOp):
            return self.use.first(parts, isinstance(node.op, ast.And))
        if isinstance(node, ast.Compare):
            return _compare([self.use.compare[type(op)] for op in node.ops], parts)
        assert isinstance(node, ast.UnaryOp)
        if isinstance(node.op, ast.UAdd):
            return parts[0]
        return _call(self.use.negate if isinstance(node.op, ast.Not) else operator.neg, parts)


def is_metric(node: ast.expr) -> bool:
    """Whether the node is ``metric(…)``."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "metric"


def metric_name(node: ast.expr) -> str:
    """The name in ``metric("name")``."""
    return str(getattr(node.args[0], "value", "")) if isinstance(node, ast.Call) else ""


def children_of(node: ast.expr) -> list[ast.expr]:
    """Parts of a node that are computed, in the order of the language: the test of an ``if`` comes first."""
    if isinstance(node, ast.IfExp):
        return [node.test, node.body, node.orelse]
    if isinstance(node, ast.Call):
        return node.args[1:] if is_metric(node) else node.args
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _binary(function: Callable[[Any, Any], Any], left: Evaluator, right: Evaluator) -> Evaluator:
    """``function`` of both; a constant is built in, which saves a call a step."""
    if isinstance(left, _Constant):
        fixed = left.value
        return lambda env: function(fixed, right(env))
    if isinstance(right, _Constant):
        fixed = right.value
        return lambda env: function(left(env), fixed)
    return lambda env: function(left(env), right(env))


def _call(function: Callable[..., Any], parts: list[Evaluator]) -> Evaluator:
    if len(parts) == 1:
        (only,) = parts
        return lambda env: function(only(env))
    if len(parts) == 2:
        return _binary(function, *parts)
    return lambda env: function(*[part(env) for part in parts])


def _compare(operators: list[Callable[[Any, Any], Any]], parts: list[Evaluator]) -> Evaluator:
    """``a < b < c`` is ``a < b and b < c``, each part computed once: nested ones would cost 2 ** depth otherwise."""
    if len(operators) == 1:
        function, (first, second) = operators[0], parts
        return _binary(lambda left, right: function(left, right) * 1.0, first, second)

    def chain(env: Sequence[Any]) -> Any:
        values = [part(env) for part in parts]
        result: Any = 1.0
        for function, left, right in zip(operators, values, values[1:], strict=False):
            result = result * function(left, right)
        return result

    return chain


class Program:
    """A formula ready to be computed.

    Args:
        text: The formula.
        params: The user's named parameters; they are built in as constants.
        per_step: Whether ``progress`` is ``step / steps`` rather than ``epoch / epochs``.

    Attributes:
        names: The variables and parameters in use -> index of their first place in the text.
        metrics: Names of the metrics in use, sorted.
        nodes: Size of the syntax tree, a measure of the cost of one evaluation.
        scalar: Computes the value from floats in the order of :data:`VARIABLES`, then a mapping of metrics.
        vector: The same from numpy arrays and floats; a failure shows as a non-finite value.

    Raises:
        FormulaError: If the text is not a formula, or a constant part of it cannot be computed.
    """

    def __init__(self, text: str, params: Mapping[str, float], per_step: bool):
        self.text = text
        progress = ("step", "steps") if per_step else ("epoch", "epochs")
        self._tree = parse(text, {*VARIABLES, *DERIVED, *params})
        nodes = [node for node in ast.walk(self._tree) if isinstance(node, ast.expr)]
        self.nodes = len(nodes)
        self.names: dict[str, int] = {}
        for name in sorted((n for n in nodes if isinstance(n, ast.Name)), key=lambda n: n.col_offset):
            self.names.setdefault(name.id, name.col_offset)
        if "progress" in self.names:
            for implied in progress:
                self.names.setdefault(implied, self.names["progress"])
        self.metrics = sorted({metric_name(node) for node in nodes if is_metric(node)})
        self._parts = self._compile(params, progress, SCALAR)  # first: it finds constant parts that have no value
        self.scalar = self._parts[self._tree]
        self.vector = self._compile(params, progress, VECTOR)[self._tree]

    def _compile(
        self, params: Mapping[str, float], progress: tuple[str, str], use: Backend
    ) -> dict[ast.expr, Evaluator]:
        compiler = _Compiler(self.text, params, progress, use)
        compiler.build(self._tree)
        return compiler.parts

    def complaint(self, name: str, message: str) -> FormulaError:
        """An error about a name that the formula uses."""
        return error_at(self.text, self.names[name], message)

    def failure(self, env: Sequence[Any], error: Exception, where: str) -> FormulaError:
        """The error of an evaluation that raised, with the innermost part at fault as its place.

        Args:
            env: What was evaluated.
            error: What was raised.
            where: The counters, in words.
        """
        node = self._tree
        while (child := self._failing_child(node, env)) is not None:
            node = child
        source = self.text[node.col_offset : node.end_col_offset]
        reasons: dict[type[Exception], str] = {
            ZeroDivisionError: "division by zero",
            OverflowError: "the result is too large",
        }
        reason = reasons.get(type(error), "it is not defined for this value")
        used = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
        for name in ("epoch", "step", "batch"):
            if name in used and env[VARIABLES.index(name)] == 0:
                reason += f"; {name} counts from 0: write ({name} + 1) to count from 1"
        return error_at(self.text, node.col_offset, f"cannot compute {source!r} at {where} ({reason})")

    def _failing_child(self, node: ast.expr, env: Sequence[Any]) -> ast.expr | None:
        children = children_of(node)
        if isinstance(node, ast.IfExp) and not self._fails(node.test, env):
            children = [node.body if self._parts[node.test](env) else node.orelse]
        return next((child for child in children if self._fails(child, env)), None)

    def _fails(self, node: ast.expr, env: Sequence[Any]) -> bool:
        try:
            self._parts[node](env)
        except (ArithmeticError, ValueError):
            return True
        return False
