"""A learning-rate schedule as one line of text.

>>> from lr_lightning.rules.formula.schedule import Counters, Horizon, Schedule
>>> halved = Formula("base_lr * 0.5 ** epoch")
>>> on_run = Schedule(halved, Horizon(epochs=3))
>>> [on_run.value(Counters(epoch), base_lr=1.0, lr=1.0) for epoch in range(3)]
[1.0, 0.5, 0.25]

Variables: ``lr`` (the previous value), ``base_lr``, ``epoch`` and ``step`` (from 0), ``batch`` (within the epoch),
``epochs``, ``steps``, ``batches`` (totals), ``progress`` (0 to 1 over the run: ``step / steps`` or ``epoch / epochs``),
``pi``, named parameters, and ``metric("val_loss")``, the value last logged. Functions: min, max, clip, abs, sqrt, exp,
log, log10, sin, cos, floor, ceil. Operators: ``+ - * / // % **``, comparisons, ``a if c else b``, ``and``, ``or``,
``not``. Every value is a float.
"""

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from lr_lightning.rules.checks import check_choice, check_count, check_flag, nearest, shown
from lr_lightning.rules.formula.compile import DERIVED, VARIABLES, Program
from lr_lightning.rules.formula.presets import STEPWISE, check_number, check_preset, expand
from lr_lightning.rules.formula.text import FUNCTIONS, WORDS, FormulaError, scan

Interval = Literal["epoch", "step"]
RESERVED = frozenset({*VARIABLES, *DERIVED, *FUNCTIONS, *WORDS})


class Formula:
    """A formula, read and checked.

    Args:
        expression: The formula (see the module's docstring), or a function with the signature of Keras's
            LearningRateScheduler: ``f(epoch, lr)`` or ``f(epoch)`` (``step`` in place of ``epoch`` for
            ``interval="step"``); the LR that it gets and gives is without plateau factor.
        preset: A name in :data:`lr_lightning.rules.formula.presets.PRESETS`, in place of ``expression``.
        interval: Whether a new value is due at each ``"epoch"`` or each optimizer ``"step"``. Default: epoch, but step
            for the presets ``inverse_sqrt_step``, ``one_cycle``, ``triangular`` and ``noam``.
        warmup_steps: Length of a linear warm-up in optimizer steps: step ``i`` has ``(i + 1) / (warmup_steps + 1)`` of
            the first value, and the formula's ``step``, ``steps`` and ``progress`` begin after it. With
            ``interval="epoch"`` the warm-up is multiplied onto the formula instead, which keeps its count of epochs.
        warmup_epochs: The same in epochs; it goes up each epoch or each step, as the interval is.
        allow_unused: Whether parameters may be given that the formula doesn't use.
        **params: The formula's named parameters, or the preset's arguments.

    Attributes:
        expression: The formula's text; a preset's too.
        params: Its named parameters.
        names: The variables and parameters that it uses.
        metrics: The metrics that it uses.
        recursive: Whether it uses ``lr``, so that a value depends on the one before. A formula that is not depends on
            the counters alone (closed).

    Raises:
        FormulaError: If the formula or an argument makes no sense; the message names the position and the nearest
            known name.

    >>> formula = Formula("base_lr / (1 + decay_rate * epoch)", decay_rate=0.5)
    >>> str(formula)
    'base_lr / (1 + decay_rate * epoch) (decay_rate=0.5)'
    """

    def __init__(
        self,
        expression: str | Callable[..., float] | None = None,
        *,
        preset: str | None = None,
        interval: Interval | None = None,
        warmup_steps: int = 0,
        warmup_epochs: int = 0,
        allow_unused: bool = False,
        **params: Any,
    ):
        if (expression is None) == (preset is None):
            both = "" if preset is None else ", not both"
            raise FormulaError(f"give either an expression or a preset{both}")
        self._arguments = (expression, preset, interval, warmup_steps, warmup_epochs, params)
        check_flag("allow_unused", allow_unused)
        self.interval = _interval(interval, preset)
        if preset is not None:
            check_preset(preset)
            if preset == "noam" and warmup_steps:
                params, warmup_steps = {**params, "warmup_steps": warmup_steps}, 0
            expression, params = expand(preset, self.interval, params)
        self.warmup_steps, self.warmup_epochs = _check_warmup(warmup_steps, warmup_epochs)
        self.params = _check_params(params)
        self.program: Program | FunctionProgram
        if isinstance(expression, str):
            self.program = Program(expression, self.params, per_step=self.interval == "step")
        elif callable(expression):
            self.program = FunctionProgram(expression, per_step=self.interval == "step")
        else:
            raise FormulaError(f"expression must be a string or a function, got {shown(expression)}")
        self.expression = self.program.text
        self.names = frozenset(self.program.names)
        self.metrics = tuple(self.program.metrics)
        self.recursive = "lr" in self.names
        if not allow_unused and preset is None:
            check_used(self.params, [self])
        if self.interval == "epoch" and "batch" in self.names:
            raise self.program.complaint("batch", "'batch' is always 0 with interval='epoch'; use interval='step'")

    @property
    def preset(self) -> str | None:
        """The preset's name; None for an expression or a function.

        >>> Formula(preset="cosine").preset
        'cosine'
        """
        name: str | None = self._arguments[1]
        return name

    @property
    def uses_base(self) -> bool:
        """Whether a change of the base LR (by a range test) changes the formula's value."""
        return bool(self.names & {"lr", "base_lr"})

    def __str__(self) -> str:
        warmups = {"warmup_steps": self.warmup_steps, "warmup_epochs": self.warmup_epochs}
        shown = {**self.params, **{name: value for name, value in warmups.items() if value}}
        listed = ", ".join(f"{name}={value:g}" for name, value in shown.items())
        return f"{self.expression} ({listed})" if listed else self.expression

    def __repr__(self) -> str:
        return f"Formula({str(self)!r}, interval={self.interval!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._arguments


