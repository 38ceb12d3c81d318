"""Well-known schedules as formulas.

Each function is one preset. It returns the formula's text and its named parameters, so that a preset is no more than a
formula that somebody has already written down. In the docstrings ``t`` is the counter of the interval (``epoch`` or
``step``, from 0) and ``T`` its total over the run, or ``total`` where that is given. Every factor is relative to
``base_lr``: presets compose with a range test and with plateau decays. Formulas that divide by an epoch or step number
count from 1 there: ``epoch + 1``, ``step + 1``.
"""

import contextlib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lr_lightning.rules import checks
from lr_lightning.rules.checks import nearest, shown
from lr_lightning.rules.formula.text import FormulaError


class Unit(NamedTuple):
    """The counter of a formula's interval and its total.

    >>> Unit("epoch", "epochs").t
    'epoch'
    """

    t: str
    total: str


UNITS = {"epoch": Unit("epoch", "epochs"), "step": Unit("step", "steps")}
_MOST_MILESTONES = 90
"""Each nests the sum of milestones one level deeper, and a formula may be 100 levels deep."""
Preset = tuple[str, dict[str, float]]


def inverse_time(unit: Unit, decay_rate: float = 0.05) -> Preset:
    """``base_lr / (1 + decay_rate * t)``, often called linear decay or time-based decay.

    >>> inverse_time(Unit("epoch", "epochs"), decay_rate=0.1)
    ('base_lr / (1 + decay_rate * epoch)', {'decay_rate': 0.1})
    """
    return f"base_lr / (1 + decay_rate * {unit.t})", {"decay_rate": decay_rate}


def exponential(unit: Unit, gamma: float = 0.99) -> Preset:
    """``base_lr * gamma ** t`` (torch: ExponentialLR).

    >>> exponential(Unit("epoch", "epochs"))
    ('base_lr * gamma ** epoch', {'gamma': 0.99})
    """
    return f"base_lr * gamma ** {unit.t}", {"gamma": gamma}


def inverse_sqrt_epoch(unit: Unit, k: float = 1.0) -> Preset:
    """``base_lr * k / sqrt(epoch + 1)``: k/√epoch, epochs counted from 1.

    >>> inverse_sqrt_epoch(Unit("epoch", "epochs"))
    ('base_lr * k / sqrt(epoch + 1)', {'k': 1.0})
    """
    return "base_lr * k / sqrt(epoch + 1)", {"k": k}


def inverse_sqrt_step(unit: Unit, k: float = 1.0) -> Preset:
    """``base_lr * k / sqrt(step + 1)``: k/√batch, batches counted from 1 and over the whole run.

    ``base_lr * k / sqrt(batch + 1)`` starts anew with every epoch.

    >>> inverse_sqrt_step(Unit("step", "steps"))
    ('base_lr * k / sqrt(step + 1)', {'k': 1.0})
    """
    _refuse_epoch("inverse_sqrt_step", unit)
    return "base_lr * k / sqrt(step + 1)", {"k": k}


def inverse_sqrt(unit: Unit, k: float = 1.0) -> Preset:
    """``base_lr * k / sqrt(t + 1)``: ``inverse_sqrt_epoch`` or ``inverse_sqrt_step``, as the interval is.

    >>> inverse_sqrt(Unit("epoch", "epochs"))[0]
    'base_lr * k / sqrt(epoch + 1)'
    """
    return f"base_lr * k / sqrt({unit.t} + 1)", {"k": k}


def from_epoch(unit: Unit, n: int = 10, factor: float = 0.9) -> Preset:
    """``base_lr`` until epoch ``n``, then multiplied by ``factor`` each epoch, at epoch ``n`` for the first time.

    ``base_lr if epoch < n else base_lr * factor ** (epoch - n + 1)``

    >>> from_epoch(Unit("epoch", "epochs"))[0]
    'base_lr if epoch < n else base_lr * factor ** (epoch - n + 1)'
    """
    return "base_lr if epoch < n else base_lr * factor ** (epoch - n + 1)", {"n": _count("n", n, 0), "factor": factor}


def step(unit: Unit, step_size: int = 10, gamma: float = 0.1) -> Preset:
    """``base_lr * gamma ** (t // step_size)`` (torch: StepLR).

    >>> step(Unit("epoch", "epochs"))[0]
    'base_lr * gamma ** (epoch // step_size)'
    """
    return f"base_lr * gamma ** ({unit.t} // step_size)", {"step_size": _count("step_size", step_size), "gamma": gamma}


