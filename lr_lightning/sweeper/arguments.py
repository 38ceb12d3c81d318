"""What a user says to the sweeper: its settings, and the overrides beside it, as axes of the search and repeats."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from lr_lightning.rules.checks import check_count, check_flag, check_name, shown
from lr_lightning.rules.search.axes import Axis, Value, axis_from
from lr_lightning.rules.search.records import SearchSettings
from lr_lightning.sweeper.adapt import quoted
from lr_lightning.sweeper.errors import SearchRefused

log = logging.getLogger(__name__)

_RULE = ("mode", "budget", "first", "later", "tolerance", "widen_by", "confidence", "seed")


def settings_from(options: Mapping[str, Any]) -> SearchSettings:
    """The rule's settings from the sweeper's config.

    Raises:
        ValueError: If a value is out of its bounds.
    """
    if options["param"] is None:
        raise ValueError("hydra.sweeper.param must be the key of the learning rate, as model.lr; it is not given")
    first = Axis(options["param"], options["low"], options["high"], widen=options["widen"])
    _check_rest(options)
    try:
        given = _params(options).items()
        axes = [axis_from(name, item) for name, item in given if not isinstance(item, str)]
    except ValueError as error:
        raise ValueError(f"params: {error}") from None
    return SearchSettings((first, *axes), **{name: options[name] for name in _RULE})


def lines_of(options: Mapping[str, Any]) -> list[str]:
    """The overrides among ``params``, written as other sweepers of Hydra have them: ``model.width: choice(8, 16)``.

    >>> lines_of({"params": {"model.width": "choice(8, 16)", "model.dropout": {"low": 0.0, "high": 0.5}}})
    ['model.width=choice(8, 16)']
    """
    return [f"{name}={item}" for name, item in _params(options).items() if isinstance(item, str)]


def _params(options: Mapping[str, Any]) -> dict[str, Any]:
    params = {} if options["params"] is None else options["params"]
    more: Any = OmegaConf.to_container(params) if OmegaConf.is_config(params) else params
    if not isinstance(more, dict):
        raise ValueError(
            f"params must map keys to {{low, high}}, {{choices}} or overrides such as choice(8, 16), got {shown(more)}"
        )
    return {str(name): item for name, item in more.items()}


def _check_rest(options: Mapping[str, Any]) -> None:
    """What isn't the rule's."""
    for name, what in (("score", "a score"), ("prune", "a metric, auto or null"), ("resume", "a sweep's folder")):
        if options[name] is not None:
            check_name(name, options[name], what)
    check_flag("range_test", options["range_test"])
    if options["max_batch_size"] is not None:
        check_count("max_batch_size", options["max_batch_size"], 1)
    given = options["range_test_overrides"]
    given = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given
    if given is not None and not (isinstance(given, (list, tuple)) and all(isinstance(x, str) for x in given)):
        raise ValueError(f"range_test_overrides must be a list of overrides, got {shown(given)}")


def split(
    loader: Any, settings: SearchSettings, arguments: list[str], lines: Sequence[str] = ()
) -> tuple[SearchSettings, list[list[str]]]:
    """The overrides beside the search: ``interval(…)`` and ``choice(…)`` become axes, other sweeps repeats.

    Args:
        loader: Hydra's config loader.
        settings: With the axes of the sweeper's own config.
        arguments: The overrides of the command line.
        lines: The overrides of the sweeper's own config.

    Returns:
        The settings with all axes; the repeats, all combinations of sweeps such as ``seed=0,1,2``, whose scores are
        averaged.

    Raises:
        SearchRefused: If a searched parameter has a value on the command line, or an axis makes no sense.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([*lines, *arguments])
    except OverrideParseException as error:  # Hydra has parsed the command line before
        raise SearchRefused(f"params: {error}") from None
    searched = {axis.name.lstrip("+") for axis in settings.axes}
    extra: list[Axis] = []
    choices: list[list[str]] = []
    for number, override in enumerate(parsed):
        key, line = override.get_key_element(), str(override.input_line)
        if key.lstrip("+~") in searched:
            raise SearchRefused(f"{key} is chosen by the search: drop {line!r} from the command line")
        if number < len(lines):
            searched.add(key.lstrip("+~"))
        try:
            axis = _axis(key, override)
        except ValueError as error:
            raise SearchRefused(f"{line}: {error}") from None
        if axis is not None:
            extra.append(axis)
        elif override.is_sweep_override():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
            log.info(
                "%s: its %d values are repeats of each point, scores are averaged over them", key, len(choices[-1])
            )
        else:
            choices.append([line])
    repeats = [list(combination) for combination in itertools.product(*choices)]
    try:
        return replace(settings, axes=(*settings.axes, *extra)), repeats
    except ValueError as error:
        raise SearchRefused(str(error)) from None


def _axis(key: str, override: Any) -> Axis | None:
    """An interval, ``tag(log, …)`` for a log scale, a ``choice(…)`` or a config group's ``glob(*)``; None for the rest.

    Hydra's bounds are bounds: such a range doesn't widen.
    """
    from hydra.core.override_parser.types import ValueType

    sweep = override.value()
    if override.is_interval_sweep():
        whole = "int" in sweep.tags or (isinstance(sweep.start, int) and isinstance(sweep.end, int))
        scale = "log" if "log" in sweep.tags else "linear"
        return Axis(key, float(sweep.start), float(sweep.end), scale=scale, integer=whole, widen=False)
    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        values = tuple(override.sweep_string_iterator())
    elif override.is_choice_sweep() and not sweep.simple_form:
        values = tuple(getattr(item, "text", item) for item in sweep.list)
    else:
        return None
    if len(values) < 2:
        return None
    if not all(value is None or isinstance(value, (str, bool, int, float)) for value in values):
        return None  # lists and mappings have no order in which neighbours could inform each other
    return Axis(key, choices=values)


def text(value: Value) -> str:
    """A value as Hydra's override grammar takes it."""
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else repr(value)
