"""FormulaLR in plain PyTorch, under Lightning, pickled, resumed, rescaled."""

import io
import pickle

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, CosineAnnealingLR, SequentialLR

from lr_lightning import FormulaError, FormulaLR
from lr_lightning.optim import param_groups
from tests.helpers.formula_fit import Net, fit


def sgd(lr=0.1):
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(3)]
    groups = [{"params": parameters[:1], "lr": lr}, {"params": parameters[1:2], "lr": 10 * lr}]
    return torch.optim.SGD(groups, lr=lr)


def walk(optimizer, scheduler, steps, seen=None):
    seen = [] if seen is None else seen
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def test_closed_and_recursive():
    for text in ("base_lr * 0.5 ** epoch", "lr * 0.5 if epoch else lr"):
        optimizer = sgd()
        scheduler = FormulaLR(optimizer, text)
        assert walk(optimizer, scheduler, 3) == [[0.1, 1.0], [0.05, 0.5], [0.025, 0.25]]
        assert scheduler.get_last_lr() == [0.0125, 0.125]
        assert scheduler.get_lr() == scheduler.get_lr() == [0.0125, 0.125]


def test_against_torch_over_1000_steps():
    ours, theirs = sgd(), sgd()
    ours_lrs = walk(ours, FormulaLR(ours, preset="cosine", interval="step", steps=1000, final_factor=0.01), 1000)
    theirs_lrs = walk(theirs, CosineAnnealingLR(theirs, 1000, eta_min=0.001), 1000)
    errors = [abs(a[0] - b[0]) / b[0] for a, b in zip(ours_lrs, theirs_lrs, strict=True)]
    assert max(errors) < 1e-12


@pytest.mark.parametrize("text", ["base_lr / (1 + 0.3 * epoch)", "lr * 0.7"])
def test_pickle_and_state_dict(text):
    straight = sgd()
    expected = walk(straight, FormulaLR(straight, text), 9)
    optimizer = sgd()
    scheduler = FormulaLR(optimizer, text)
    seen = walk(optimizer, scheduler, 4)

    buffer = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    resumed = sgd(lr=7.0)
    later = FormulaLR(resumed, text)
    resumed.load_state_dict(state["optimizer"])
    later.load_state_dict(state["scheduler"])
    assert seen + walk(resumed, later, 5) == expected

    copy = pickle.loads(pickle.dumps(scheduler))  # noqa: S301
    assert seen + walk(copy.optimizer, copy, 5) == expected


@pytest.mark.parametrize("text", ["base_lr / (1 + 0.3 * epoch)", "lr * 0.7"])
def test_a_new_base_and_a_plateau_factor(text):
    fresh = sgd(0.4)
    expected = walk(fresh, FormulaLR(fresh, text), 8)
    optimizer = sgd()
    scheduler = FormulaLR(optimizer, text)
    seen = walk(optimizer, scheduler, 3)
    param_groups.rescale([optimizer], [scheduler], 0.4)
    walk(optimizer, scheduler, 2, seen)
    param_groups.decay([optimizer], [scheduler], 0.1)
    walk(optimizer, scheduler, 3, seen)
    factors = [0.25] * 3 + [1.0] * 2 + [0.1] * 3
    for row, wanted, factor in zip(seen, expected, factors, strict=True):
        assert row == pytest.approx([lr * factor for lr in wanted], rel=1e-14)


def test_groups_added_later():
    optimizer = sgd()
    scheduler = FormulaLR(optimizer, "base_lr * 0.5 ** epoch")
    walk(optimizer, scheduler, 1)
    optimizer.add_param_group({"params": torch.nn.Parameter(torch.ones(1)), "lr": 0.8})
    assert walk(optimizer, scheduler, 2)[1] == [0.025, 0.25, 0.2]


def test_inside_of_torch_sequences():
    optimizer = sgd()
    parts = [FormulaLR(optimizer, "base_lr * (epoch + 1) / 4"), FormulaLR(optimizer, "base_lr * 0.5 ** epoch")]
    seen = walk(optimizer, SequentialLR(optimizer, parts, [3]), 6)
    assert [row[0] for row in seen] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.05, 0.025])
    optimizer = sgd()
    chained = ChainedScheduler([FormulaLR(optimizer, "base_lr * 0.5 ** epoch")])
    assert [row[0] for row in walk(optimizer, chained, 3)] == [0.1, 0.05, 0.025]


def test_in_configure_optimizers():
    def schedule(optimizer):
        return FormulaLR(optimizer, "base_lr * (1 - progress)", epochs=5)

    lrs, _, _ = fit(net=Net(scheduler=schedule))
    assert lrs.of(0) == pytest.approx([0.1] * 4 + [0.08] * 4 + [0.06] * 4)


def test_counters_of_both_kinds():
    optimizer = sgd()
    by_step = FormulaLR(optimizer, "base_lr + 100 * epoch + 10 * batch + step", interval="step", batches=3, epochs=2)
    assert [row[0] for row in walk(optimizer, by_step, 5)] == [0.1 + x for x in (0, 11, 22, 103, 114)]
    optimizer = sgd()
    by_epoch = FormulaLR(optimizer, "base_lr + step", batches=3, warmup_steps=2)
    assert [row[0] for row in walk(optimizer, by_epoch, 3)] == pytest.approx([0.1 / 3, 3.1, 6.1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"expression": "base_lr * epok"}, "position 11: unknown name 'epok'"),
        ({"expression": lambda epoch: 1.0}, "LambdaLR takes functions"),
        ({"expression": 'lr * metric("loss")'}, "FormulaLR cannot see metrics"),
        ({"expression": "base_lr * epochs"}, "position 11: 'epochs' isn't known"),
        ({"expression": "base_lr * step"}, "position 11: 'step' isn't known with interval='epoch'"),
        ({"expression": "base_lr * batch", "interval": "step"}, "position 11: 'batch' isn't known"),
        ({"expression": "base_lr", "warmup_steps": 3}, "warmup_steps with interval='epoch' needs batches="),
        ({"expression": "base_lr", "warmup_epochs": 3, "interval": "step"}, "needs to know the steps of an epoch"),
        ({"expression": "base_lr", "steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"expression": "base_lr * (2 - epoch)", "epochs": 5}, "the LR is negative (-0.1) at epoch 3"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(FormulaError) as caught:
        FormulaLR(sgd(), **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("last", [0, 4])
def test_resumed_without_its_state_it_goes_on_from_the_groups_as_torch_does(last):
    def build(make):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        optimizer.param_groups[0] |= {"initial_lr": 0.1, "lr": 0.1 * 0.9**last}
        scheduler = make(optimizer)
        seen = []
        for _ in range(4):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return seen

    chained = build(lambda o: torch.optim.lr_scheduler.MultiplicativeLR(o, lambda _: 0.9, last_epoch=last))
    assert build(lambda o: FormulaLR(o, "lr * 0.9", last_epoch=last)) == pytest.approx(chained, rel=1e-15)
    closed = build(lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t), last_epoch=last))
    assert build(lambda o: FormulaLR(o, "base_lr / (1 + epoch)", last_epoch=last)) == pytest.approx(closed, rel=1e-15)


def test_a_factor_in_the_place_of_an_lr_is_told():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.warns(UserWarning, match="FormulaLR: '0.95 \\*\\* epoch' uses no base_lr"):
        FormulaLR(optimizer, "0.95 ** epoch")
