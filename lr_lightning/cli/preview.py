"""Formulas as curves in the terminal and as an HTML page, without training."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lr_lightning.cli.given import Refused
from lr_lightning.rules.checks import MOST_LR, MOST_STEPS, check_count, check_number, shown
from lr_lightning.rules.formula.formula import Formula
from lr_lightning.rules.formula.schedule import Horizon, Schedule
from lr_lightning.rules.formula.text import FormulaError

EPOCHS = 10
STEPS_PER_EPOCH = 100
PAGE = "lr_preview.html"
_MOST_DRAWN = 10_000_000  # steps: a recursive formula is computed at each
_MARKS = "●○◆◇■□▲△"
_ASCII_MARKS = "*o+x#%@="

Formulas = str | Formula | Sequence[str | Formula] | Mapping[str, str | Formula]


def preview(
    formulas: Formulas,
    *,
    epochs: int = EPOCHS,
    steps_per_epoch: int = STEPS_PER_EPOCH,
    base_lr: float = 1.0,
    metrics: Mapping[str, float] | None = None,
    html: str | Path | None = None,
    width: int | None = None,
    height: int = 16,
) -> str:
    """Draw formulas over a run: as text, and as an HTML page on request.

    Args:
        formulas: One formula or several; a mapping gives them names. Text is taken as a formula by epoch.
        epochs: Length of the run.
        steps_per_epoch: Optimizer steps in an epoch.
        base_lr: The LR that the formulas start from.
        metrics: Values for ``metric(…)``, constant over the run.
        html: Where to write the page; ``None`` writes none. It holds plotly.js and works without a network.
        width: Width of the text in characters; default: the terminal's.
        height: Height of the plot in lines.

    Returns:
        The text.

    Raises:
        FormulaError: If a formula is impossible on this run.
        ValueError: If an argument is out of its range (so is a FormulaError).

    >>> text = preview({"half": "base_lr * 0.5 ** epoch"}, epochs=4, width=60, height=6)
    >>> "half" in text
    True
    """
    named = _named(formulas)
    _check_run(epochs, steps_per_epoch, base_lr, metrics)
    if width is not None:
        check_count("width", width, 1, 1000)
    check_count("height", height, 1, 200)
    if not (html is None or isinstance(html, (str, Path))):
        raise ValueError(f"html must be a file's path or None, got {shown(html)}")
    horizon = Horizon.of(epochs, steps_per_epoch)
    schedules = {name: Schedule(formula, horizon) for name, formula in named.items()}
    notes = [warning for schedule in schedules.values() if (warning := schedule.check(base_lr))]
    curves = {name: schedule.curve(base_lr, metrics or {}) for name, schedule in schedules.items()}
    if html is not None:
        from lr_lightning.reporting.figures.page import page

        Path(html).parent.mkdir(parents=True, exist_ok=True)
        drawn = figure(named, epochs=epochs, steps_per_epoch=steps_per_epoch, base_lr=base_lr, metrics=metrics)
        told = f"{epochs} epochs of {steps_per_epoch:,} steps from base LR {base_lr:g}"
        Path(html).write_text(page(drawn, "Learning-rate formulas", told), encoding="utf-8")
    columns = max(40, min(width or shutil.get_terminal_size((100, 24)).columns, 160))
    lines = list(_plot(curves, columns, max(4, height), horizon, _can_encode(_MARKS)))
    return "\n".join([*lines, *(f"warning: {note}" for note in notes)])


def figure(
    formulas: Formulas,
    *,
    epochs: int = EPOCHS,
    steps_per_epoch: int = STEPS_PER_EPOCH,
    base_lr: float = 1.0,
    metrics: Mapping[str, float] | None = None,
) -> Any:
    """The curves of several formulas as one plotly figure, over epochs if all of them change by epoch, else steps.

    Args:
        formulas: As for :func:`preview`.
        epochs: Length of the run.
        steps_per_epoch: Optimizer steps in an epoch.
        base_lr: The LR that the formulas start from.
        metrics: Values for ``metric(…)``, constant over the run.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        FormulaError: If a formula is impossible on this run.

    >>> len(figure({"half": "base_lr * 0.5 ** epoch", "cosine": "base_lr * cos(progress)"}, epochs=4).data)
    2
    """
    from lr_lightning.reporting.figures import formula_figure

    named = _named(formulas)
    _check_run(epochs, steps_per_epoch, base_lr, metrics)
    by_epoch = all(formula.interval == "epoch" and not formula.warmup_steps for formula in named.values())
    curves = {}
    for name, formula in named.items():
        steps, lrs = Schedule(formula, Horizon.of(epochs, steps_per_epoch)).curve(base_lr, metrics or {})
        curves[name] = ([step / steps_per_epoch for step in steps] if by_epoch else steps, lrs)
    return formula_figure(curves, x_title="epoch" if by_epoch else "step")


def _check_run(epochs: object, steps_per_epoch: object, base_lr: object, metrics: object) -> None:
    steps = check_count("epochs", epochs, 1, MOST_STEPS) * check_count(
        "steps_per_epoch", steps_per_epoch, 1, MOST_STEPS
    )
    if steps > _MOST_DRAWN:
        raise FormulaError(f"epochs={epochs!r} of steps_per_epoch={steps_per_epoch!r} are too long a run to draw")
    check_number("base_lr", base_lr, 0.0, error=FormulaError)
    if metrics is None:
        return
    if not isinstance(metrics, Mapping):
        raise FormulaError(f"metrics must map names to numbers, got {shown(metrics)}")
    for name, value in metrics.items():
        check_number(f"metrics[{name!r}]", value, error=FormulaError)


def _named(formulas: Formulas) -> dict[str, Formula]:
    if isinstance(formulas, (str, Formula)):
        formulas = [formulas]
    listed = isinstance(formulas, (Mapping, Sequence)) and not isinstance(formulas, bytes)
    values = formulas.values() if isinstance(formulas, Mapping) else formulas
    if not listed or not all(isinstance(formula, (str, Formula)) for formula in values):
        raise FormulaError(
            f"formulas must be a formula, a list or a mapping of names to formulas, got {shown(formulas)}"
        )
    if not formulas:
        raise FormulaError(f"no formula to preview: formulas is {formulas!r}")
    if not isinstance(formulas, Mapping):
        formulas = {str(formula): formula for formula in formulas}
    return {name: Formula(formula) if isinstance(formula, str) else formula for name, formula in formulas.items()}


def _can_encode(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _plot(
    curves: Mapping[str, tuple[list[float], list[float]]], columns: int, height: int, horizon: Horizon, unicode: bool
) -> Iterator[str]:
    marks = _MARKS if unicode else _ASCII_MARKS
    bar, corner, dash = "│└─" if unicode else "|+-"
    label = 11
    room = columns - label - 2
    last = max(1.0, (horizon.steps or 1) - 1.0)
    top = max(max(lrs) for _, lrs in curves.values()) or 1.0
    cells = [[" "] * room for _ in range(height)]
    for number, (steps, lrs) in enumerate(curves.values()):
        for column, lr in enumerate(_resampled(steps, lrs, room, last)):
            cells[height - 1 - round(lr / top * (height - 1))][column] = marks[number % len(marks)]
    for row, line in enumerate(cells):
        value = top * (height - 1 - row) / (height - 1)
        shown = f"{value:.3g}" if row % 5 == 0 or row == height - 1 else ""
        yield f"{shown:>{label}} {bar}{''.join(line)}".rstrip()
    yield f"{'':>{label}} {corner}{dash * room}"
    end = f"step {last:.0f}, end of epoch {(horizon.epochs or 1) - 1}"
    yield f"{'':>{label}}  {'step 0':<{max(room - len(end), 7)}}{end}"
    for number, (name, (_, lrs)) in enumerate(curves.items()):
        yield f"{marks[number % len(marks)]:>{label}} {name}"
        yield f"{'':>{label}} first {lrs[0]:.4g}, least {min(lrs):.4g}, greatest {max(lrs):.4g}, last {lrs[-1]:.4g}"


def _resampled(steps: Sequence[float], lrs: Sequence[float], columns: int, last: float) -> Iterator[float]:
    """The LR in force at the step of each column."""
    place = 0
    for column in range(columns):
        step = column / max(1, columns - 1) * last
        while place + 1 < len(steps) and steps[place + 1] <= step:
            place += 1
        yield lrs[place]


class NoFormula(Refused, FormulaError):
    """There is nothing to preview.

    >>> try:
    ...     preview_command({"callbacks": {}})
    ... except NoFormula as error:
    ...     print(error)
    no formula in this configuration; choose callbacks=lr_formula and give callbacks.lr_formula.expression or
    callbacks.lr_formula.preset
    """


def preview_command(cfg: Any) -> None:
    """``lr-lightning preview``: print every formula of a composed configuration, and write the HTML page.

    The run's length is ``preview.epochs`` or ``trainer.max_epochs``, and ``preview.steps_per_epoch`` or a whole
    ``trainer.limit_train_batches``; the LR is ``preview.base_lr``, ``model.lr`` or ``optimizer.lr``; the page goes to
    ``preview.html``. What is given nowhere is assumed, and the output says so. No data are loaded.

    Args:
        cfg: The configuration, with LRFormula entries in ``callbacks``.

    Raises:
        FormulaError: If there is no formula, or one is impossible.
    """
    from hydra.utils import instantiate

    formulas: dict[str, Formula] = {}
    for key, entry in (cfg.get("callbacks") or {}).items():
        given = entry and any(entry.get(name) for name in ("expression", "preset", "groups"))
        if given and str(entry.get("_target_", "")).rsplit(".", 1)[-1] == "LRFormula":
            for group, formula in instantiate(entry).formulas.items():
                formulas[f"{key}{f' [{group}]' if group else ''}: {formula}"] = formula
    if not formulas:
        raise NoFormula(
            "no formula in this configuration; choose callbacks=lr_formula and give callbacks.lr_formula.expression or "
            "callbacks.lr_formula.preset"
        )
    epochs, steps_per_epoch, base_lr, assumed = _run_of(cfg)
    page = Path(_page(_mapping(cfg, "preview").get("html")))
    print(preview(formulas, epochs=epochs, steps_per_epoch=steps_per_epoch, base_lr=base_lr, html=page))
    if assumed:
        print(f"assumed: {', '.join(assumed)} (set preview.epochs, preview.steps_per_epoch, preview.base_lr)")
    print(f"page: {page}")


def _run_of(cfg: Any) -> tuple[int, int, float, list[str]]:
    """Length of the run and base LR, and what had to be assumed."""
    given, trainer, model, optimizer = (_mapping(cfg, name) for name in ("preview", "trainer", "model", "optimizer"))
    per_epoch = _count(given, "preview", "steps_per_epoch")
    limit = trainer.get("limit_train_batches")
    if per_epoch is None and isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
        per_epoch = max(1, limit // int(trainer.get("accumulate_grad_batches") or 1))
    epochs = _count(given, "preview", "epochs") or _count(trainer, "trainer", "max_epochs", -1)
    max_steps = _count(trainer, "trainer", "max_steps", -1) or -1
    if max_steps > 0 and not given.get("epochs"):
        reached = -(-max_steps // (per_epoch or STEPS_PER_EPOCH))
        epochs = reached if epochs is None or epochs < 0 else min(epochs, reached)
    if epochs is not None and epochs < 0:
        epochs = None
    lr = _lr(given, "preview.base_lr", "base_lr") or _lr(model, "model.lr") or _lr(optimizer, "optimizer.lr")
    assumed = [
        f"{name}={value}"
        for name, value, known in (
            ("epochs", EPOCHS, epochs),
            ("steps_per_epoch", STEPS_PER_EPOCH, per_epoch),
            ("base_lr", 1.0, lr),
        )
        if known is None
    ]
    return int(epochs or EPOCHS), int(per_epoch or STEPS_PER_EPOCH), float(lr or 1.0), assumed


def _mapping(cfg: Any, name: str) -> Any:
    found = cfg.get(name)
    if found is not None and not hasattr(found, "get"):
        raise ValueError(f"{name} must be a mapping, got {shown(found)}")
    return found or {}


def _count(settings: Any, group: str, key: str, least: int = 1) -> int | None:
    value = settings.get(key)
    return None if value is None else check_count(f"{group}.{key}", value, least)


def _lr(settings: Any, name: str, key: str = "lr") -> float | None:
    value = settings.get(key)
    return None if value is None else check_number(name, value, 0.0, MOST_LR, open_low=True)


def _page(html: Any) -> str:
    if not (html is None or isinstance(html, str)):
        raise ValueError(f"preview.html must be a file's path, got {shown(html)}")
    return html or PAGE