class FunctionProgram:
    """A user's function in the place of a :class:`Program`."""

    metrics: tuple[str, ...] = ()
    nodes = 50  # counts as a long formula

    def __init__(self, function: Callable[..., float], per_step: bool):
        self.text = f"<{getattr(function, '__name__', type(function).__name__)}>"
        self.function = function
        count = _positional(function)
        if count not in (1, 2):
            raise FormulaError(f"a function takes (epoch, lr) or (epoch), {self.text} takes {count} arguments")
        counter = "step" if per_step else "epoch"
        self.names = dict.fromkeys((counter, "lr")[:count], 0)
        self._place, self._with_lr = VARIABLES.index(counter), count == 2

    def scalar(self, env: Sequence[Any]) -> float:
        """Call the function."""
        counter = int(env[self._place])
        result = self.function(counter, env[0]) if self._with_lr else self.function(counter)
        if isinstance(result, (bool, str)) or not hasattr(result, "__float__"):
            raise FormulaError(f"{self.text} returned {result!r}, not a number")
        return float(result)

    def failure(self, env: Sequence[Any], error: Exception, where: str) -> Exception:
        """The function's own error, as it is."""
        return error

    def complaint(self, name: str, message: str) -> FormulaError:
        """A complaint about the use of a name."""
        return FormulaError(f"{message} (in {self.text})")


def check_used(params: Mapping[str, float], formulas: Sequence[Formula]) -> None:
    """Refuse parameters that no formula uses: most often a misspelt argument.

    Raises:
        FormulaError: If there is one.

    >>> check_used({"rate": 0.5}, [Formula("base_lr * rate ** epoch", rate=0.5)])
    """
    used = frozenset().union(*(formula.names for formula in formulas))
    for name in params:
        if name not in used:
            arguments = set(inspect.signature(Formula).parameters) - {"params", "allow_unused"}
            texts = ", ".join(repr(formula.expression) for formula in formulas)
            raise FormulaError(f"parameter {name!r} isn't used in {texts}{nearest(name, used | arguments)}")


def _interval(interval: str | None, preset: str | None) -> Interval:
    if interval is None:
        return "step" if isinstance(preset, str) and preset in STEPWISE else "epoch"
    check_choice("interval", interval, ("epoch", "step"), error=FormulaError)
    return "epoch" if interval == "epoch" else "step"


def _check_warmup(steps: object, epochs: object) -> tuple[int, int]:
    whole_steps = check_count("warmup_steps", steps, 0, error=FormulaError)
    whole_epochs = check_count("warmup_epochs", epochs, 0, error=FormulaError)
    if steps and epochs:
        raise FormulaError(f"give warmup_steps or warmup_epochs, not both, got {steps!r} and {epochs!r}")
    return whole_steps, whole_epochs


def _check_params(params: Mapping[str, Any]) -> dict[str, float]:
    for name in params:
        if name in RESERVED or keyword.iskeyword(name):
            raise FormulaError(f"parameter {name!r} has the name of a word of the language or of Python; rename it")
        try:
            tokens = scan(name)
        except FormulaError:
            tokens = []
        if [kind for kind, _, _ in tokens] != ["name"]:
            raise FormulaError(f"parameter {name!r} is not a name of letters, digits and _")
    return {name: check_number(name, value) for name, value in params.items()}


def _positional(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 2
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in plain)
    return max(required, min(len(plain), 2))


def _rebuild(expression: Any, preset: Any, interval: Any, steps: int, epochs: int, params: dict[str, Any]) -> Formula:
    return Formula(
        expression,
        preset=preset,
        interval=interval,
        warmup_steps=steps,
        warmup_epochs=epochs,
        allow_unused=True,
        **params,
    )
