"""A formula on a run: its check, its warm-up, its curve."""

import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lr_lightning import Formula, FormulaError
from lr_lightning.rules.formula.schedule import CHAIN_WORK, VECTOR_WORK, Counters, Horizon, Schedule

RUN = Horizon.of(epochs=10, steps_per_epoch=20)


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
            "the LR is above 1e+30 (1e+39) at epoch 1, step 20 with base_lr=0.1, lr=0.1",
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


def test_the_curve_holds_the_lr_of_each_epoch():
    formula = Formula("base_lr * 0.5 ** epoch")
    steps, lrs = Schedule(formula, Horizon.of(2, 10)).curve(0.1)
    assert (steps, lrs) == ([0.0, 9.0, 10.0, 19.0], [0.1, 0.1, 0.05, 0.05])


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
@example("log(epoch) ** 0")
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


def test_a_long_formula_needs_no_deep_stack():
    """Long chains are computed in a row; what nests is bounded, so a deep caller (a Trainer, say) has room."""

    def deep(levels):
        if levels:
            return deep(levels - 1)
        long = [" and ".join(["lr"] * 490), "0" + " or 0" * 480, "lr" + "<=lr" * 480]
        return [Schedule(Formula(text, interval="step"), RUN).value(Counters(3, 65, 5), 0.1, 0.1) for text in long]

    assert deep(500) == [0.1, 0.0, 1.0]


def test_the_check_counts_epochs_and_batches_as_training_does():
    formula = Formula("1 - 2 * (epoch == 1 and batch == 3)", interval="step")
    with pytest.raises(FormulaError, match=r"negative \(-1\) at epoch 1, step 8, batch 3"):
        Schedule(formula, Horizon.of(3, 5)).check(0.1)
    accumulated = Horizon(epochs=3, steps=15, batches=10, steps_per_epoch=5)
    with pytest.raises(FormulaError, match=r"negative \(-1\) at epoch 2, step 12, batch 4"):
        Schedule(Formula("1 - 2 * (epoch == 2 and batch == 4)", interval="step"), accumulated).check(0.1)
    assert Schedule(formula, accumulated).check(0.1) is not None, "batch 3 begins no step"


@pytest.mark.parametrize(
    ("text", "base", "told"),
    [
        ("0.9 ** epoch", 0.19, True),
        ("0.9 ** epoch", 0.2, False),
        ("0.9 ** epoch", 5.0, False),
        ("0.9 ** epoch", 5.2, True),
        ("0.5 * 0.9 ** epoch", 0.01, True),
        ("0.49 * 0.9 ** epoch", 0.01, False),
        ("2 * 0.9 ** epoch", 0.1, True),
        ("2.1 * 0.9 ** epoch", 0.1, False),
        ("min(1, epoch / 9)", 0.1, True),
        ("base_lr * 0.9 ** epoch", 0.1, False),
        ('0.9 ** epoch * metric("a", 1)', 0.1, False),
    ],
)
def test_what_looks_like_a_factor(text, base, told):
    found = Schedule(Formula(text), Horizon(epochs=10)).factor_like(base)
    assert (found is not None) is told
    if told:
        assert f"where the optimizer has {base:g}" in found