def multistep(unit: Unit, milestones: Iterable[int], gamma: float = 0.1) -> Preset:
    """``base_lr * gamma ** ((t >= m1) + (t >= m2) + …)`` (torch: MultiStepLR).

    >>> multistep(Unit("epoch", "epochs"), [10, 20])[0]
    'base_lr * gamma ** ((epoch >= 10) + (epoch >= 20))'
    """
    if isinstance(milestones, (str, bytes)) or not isinstance(milestones, Iterable):
        raise FormulaError(f"milestones must be a list of integers, got {shown(milestones)}")
    places = [_count("milestones", m, 0) for m in milestones]
    if not 0 < len(places) <= _MOST_MILESTONES:
        raise FormulaError(f"milestones must hold 1 to {_MOST_MILESTONES} integers, got {shown(milestones)}")
    passed = " + ".join(f"({unit.t} >= {m})" for m in places)
    return f"base_lr * gamma ** ({passed})", {"gamma": gamma}


def linear(unit: Unit, start_factor: float = 1.0, end_factor: float = 0.0, total: int | None = None) -> Preset:
    """``base_lr * (start_factor + (end_factor - start_factor) * min(t / T, 1))`` (torch: LinearLR).

    >>> linear(Unit("epoch", "epochs"))[0]
    'base_lr * (start_factor + (end_factor - start_factor) * min(epoch / epochs, 1))'
    """
    name, params = _total(unit, total)
    text = f"base_lr * (start_factor + (end_factor - start_factor) * min({unit.t} / {name}, 1))"
    return text, {"start_factor": start_factor, "end_factor": end_factor, **params}


def polynomial(unit: Unit, power: float = 1.0, total: int | None = None) -> Preset:
    """``base_lr * (1 - min(t / T, 1)) ** power`` (torch: PolynomialLR).

    >>> polynomial(Unit("epoch", "epochs"), power=2)[0]
    'base_lr * (1 - min(epoch / epochs, 1)) ** power'
    """
    name, params = _total(unit, total)
    return f"base_lr * (1 - min({unit.t} / {name}, 1)) ** power", {"power": power, **params}


def cosine(unit: Unit, final_factor: float = 0.0, total: int | None = None) -> Preset:
    """``base_lr * (final_factor + (1 - final_factor) * (1 + cos(pi * min(t / T, 1))) / 2)``.

    Loshchilov & Hutter, "SGDR", 2017, eq. 5 (torch: CosineAnnealingLR with ``T_max = T`` and
    ``eta_min = final_factor * base_lr``). After ``total`` it stays at its final value, where torch's goes up again.

    >>> cosine(Unit("epoch", "epochs"))[0]
    'base_lr * (final_factor + (1 - final_factor) * (1 + cos(pi * min(epoch / epochs, 1))) / 2)'
    """
    name, params = _total(unit, total)
    return _cosine(f"min({unit.t} / {name}, 1)"), {"final_factor": final_factor, **params}


def cosine_restarts(unit: Unit, t_0: int = 10, t_mult: int = 1, final_factor: float = 0.0) -> Preset:
    """Cosines that start again: the first lasts ``t_0``, each next one ``t_mult`` times as long.

    ``base_lr * (final_factor + (1 - final_factor) * (1 + cos(pi * x)) / 2)``, where ``x`` is the fraction of the cycle
    that has passed: ``t % t_0 / t_0`` for ``t_mult = 1``, else ``(t - start) / (t_0 * t_mult ** n)`` with the cycle's
    number ``n = floor(log(t / t_0 * (t_mult - 1) + 1) / log(t_mult))`` and its start
    ``t_0 * (t_mult ** n - 1) / (t_mult - 1)``.
    Loshchilov & Hutter, "SGDR", 2017 (torch: CosineAnnealingWarmRestarts).

    >>> cosine_restarts(Unit("epoch", "epochs"))[0]
    'base_lr * (final_factor + (1 - final_factor) * (1 + cos(pi * (epoch % t_0) / t_0)) / 2)'
    """
    params = {"t_0": _count("t_0", t_0), "final_factor": final_factor}
    if _count("t_mult", t_mult) == 1:
        return _cosine(f"({unit.t} % t_0) / t_0"), params
    # 1e-9: a logarithm that should be a whole number may come out a bit below it
    number = f"floor(log({unit.t} / t_0 * (t_mult - 1) + 1) / log(t_mult) + 1e-9)"
    start = f"t_0 * (t_mult ** {number} - 1) / (t_mult - 1)"
    passed = f"({unit.t} - {start}) / (t_0 * t_mult ** {number})"
    return _cosine(passed), {**params, "t_mult": t_mult}


