"""Ways to take a step in the plain range test: criteria, accumulation, precision, validation loss, closures."""

import logging

import pytest
import torch
from torch import nn

from lr_lightning import range_test
from tests.optim.test_range_test import build, data, same, state

FEW = {"num_steps": 30, "min_lr": 1e-4, "budget": 0}


def lines(seed=0):
    torch.manual_seed(seed)
    model = nn.Linear(4, 1)
    batches = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(12)]
    return model, batches


def squares(model, batch):
    return nn.functional.mse_loss(model(batch[0]), batch[1])


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.functional.mse_loss], ids=["module", "function"])
def test_a_criterion_is_the_same_as_a_loss_of_model_and_batch(criterion, caplog):
    model, batches = lines()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with caplog.at_level(logging.INFO, "lr_lightning.optim.stepping"):
        ours = range_test(model, optimizer, criterion, batches, **FEW)
        assert "is taken for a criterion of the model's output and a target" in caplog.text
        caplog.clear()
        assert ours == range_test(model, optimizer, squares, batches, **FEW)
        assert "is taken for a function of model and batch" in caplog.text


def huber(prediction, targets):
    return nn.functional.huber_loss(prediction, targets)


def test_a_function_of_output_and_target_is_a_criterion_under_other_names_too():
    model, batches = lines()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert range_test(model, optimizer, huber, batches, **FEW) == range_test(
        model, optimizer, nn.HuberLoss(), batches, **FEW
    )

    # What takes the model itself is none, whatever it calls its batch.
    reconstruction = range_test(model, optimizer, lambda model, target: squares(model, target), batches, **FEW)
    assert reconstruction == range_test(model, optimizer, squares, batches, **FEW)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda loss: loss.item(), r"as a tensor of one number, got \d"),
        (lambda loss: loss.expand(3), r"as a tensor of one number, got a tensor of shape \(3,\)"),
        (lambda loss: (loss, 1), r"as a tensor of one number, got \(tensor"),
        (lambda loss: loss.detach(), "a loss without a gradient"),
        (lambda loss: None, "as a tensor of one number, got None"),
    ],
)
def test_what_is_no_loss_is_told_before_torch_stumbles_over_it(broken, said):
    model, batches = lines()
    before = [p.clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=said):
        range_test(model, optimizer, lambda model, batch: broken(squares(model, batch)), batches, **FEW)
    assert all(map(torch.equal, before, model.parameters()))


def test_a_criterion_says_which_batches_it_takes():
    model, _ = lines()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"the criterion MSELoss takes batches \(input, target\), got \{"):
        range_test(model, optimizer, nn.MSELoss(), [{"x": torch.ones(2, 4)}], **FEW)


def test_accumulated_batches_are_one_large_batch():
    """Mean losses of equal halves: the curve of accumulation is that of batches twice as large, but for rounding."""
    model, batches = lines()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    halves = [tuple(part.chunk(2)[i] for part in batch) for batch in batches for i in range(2)]
    whole = range_test(model, optimizer, squares, batches, **FEW)
    accumulated = range_test(model, optimizer, squares, halves, accumulate_grad_batches=2, **FEW)
    torch.testing.assert_close(torch.tensor(accumulated.losses), torch.tensor(whole.losses), rtol=1e-4, atol=1e-5)


def test_the_validation_loss_is_read_where_it_is_given():
    model, batches = lines()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    others = lines(1)[1]
    result = range_test(model, optimizer, squares, batches, val_loader=others, **FEW)
    with torch.no_grad():
        expected = torch.stack([squares(model, batch) for batch in others[:4]]).mean()
    assert result.losses[0] == pytest.approx(float(expected))


@pytest.mark.parametrize(
    "options",
    [
        {"val_loader": True},
        {"accumulate_grad_batches": 3},
        {"autocast": torch.bfloat16},
        {"scaler": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_no_way_to_step_leaves_a_trace(options):
    model, optimizer = build()
    loader = data(torch.Generator().manual_seed(5))
    validation = data(torch.Generator().manual_seed(6))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    options = {
        **options,
        **({"val_loader": validation} if "val_loader" in options else {}),
        **({"scaler": scaler} if "scaler" in options else {}),
    }
    scaler.scale(torch.ones(()))  # it makes its tensors at the first use
    generators = loader.generator, validation.generator
    before = state(model, optimizer), scaler.state_dict(), [g.get_state() for g in generators]
    result = range_test(model, optimizer, nn.CrossEntropyLoss(), loader, **FEW, **options)
    assert len(result.losses) > 10
    assert same(before, (state(model, optimizer), scaler.state_dict(), [g.get_state() for g in generators]))


def test_lbfgs_steps_by_its_closure():
    model, batches = lines()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
    weights = model.weight.detach().clone()
    result = range_test(model, optimizer, squares, batches, **FEW)
    assert result.losses[0] == pytest.approx(float(squares(model, batches[0]).detach()))
    assert len(set(result.losses)) > 5
    assert torch.equal(model.weight, weights)
    assert not optimizer.state_dict()["state"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scaler": 3}, "scaler must be a GradScaler or None, got 3"),
        ({"autocast": torch.int8}, "autocast must be a floating-point torch.dtype or None, got torch.int8"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches must be"),
        ({"val_loader": 5}, "val_loader must be an iterable of batches that can be started anew, or None, got 5"),
        ({"val_loader": []}, "val_loader is empty"),
    ],
)
def test_wrong_settings_of_a_step_are_refused(options, words):
    model, batches = lines()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=words):
        range_test(model, optimizer, squares, batches, **{**FEW, **options})


def test_a_scaler_and_a_closure_are_refused_by_name():
    model, batches = lines()
    optimizer = torch.optim.LBFGS(model.parameters())
    with pytest.raises(ValueError, match="a GradScaler can't step LBFGS, which needs a closure"):
        range_test(model, optimizer, squares, batches, scaler=torch.amp.GradScaler("cpu"))
