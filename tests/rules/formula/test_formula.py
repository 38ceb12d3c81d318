"""The language, its messages, and a formula on a run."""

import math

import pytest

from lr_lightning import Formula, FormulaError
from lr_lightning.rules.formula.schedule import Counters, Horizon, Schedule

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
        ({"expression": 3}, "expression must be a string or a function, got 3", {"expression": "3"}),
        (
            {"expression": "lr", "interval": "batch"},
            "interval must be one of epoch, step, got 'batch'",
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
        (
            {"preset": "linear", "num_warmup_steps": 5},  # as transformers calls it
            "has no parameter 'num_warmup_steps'; did you mean 'warmup_steps'?",
            {"preset": "linear", "warmup_steps": 5},
        ),
        ({"preset": "multistep"}, "preset 'multistep' needs milestones", {"preset": "multistep", "milestones": [2]}),
        (
            {"preset": "multistep", "milestones": []},
            "milestones must hold 1 to 90 integers, got",
            {"preset": "multistep", "milestones": (2, 3)},
        ),
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
    ("text", "hint"),
    [
        ("base_lr * global_step", "here it is 'step'"),
        ("base_lr * currentEpoch", "here it is 'epoch'"),
        ("base_lr * EPOCH", "here it is 'epoch'"),
        ("base_lr * batch_idx", "here it is 'batch'"),
        ("base_lr / max_iter", "here it is 'steps'"),
        ("base_lr / T_max", "here it is 'epochs'"),
        ("initial_lr * 0.9 ** epoch", "here it is 'base_lr'"),
        ("base_lr * int(epoch)", "write floor(x)"),
        ("base_lr * pow(0.9, epoch)", "write x ** y"),
        ("base_lr * Cos(pi)", "here it is 'cos'"),
        ("base_lr * math.cos(pi)", "cos(x), not math.cos(x)"),
        ("base_lr * 2 ^ epoch", "write ** for a power"),
        ("base_lr * True", "write 1"),
        ("base_lr * (lambda)", "without lambda"),
        ("base_lr * tanh(epoch)", "known are abs"),
        ("base_lr * epok", "did you mean 'epoch'?"),
    ],
)
def test_names_of_other_tools_are_translated(text, hint):
    with pytest.raises(FormulaError) as caught:
        Formula(text, interval="step")
    assert hint in str(caught.value).splitlines()[0]


def test_a_parameter_keeps_its_name_whatever_other_tools_mean_by_it():
    assert value("base_lr * t", t=0.5) == 0.5 * value("base_lr")
    with pytest.raises(FormulaError, match="unknown name 'T'; here it is 't'"):
        Formula("base_lr * T", t=2)


def test_as_many_milestones_as_are_allowed_can_be_read():
    formula = Formula(preset="multistep", milestones=list(range(1000, 1090)))
    assert Schedule(formula, Horizon(epochs=2000)).value(Counters(1089), 1.0, 1.0) == pytest.approx(1e-90)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr if epok else 1", "position 7: unknown name 'epok'"),
        ("min(lr, epok)", "position 9: unknown name 'epok'"),
        ("  lr if epoch", "position 3: not a formula"),
        ("  lr * metric(3)", "position 15: metric takes a name in quotes"),
        ("  lr * metric('a', 1, 2)", "position 8: metric takes 1 to 2 arguments, got 3"),
        ("  lr * sin(1, 2)", "position 8: sin takes 1 arguments, got 2"),
        ("lr * (epoch", "position 6: '(' without ')'"),
        ("lr + 1 / a", "position 6: the constant part '1 / a' has no finite value"),
    ],
)
def test_places_in_texts_with_blanks_words_and_functions(text, message):
    with pytest.raises(FormulaError) as caught:
        Formula(text, interval="step", allow_unused=True, a=0)
    assert str(caught.value).startswith(message)


def test_progress_ends_at_1():
    run = Schedule(Formula("base_lr * progress"), Horizon(epochs=4))
    assert [run.value(Counters(epoch), 1.0, 1.0) for epoch in (0, 1, 3, 4, 6)] == [0.0, 0.25, 0.75, 1.0, 1.0]


def test_the_place_of_a_failure_is_in_the_branch_that_was_taken():
    run = Schedule(Formula("1 / epoch if epoch > 0 else log(epoch)"), Horizon(epochs=4))
    with pytest.raises(FormulaError, match=r"position 29: cannot compute 'log\(epoch\)' at epoch 0, step 0") as caught:
        run.value(Counters(0), 1.0, 1.0)
    assert "epoch counts from 0: write (epoch + 1)" in str(caught.value)
    run = Schedule(Formula("lr * exp(1000 * epoch)"), Horizon(epochs=4))
    with pytest.raises(
        FormulaError, match=r"'exp\(1000 \* epoch\)' at epoch 1, step 7, batch 2 \(the result is too large"
    ):
        run.value(Counters(1, 7, 2), 1.0, 1.0)