def one_cycle(
    unit: Unit,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    total: int | None = None,
) -> Preset:
    """Cosine from ``base_lr / div_factor`` up to ``base_lr``, and down to ``base_lr / div_factor / final_div_factor``.

    With ``up = pct_start * T - 1``, ``low = 1 / div_factor`` and ``last = low / final_div_factor``:
    ``base_lr * (low + (1 - low) * (1 - cos(pi * t / up)) / 2 if t < up else
    last + (1 - last) * (1 + cos(pi * (t - up) / (T - 1 - up))) / 2)``.
    Smith & Topin, "Super-Convergence", 2018 (torch: OneCycleLR with ``max_lr = base_lr``).

    >>> sorted(one_cycle(Unit("step", "steps"))[1])
    ['div_factor', 'final_div_factor', 'pct_start']
    """
    name, params = _total(unit, total)
    if not 0 < pct_start < 1:
        raise FormulaError(f"pct_start must be between 0 and 1, got {pct_start!r}")
    t, up = unit.t, f"(pct_start * {name} - 1)"
    rise = f"1 / div_factor + (1 - 1 / div_factor) * (1 - cos(pi * {t} / {up})) / 2"
    last, passed = "1 / (div_factor * final_div_factor)", f"min(({t} - {up}) / ({name} - 1 - {up}), 1)"
    fall = f"{last} + (1 - {last}) * (1 + cos(pi * {passed})) / 2"
    given = {"pct_start": pct_start, "div_factor": div_factor, "final_div_factor": final_div_factor}
    return f"base_lr * ({rise} if {t} < {up} else {fall})", {**given, **params}


def triangular(
    unit: Unit,
    up: int = 2000,
    down: int | None = None,
    low: float = 0.1,
    gamma: float = 1.0,
    cycle_gamma: float = 1.0,
) -> Preset:
    """Straight lines from ``low * base_lr`` up to ``base_lr`` in ``up`` and back in ``down`` (default ``up``).

    ``base_lr * (low + (1 - low) * fade * min(x / up, (up + down - x) / down))`` with ``x = t % (up + down)`` and
    ``fade = gamma ** t * cycle_gamma ** (t // (up + down))``. ``cycle_gamma=0.5`` is "triangular2",
    ``gamma < 1`` is "exp_range".
    Smith, "Cyclical Learning Rates", 2017 (torch: CyclicLR with ``base_lr = low * base_lr`` and ``max_lr = base_lr``).

    >>> sorted(triangular(Unit("step", "steps"))[1])
    ['cycle_gamma', 'down', 'gamma', 'low', 'up']
    """
    params = {"up": _count("up", up), "down": _count("down", up if down is None else down), "low": low}
    x = f"({unit.t} % (up + down))"
    shape = f"min({x} / up, (up + down - {x}) / down)"
    fade = f"gamma ** {unit.t} * cycle_gamma ** ({unit.t} // (up + down))"
    text = f"base_lr * (low + (1 - low) * {fade} * {shape})"
    return text, {**params, "gamma": gamma, "cycle_gamma": cycle_gamma}


def wsd(
    unit: Unit, warmup: float = 0.05, decay: float = 0.2, final_factor: float = 0.0, total: int | None = None
) -> Preset:
    """Warm-up, stable, decay: ``warmup`` and ``decay`` are fractions of the run, both linear.

    ``base_lr * min((t + 1) / (warmup * T + 1), 1, final_factor + (1 - final_factor) * (T - t) / max(decay * T, 2))``:
    where the decay would be shorter than two epochs or steps, the last one has half the LR, for else it never came.
    Hu et al., "MiniCPM", 2024, section 4.2, with a linear decay (Hägele et al., "Scaling Laws Beyond Fixed Training
    Durations", 2024).

    >>> sorted(wsd(Unit("step", "steps"))[1])
    ['decay', 'final_factor', 'warmup']
    """
    name, params = _total(unit, total)
    if warmup < 0 or decay <= 0 or warmup + decay > 1:
        raise FormulaError(f"wsd needs warmup >= 0, decay > 0 and a sum of at most 1, got {warmup!r} and {decay!r}")
    fall = f"final_factor + (1 - final_factor) * max({name} - {unit.t}, 0) / max(decay * {name}, 2)"
    text = f"base_lr * min(({unit.t} + 1) / (warmup * {name} + 1), 1, {fall})"
    return text, {"warmup": warmup, "decay": decay, "final_factor": final_factor, **params}


