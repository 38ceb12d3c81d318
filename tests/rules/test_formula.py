"""The language, its messages, and a formula on a run."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_lightning import Formula, FormulaError
from lr_lightning.rules.formula import Counters, Horizon, Schedule
from lr_lightning.rules.formula_schedule import CHAIN_WORK, VECTOR_WORK

RUN = Horizon.of(epochs=10, steps_per_epoch=20)
PLACE = Counters(3, 65, 5)


def value(text, now=PLACE, base_lr=0.1, lr=0.05, metrics=None, **options):
    schedule = Schedule(Formula(text, **{"interval": "step", **options}), RUN)
    return schedule.value(now, base_lr, lr, metrics or {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 8", 6.5),
        ("2 ** 3 ** 2", 512.0),
        ("-2 ** 2 + 7", 3.0),
        ("7 // 2 + 7 % 4", 6.0),
        ("+lr - -base_lr", 0.05 + 0.1),
        ("epoch + step + batch", 3 + 65 + 5.0),
        ("epochs + steps + batches", 10 + 200 + 20.0),
        ("progress", 65 / 200),
        ("min(3, 1, 2) + max(1, 2) + clip(5, 0, 3) + abs(-1)", 1 + 2 + 3 + 1.0),
        ("sqrt(4) + exp(0) + log(1) + log10(100) + sin(0) + cos(0)", 2 + 1 + 0 + 2 + 0 + 1.0),
        ("floor(2.7) + ceil(2.1)", 5.0),
        ("cos(pi) + 2", math.cos(math.pi) + 2),
        ("1 if epoch < 3 else 2 if epoch == 3 else 3", 2.0),
        ("1 if 2 < epoch <= 3 != 4 else 0", 1.0),
        ("1 if epoch >= 4 or step > 60 and not batch == 0 else 0", 1.0),
        ("epoch and 0 or 7", 7.0),
        ("(epoch >= 1) + (epoch >= 3) + (epoch >= 5)", 2.0),
        ('metric("val_loss") / 2', 0.75),
        ("metric('never', 4)", 4.0),
        ("  base_lr *\n  0.5\n", 0.05),
        (".5e-1 + 1. + 1E2", 101.05),
    ],
)
def test_the_language_computes(text, expected):
    assert value(text, metrics={"val_loss": 1.5}) == expected


# One pair a message: what is refused and how the message begins or what it names, and the legal sibling.
PAIRS = [
    ("base_lr * epok", "position 11: unknown name 'epok'; did you mean 'epoch'?", "base_lr * epoch"),
    ("base_lr * k", "position 11: unknown name 'k'; known are base_lr, batch", "base_lr * pi"),
    ("base_lr * sqr(4)", "position 11: unknown function 'sqr'; did you mean 'sqrt'?", "base_lr * sqrt(4)"),
    ("lr(2)", "position 1: 'lr' is a variable and cannot be called", "lr * (2)"),
    ("lr * sqrt", "position 6: 'sqrt' is a function: write sqrt(…)", "lr * sqrt(2)"),
    ("min(lr)", "position 1: min takes at least 2 arguments, got 1", "min(lr, 1)"),
    ("clip(lr, 1)", "position 1: clip takes 3 arguments, got 2", "clip(lr, 0, 1)"),
    ('metric("a", 1, 2)', "position 1: metric takes 1 to 2 arguments, got 3", 'metric("a", 1)'),
    ("metric(lr)", "position 8: metric takes a name in quotes", 'metric("lr", 1)'),
    ("lr * 'a'", "position 6: a string is only allowed in metric", 'lr * metric("a", 1)'),
    ('metric("a)', "position 8: a string that does not end", 'metric("a", 1)'),
    ("lr *", "position 4: a value is missing after '*'", "lr * 1"),
    ("lr + * 2", "position 6: a value is missing before '*'", "lr + 2"),
    ("()", "position 2: a value is missing before ')'", "(lr)"),
    ("min(lr, 2,)", "position 11: a value is missing before ')'", "min(lr, 2)"),
    ("2 lr", "position 3: an operator is missing before 'lr'", "2 * lr"),
    ("(2)(3)", "position 4: an operator is missing before '('", "(2)*(3)"),
    ("lr not 3", "position 4: an operator is missing before 'not'", "lr and not 3"),
    ("min(*lr, 2)", "position 5: a value is missing before '*'", "min(lr, 2)"),
    ("lr if epoch", "position 1: not a formula", "lr if epoch else 2"),
    ("1, 2", "position 1: tuple is not part of the language", "12"),
    ("min()", "position 1: min takes at least 2 arguments, got 0", "min(1, 2)"),
    ("lr ^ 2", "position 4: unexpected '^' (write ** for a power)", "lr ** 2"),
    ("1 if epoch = 3 else 2", "position 12: unexpected '=' (write == to compare)", "1 if epoch == 3 else 2"),
    ("lr.real", "position 3: unexpected '.' (attributes", "lr"),
    ("[lr]", "position 1: unexpected '['", "(lr)"),
    ("lr @ 2", "position 4: unexpected '@'", "lr * 2"),
    ("1_000", "position 1: cannot read '1_000' as a number", "1000"),
    ("1e999", "position 1: this number is too large", "1e30"),
    ("0 * 9**9**9", "position 5: the constant part '9**9**9' has no finite value", "0 * 9**9"),
    ("lr if epoch < 9 else 1 / 0", "position 22: the constant part '1 / 0'", "lr if epoch < 9 else 1 / 2"),
    ("((lr)", "position 1: '(' without ')'", "(lr)"),
    ("(lr))", "position 5: ')' without '('", "(lr)"),
    ("(" * 31 + "lr" + ")" * 31, "position 31: more than 30 parentheses", "(" * 30 + "lr" + ")" * 30),
    ("-" * 100 + "lr", "position 101: the formula is nested more than 100", "-" * 98 + "lr"),
    ("+".join(["lr"] * 501), "position 1501: the formula has more than 1000", "lr+" * 90 + "lr"),
    ("lr" + " " * 4000, "the formula has 4002 characters, at most 4000", "lr" + " " * 3000),
    ("  ", "the formula is empty", " 0 "),
]


@pytest.mark.parametrize(("illegal", "message", "legal"), PAIRS, ids=[pair[1][:50] for pair in PAIRS])
def test_each_message_has_a_legal_sibling(illegal, message, legal):
    with pytest.raises(FormulaError) as caught:
        Formula(illegal, interval="step")
    assert str(caught.value).startswith(message)
    assert math.isfinite(value(legal))


@pytest.mark.parametrize(
    ("arguments", "message", "legal"),
    [
        ({}, "give either an expression or a preset", {"expression": "lr"}),
        ({"expression": "lr", "preset": "step"}, "not both", {"preset": "step"}),
        ({"expression": 3}, "a formula is a string or a function, got 3", {"expression": "3"}),
        (
            {"expression": "lr", "interval": "batch"},
            "interval must be 'epoch' or 'step', got 'batch'",
            {"preset": "step"},
        ),
        ({"expression": "lr*batch"}, "position 4: 'batch' is always 0", {"expression": "lr*batch", "interval": "step"}),
        ({"expression": "lr", "decay": 1}, "parameter 'decay' isn't used", {"expression": "lr*decay", "decay": 1}),
        ({"expression": "lr", "intervall": 1}, "did you mean 'interval'?", {"expression": "lr", "interval": "step"}),
        (
            {"expression": "lr*a", "a": "x"},
            "parameter 'a' must be a finite number, got 'x'",
            {"expression": "lr*a", "a": 2},
        ),
        ({"expression": "lr*a", "a": math.inf}, "must be a finite number, got inf", {"expression": "lr*a", "a": 0.5}),
        ({"expression": "lr", "epoch": 1}, "parameter 'epoch' has the name of a word", {"expression": "lr*e", "e": 1}),
        ({"expression": "lr*b", "a b": 1}, "parameter 'a b' is not a name", {"expression": "lr*a_b", "a_b": 1}),
        (
            {"expression": "lr", "warmup_steps": -1},
            "warmup_steps must be an integer of at least 0, got -1",
            {"expression": "lr", "warmup_steps": 0},
        ),
        (
            {"expression": "lr", "warmup_steps": 1, "warmup_epochs": 1},
            "not both, got 1 and 1",
            {"expression": "lr", "warmup_epochs": 1},
        ),
        ({"preset": "cosin"}, "unknown preset 'cosin'; did you mean 'cosine'?", {"preset": "cosine"}),
        (
            {"preset": "step", "gama": 1},
            "has no parameter 'gama'; did you mean 'gamma'?",
            {"preset": "step", "gamma": 1},
        ),
        ({"preset": "multistep"}, "preset 'multistep' needs milestones", {"preset": "multistep", "milestones": [2]}),
        ({"preset": "multistep", "milestones": []}, "at least one", {"preset": "multistep", "milestones": (2, 3)}),
        (
            {"preset": "multistep", "milestones": 3},
            "must be a list of integers",
            {"preset": "multistep", "milestones": [3]},
        ),
        (
            {"preset": "step", "step_size": 0},
            "step_size must be an integer of at least 1",
            {"preset": "step", "step_size": 1},
        ),
        (
            {"preset": "step", "gamma": "x"},
            "parameter 'gamma' must be a finite number",
            {"preset": "step", "gamma": 0.5},
        ),
        ({"preset": "one_cycle", "pct_start": 1}, "pct_start must be between 0 and 1", {"preset": "one_cycle"}),
        ({"preset": "wsd", "decay": 0}, "wsd needs", {"preset": "wsd", "decay": 0.1}),
        ({"preset": "noam", "interval": "epoch"}, "counts steps", {"preset": "noam"}),
        ({"expression": lambda: 1}, "a function takes (epoch, lr) or (epoch)", {"expression": lambda epoch: 1}),
    ],
)
def test_impossible_arguments_are_refused(arguments, message, legal):
    with pytest.raises(FormulaError) as caught:
        Formula(**arguments)
    assert message in str(caught.value)
    assert Schedule(Formula(**legal), RUN).value(Counters(), 0.1, 0.1) >= 0


@pytest.mark.parametrize(
    ("text", "message", "legal"),
    [
        (
            "base_lr / epoch",
            "position 1: cannot compute 'base_lr / epoch' at epoch 0, step 0 (division by zero; epoch "
            "counts from 0: write (epoch + 1)",
            "base_lr / (epoch + 1)",
        ),
        (
            "base_lr * (1 - 0.2 * epoch)",
            "the LR is negative (-0.02) at epoch 6, step 120 with base_lr=0.1",
            "base_lr * (1 - 0.1 * epoch)",
        ),
        (
            "lr * 10 ** (40 * epoch)",
            "the LR is not finite (inf) at epoch 4, step 80 with base_lr=0.1, lr=1e+239",
            "lr * 10 ** (-epoch)",
        ),
        (
            "base_lr * sqrt(5 - epoch)",
            "cannot compute 'sqrt(5 - epoch)' at epoch 6, step 120 (it is not defined",
            "base_lr * sqrt(9 - epoch)",
        ),
        (
            "base_lr / (1 + exp(400 * (epoch - 5)))",
            "cannot compute 'exp(400 * (epoch - 5))' at epoch 7",
            "base_lr / (1 + exp(5 - epoch))",
        ),
        (
            "base_lr if epoch < 8 else lr / (epoch - 8)",
            "position 27: cannot compute 'lr / (epoch - 8)' at epoch 8",
            "base_lr if epoch < 9 else base_lr / (epoch - 7)",
        ),
        (
            "base_lr * (-8) ** (epoch / 3)",
            "cannot compute '(-8) ** (epoch / 3)' at epoch 1",
            "base_lr * 8 ** (epoch / 3)",
        ),
    ],
)
def test_the_whole_run_is_checked(text, message, legal):
    with pytest.raises(FormulaError) as caught:
        Schedule(Formula(text), RUN).check(0.1)
    assert message in str(caught.value)
    assert Schedule(Formula(legal), RUN).check(0.1) is None


def test_a_constant_lr_is_a_warning():
    warning = Schedule(Formula("base_lr * k", k=2), RUN).check(0.1)
    assert warning == "the formula 'base_lr * k (k=2)' gives the same LR, 0.2, at all 10 epochs of this run"
    assert Schedule(Formula("lr"), RUN).check(0.1) is not None
    assert Schedule(Formula("base_lr", warmup_epochs=2), RUN).check(0.1) is None
    assert Schedule(Formula("base_lr"), Horizon.of(1, 20)).check(0.1) is None


def test_rounding_below_zero_is_zero():
    schedule = Schedule(Formula("base_lr * (1 - 3 * 0.1 * epoch)"), Horizon.of(4, 1))
    assert schedule.check(1.0) is None
    assert Schedule(Formula("base_lr * (0.3 - 3 * 0.1)"), RUN).value(Counters(), 1.0, 1.0) == 0.0


@pytest.mark.parametrize("name", ["epochs", "steps", "batches", "progress"])
def test_an_unknown_total_is_an_error(name):
    formula = Formula(f"base_lr * {name}", interval="step")
    assert Schedule(formula, RUN).value(Counters(), 1.0, 1.0) >= 0
    with pytest.raises(FormulaError, match=f"position 11: '{'steps' if name == 'progress' else name}' isn't known"):
        Schedule(formula, Horizon())


def test_the_check_is_bounded_for_long_runs():
    """Counted in evaluations: the vector twin gets a bounded number of points, the chain as well."""
    long = Horizon.of(1000, 1_000_000)
    closed = Schedule(Formula("base_lr * 0.5 ** progress", interval="step"), long)
    seen = []
    vector = closed.formula.program.vector
    closed.formula.program.vector = lambda env: seen.append(env[3]) or vector(env)
    assert closed.check(0.1) is None
    points = sum(block.size for block in seen)
    assert VECTOR_WORK // 10 < points * closed.formula.program.nodes < VECTOR_WORK + 10**6
    assert max(block.size for block in seen) < 20_000
    assert (seen[0][0], seen[-1][-1]) == (0.0, 10**9 - 1)
    calls = []
    chained = Schedule(Formula("lr * 0.999999", interval="step"), Horizon.of(1, 2000))
    count, scalar = chained._count, chained._scalar
    chained._scalar = lambda env: calls.append(1) or scalar(env)
    assert chained.check(0.1) is None
    assert len(calls) == count() == 2000
    assert CHAIN_WORK // 23 > 1_000_000  # such a formula is checked over the whole of a million steps


def test_a_million_steps_are_checked_one_by_one():
    bad = Formula("base_lr if step != 777777 else -1", interval="step")
    with pytest.raises(FormulaError, match=r"negative \(-1\) at epoch 777, step 777777, batch 777 "):
        Schedule(bad, Horizon.of(1000, 1000)).check(0.1)


def test_closed_and_recursive():
    assert not Formula("base_lr * epoch").recursive
    assert Formula("lr * 0.9").recursive
    assert Formula("base_lr").uses_base
    assert not Formula("0.1 * 0.9 ** epoch").uses_base
    chained, value_ = Schedule(Formula("lr if epoch < 3 else lr * 0.5"), RUN), 0.1
    values = []
    for epoch in range(5):
        value_ = chained.value(Counters(epoch), 0.1, value_)
        values.append(value_)
    assert values == [0.1, 0.1, 0.1, 0.05, 0.025]


def test_a_function_with_keras_signature():
    schedule = Schedule(Formula(lambda epoch, lr: lr if epoch < 2 else lr * 0.5), RUN)
    assert [schedule.value(Counters(epoch), 0.1, 0.08) for epoch in (0, 1, 2)] == [0.08, 0.08, 0.04]
    assert Schedule(Formula(lambda epoch: 1 / (epoch + 1)), RUN).value(Counters(3), 0.1, 0.1) == 0.25
    assert Schedule(Formula(lambda step, lr: lr * step, interval="step"), RUN).value(Counters(1, 21), 1.0, 2.0) == 42
    with pytest.raises(FormulaError, match="returned None, not a number"):
        Schedule(Formula(lambda epoch, lr: None), RUN).value(Counters(), 0.1, 0.1)
    with pytest.raises(FormulaError, match="the LR is negative"):
        Schedule(Formula(lambda epoch, lr: -lr), RUN).value(Counters(), 0.1, 0.1)
    with pytest.raises(ZeroDivisionError):
        Schedule(Formula(lambda epoch, lr: lr / epoch), RUN).value(Counters(), 0.1, 0.1)


def test_a_metric_without_value_keeps_the_lr():
    schedule = Schedule(Formula('base_lr if metric("val_loss") > 1 else base_lr / 10'), RUN)
    assert schedule.value(Counters(), 1.0, 0.7) == 0.7
    assert schedule.value(Counters(), 1.0, 0.7, {"val_loss": 2.0}) == 1.0
    assert schedule.value(Counters(), 1.0, 0.7, {"val_loss": 0.5}) == 0.1
    assert schedule.check(1.0) is None


def applied(formula, run, lr=1.0):
    schedule, lrs = Schedule(formula, run), []
    value_ = lr
    for step in range(run.steps):
        now = Counters(step // run.steps_per_epoch, step, step % run.steps_per_epoch)
        if formula.interval == "step" or now.batch == 0:
            value_ = schedule.value(now, lr, value_)
        lrs.append(value_ * schedule.ramp(now))
    return lrs


def test_warmup_comes_in_front():
    run = Horizon.of(6, 2)
    by_step = applied(Formula("base_lr * 0.5 ** step", interval="step", warmup_steps=3), run)
    assert by_step == [0.25, 0.5, 0.75, *(0.5**i for i in range(9))]
    by_epoch = applied(Formula("base_lr * 0.5 ** epoch", warmup_epochs=2), run)
    assert by_epoch[::2] == [1 / 3, 2 / 3, 1.0, 0.5, 0.25, 0.125]
    mixed = applied(Formula("base_lr * 0.5 ** step", interval="step", warmup_epochs=2), run)
    assert mixed == [0.2, 0.4, 0.6, 0.8, *(0.5**i for i in range(8))]
    within = applied(Formula("base_lr * 0.5 ** epoch", warmup_steps=3), run)
    assert within == [0.25, 0.5, 0.75 * 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 1 / 16, 1 / 16, 1 / 32, 1 / 32]
    chained = applied(Formula("lr * 0.5", warmup_epochs=2), run)
    assert chained[::2] == [0.5 / 3, 0.5 * 2 / 3, 0.5, 0.25, 0.125, 0.0625]
    progress = applied(Formula("base_lr * progress", interval="step", warmup_steps=4), run)
    assert progress == [0.0] * 4 + [i / 8 for i in range(8)]


def test_a_run_that_ends_within_the_warmup_is_a_warning():
    schedule = Schedule(Formula("base_lr * (1 - progress)", interval="step", warmup_steps=500), Horizon.of(1, 1))
    assert "ends within the warm-up" in schedule.check(0.1)
    assert schedule.value(Counters(), 0.1, 0.1) == 0.1


def test_formulas_are_picklable():
    formula = Formula("base_lr * gamma ** epoch", gamma=0.5, warmup_epochs=2)
    copy = pickle.loads(pickle.dumps(formula))  # noqa: S301
    assert (str(copy), copy.params, copy.warmup_epochs) == (str(formula), {"gamma": 0.5}, 2)
    schedule = pickle.loads(pickle.dumps(Schedule(formula, RUN)))  # noqa: S301
    assert schedule.value(Counters(4), 1.0, 1.0) == 0.25
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(Formula(lambda epoch, lr: lr))


def test_curve_and_figure():
    formula = Formula("base_lr * 0.5 ** epoch")
    steps, lrs = Schedule(formula, Horizon.of(2, 10)).curve(0.1)
    assert (steps, lrs) == ([0.0, 9.0, 10.0, 19.0], [0.1, 0.1, 0.05, 0.05])
    figure = formula.figure(
        epochs=3, steps_per_epoch=10, base_lr=0.1, compare={"other": Formula("base_lr / (1 + epoch)")}
    )
    assert [trace.name for trace in figure.data] == ["base_lr * 0.5 ** epoch", "other"]
    np.testing.assert_allclose(figure.data[1].y, [0.1, 0.1, 0.05, 0.05, 0.1 / 3, 0.1 / 3])
    assert figure.layout.xaxis.title.text == "epoch"
    long = Formula(preset="cosine", interval="step").figure(epochs=100, steps_per_epoch=1000)
    assert len(long.data[0].x) == 1000
    assert long.layout.xaxis.title.text == "step"


NUMBERS = st.sampled_from(["0", "1", "2", "0.5", "3", "10", "epoch", "step", "batch", "base_lr", "progress", "steps"])


def _extend(inner):
    unary = st.builds("{}({})".format, st.sampled_from(["exp", "log", "sqrt", "cos", "floor", "-", "not "]), inner)
    binary = st.builds(
        "({} {} {})".format,
        inner,
        st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<", ">=", "==", "and", "or"]),
        inner,
    )
    choice = st.builds("({} if {} else {})".format, inner, inner, inner)
    several = st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner)
    return unary | binary | choice | several


@settings(max_examples=300, deadline=None)
@given(st.recursive(NUMBERS, _extend, max_leaves=12))
def test_the_check_finds_what_training_would_meet(text):
    """Whatever the formula: either every point of the run is fine, or the first one that isn't is named."""
    try:
        schedule = Schedule(Formula(f"({text})", interval="step"), RUN)
    except FormulaError:
        return
    first = None
    for step in range(RUN.steps):
        try:
            schedule.value(Counters(step // 20, step, step % 20), 0.1, 0.1)
        except FormulaError:
            first = step
            break
    if first is None:
        schedule.check(0.1)
    else:
        with pytest.raises(FormulaError, match=rf"step {first}\b"):
            schedule.check(0.1)