def noam(unit: Unit, d_model: int = 512, warmup_steps: int = 4000) -> Preset:
    """``base_lr * d_model ** -0.5 * min((step + 1) ** -0.5, (step + 1) * warmup_steps ** -1.5)``, steps from 1.

    Vaswani et al., "Attention Is All You Need", 2017, eq. 3; ``base_lr`` is its factor, 1 in the paper.
    ``warmup_steps`` is part of this formula, not put in front of it.

    >>> sorted(noam(Unit("step", "steps"))[1])
    ['d_model', 'warmup_steps']
    """
    _refuse_epoch("noam", unit)
    text = "base_lr * d_model ** -0.5 * min((step + 1) ** -0.5, (step + 1) * warmup_steps ** -1.5)"
    return text, {"d_model": _count("d_model", d_model), "warmup_steps": _count("warmup_steps", warmup_steps)}


PRESETS: dict[str, Callable[..., Preset]] = {
    function.__name__: function
    for function in (
        *(inverse_time, exponential, inverse_sqrt_epoch, inverse_sqrt_step, inverse_sqrt, from_epoch, step, multistep),
        *(linear, polynomial, cosine, cosine_restarts, one_cycle, triangular, wsd, noam),
    )
}
# Presets whose papers count steps: interval="step" unless told otherwise.
STEPWISE = frozenset({"inverse_sqrt_step", "one_cycle", "triangular", "noam"})
_BESIDE = ("interval", "warmup_epochs", "warmup_steps")
"""What a formula takes beside any preset's own arguments: a misspelt name may be one of these."""


def expand(preset: str, interval: str, params: Mapping[str, Any]) -> Preset:
    """Text and parameters of a preset.

    Args:
        preset: A name in :data:`PRESETS`.
        interval: ``"epoch"`` or ``"step"``.
        params: Arguments of the preset.

    Raises:
        FormulaError: If the preset or one of the arguments is unknown, missing or impossible.

    >>> expand("exponential", "epoch", {"gamma": 0.9})
    ('base_lr * gamma ** epoch', {'gamma': 0.9})
    """
    check_preset(preset)
    known = dict(list(inspect.signature(PRESETS[preset]).parameters.items())[1:])
    for name in params:
        if name not in known:
            raise FormulaError(f"preset {preset!r} has no parameter {name!r}{nearest(name, [*known, *_BESIDE])}")
    missing = [name for name, p in known.items() if p.default is p.empty and name not in params]
    if missing:
        raise FormulaError(f"preset {preset!r} needs {', '.join(missing)}")
    for name, value in params.items():
        if name != "milestones" and not (value is None and known[name].default is None):
            check_number(name, value)
    return PRESETS[preset](UNITS[interval], **params)


def check_preset(preset: object) -> None:
    """Refuse an unknown preset.

    Raises:
        FormulaError: If ``preset`` isn't a name in :data:`PRESETS`.

    >>> check_preset("cosine")
    """
    if not isinstance(preset, str):
        raise FormulaError(f"preset must be one of {', '.join(PRESETS)}, got {shown(preset)}")
    if preset not in PRESETS:
        raise FormulaError(f"unknown preset {shown(preset)}{nearest(preset, PRESETS)}; all: {', '.join(PRESETS)}")


def check_number(name: str, value: object) -> float:
    """Return a parameter's value as a float.

    Raises:
        FormulaError: If it isn't a finite number.

    >>> check_number("gamma", 0.9)
    0.9
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(float(value)):
                return float(value)
    raise FormulaError(f"parameter {name!r} must be a finite number, got {shown(value)}")


def _count(name: str, value: Any, least: int = 1) -> int:
    return checks.check_count(name, value, least, error=FormulaError)


def _total(unit: Unit, total: int | None) -> tuple[str, dict[str, float]]:
    return (unit.total, {}) if total is None else ("total", {"total": _count("total", total)})


def _cosine(passed: str) -> str:
    return f"base_lr * (final_factor + (1 - final_factor) * (1 + cos(pi * {passed})) / 2)"


def _refuse_epoch(preset: str, unit: Unit) -> None:
    if unit.t == "epoch":
        raise FormulaError(f"preset {preset!r} counts steps: give interval='step' (or leave it out)")
