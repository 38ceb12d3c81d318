"""The range test for plain PyTorch: it answers, leaves no trace and refuses clearly."""

import copy
import logging
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lr_lightning
from lr_lightning.optim import param_groups
from lr_lightning.optim.range_test import range_test


def build(optimizer="sgd"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 3))
    first, rest = list(model[0].parameters()), [p for m in model[1:] for p in m.parameters()]
    groups = [{"params": first, "lr": 1e-2}, {"params": rest, "lr": 1e-3}]
    made = {
        "sgd": lambda: torch.optim.SGD(groups, momentum=0.9),
        "adam": lambda: torch.optim.Adam(groups),
        "tensor_lr": lambda: torch.optim.Adam([{**g, "lr": torch.tensor(g["lr"])} for g in groups]),
    }[optimizer]()
    return model, made


def data(generator=None, n=400, batch_size=20):
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(n, 6, generator=draw)
    y = (x[:, :3] + 0.3 * torch.randn(n, 3, generator=draw)).argmax(1)
    return DataLoader(TensorDataset(x, y), batch_size=batch_size, shuffle=True, generator=generator)


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def step(model, optimizer, batch):
    optimizer.zero_grad()
    loss_fn(model, batch).backward()
    optimizer.step()


def state(model, optimizer):
    """Everything that a run's future depends on."""
    return copy.deepcopy({
        "model": model.state_dict(), "grads": [p.grad for p in model.parameters()],
        "optimizer": optimizer.state_dict(), "modes": [m.training for m in model.modules()],
        "torch": torch.get_rng_state(), "numpy": np.random.get_state()[1].tolist(), "python": random.getstate(),
    })  # fmt: skip


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


OPTIONS = [{}, {"repeats": 2}, {"budget": 250}]


@pytest.mark.parametrize("options", OPTIONS, ids=["sweep", "repeats", "trials"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "tensor_lr"])
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "warm"])
def test_it_leaves_no_trace(options, optimizer, warm):
    generator = torch.Generator().manual_seed(5)
    model, made = build(optimizer)
    loader = data(generator)
    if warm:
        for batch in loader:
            step(model, made, batch)
    before, order = state(model, made), generator.get_state()
    tensors = [id(p) for p in model.parameters()] + [id(g["lr"]) for g in made.param_groups]
    offset = 20 * ("budget" in options)  # a fall of a small share: else no trials follow under Adam
    result = range_test(model, made, lambda model, batch: offset + loss_fn(model, batch), loader, **options)
    assert result.ok, result.reason
    assert bool(result.trials) == ("budget" in options)
    assert same(before, state(model, made))
    assert torch.equal(order, generator.get_state())
    assert tensors[: len(list(model.parameters()))] == [id(p) for p in model.parameters()]
    if optimizer == "tensor_lr":
        assert tensors == [id(p) for p in model.parameters()] + [id(g["lr"]) for g in made.param_groups]


@pytest.mark.parametrize("options", OPTIONS, ids=["sweep", "repeats", "trials"])
def test_training_goes_on_as_if_nothing_had_been(options):
    def train(test):
        model, optimizer = build()
        torch.manual_seed(9)
        loader = data()  # without a generator of its own: batch order hangs on torch's
        if test:
            result = range_test(model, optimizer, loss_fn, loader, **options)
            assert result.ok, result.reason
        for _ in range(2):
            for batch in loader:
                step(model, optimizer, batch)
        return state(model, optimizer)

    assert same(train(True), train(False))


def test_leaving_out_the_restore_would_be_seen(monkeypatch):
    model, optimizer = build()
    before = state(model, optimizer)
    monkeypatch.setattr("lr_lightning.optim.range_test.State.restore", lambda self: None)
    with pytest.warns(UserWarning, match=r"module\.0\.weight \(a tensor its content didn't come back\)"):
        range_test(model, optimizer, loss_fn, data())
    assert not same(before, state(model, optimizer))


def test_everything_is_put_back_when_the_loss_function_raises():
    model, optimizer = build()
    before, calls = state(model, optimizer), []

    def fails(model, batch):
        calls.append(1)
        if len(calls) == 30:
            raise RuntimeError("no more memory")
        return loss_fn(model, batch)

    with pytest.raises(RuntimeError, match="no more memory"):
        range_test(model, optimizer, fails, data())
    assert same(before, state(model, optimizer))


def squares(model, batch):
    return ((model(batch[0]) - batch[0][:, :3]) ** 2).mean()


def guarded(model, batch):
    loss = squares(model, batch)
    if loss > 1e4:
        raise ValueError("too high")
    return loss


def test_a_step_that_raises_because_it_diverged_ends_the_sweep_like_divergence():
    found = []
    for loss in (squares, guarded):
        torch.manual_seed(0)
        model = nn.Linear(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = state(model, optimizer)
        found.append(range_test(model, optimizer, loss, data(), max_lr=1e3))
        assert same(before, state(model, optimizer))
    right, got = found
    assert math.isnan(got.losses[-1])
    assert got.suggestion == pytest.approx(right.suggestion, rel=0.2)  # the curve ends some points earlier


def test_groups_keep_their_ratio_on_the_ladder(caplog):
    model, optimizer = build()

    def watch(model, batch):  # what it keeps in a list would be put back
        logging.getLogger("lrs").info("%r %r", *(param_groups.get_lr(group) for group in optimizer.param_groups))
        return loss_fn(model, batch)

    with caplog.at_level(logging.INFO, "lrs"):
        result = range_test(model, optimizer, watch, data())
    seen = [record.args for record in caplog.records if record.name == "lrs"]
    assert [first for first, _ in seen] == pytest.approx(list(result.lrs))
    assert [second for _, second in seen] == pytest.approx([lr / 10 for lr in result.lrs])


def test_what_a_loss_function_keeps_comes_back():
    model, optimizer = build()
    count, seen, teacher = 0, [], nn.Linear(6, 3)
    weights = teacher.weight.detach().clone()

    def loss(model, batch):
        nonlocal count
        count += 1
        seen.append(count)
        teacher.weight.data += 1
        return loss_fn(model, batch) * (1 + 1e-3 * (count % 3))

    range_test(model, optimizer, loss, data())
    assert (count, seen) == (0, [])
    assert torch.equal(teacher.weight, weights)


def test_what_is_known_of_the_training_is_on_record():
    model, optimizer = build()
    result = range_test(model, optimizer, loss_fn, data(), batch_size=20, train_steps=3000)
    assert (result.momentum, result.batch_size, result.cycle) == (0.9, 20, 8)
    assert result.schedules["constant"] < result.schedules["decay"] == result.suggestion
    constant = range_test(model, optimizer, loss_fn, data(), train_steps=3000, decays=False)
    assert constant.suggestion == constant.schedules["constant"] == result.schedules["constant"]


def test_a_loader_of_three_batches_is_cycled():
    model, optimizer = build()
    result = range_test(model, optimizer, loss_fn, data(n=60), num_steps=50)
    assert result.coverage.planned == 50
    assert result.coverage.visited > 3
    assert result.ok


def test_the_suggestion_trains_better_than_ten_times_less_and_ten_times_more():
    def final(lr):
        model, optimizer = build()
        param_groups.rescale([optimizer], [], lr)
        torch.manual_seed(0)
        for _ in range(5):
            for batch in data():
                step(model, optimizer, batch)
        model.eval()
        return float(torch.stack([loss_fn(model, batch) for batch in data()]).mean().detach())

    model, optimizer = build()
    lr = range_test(model, optimizer, loss_fn, data()).suggestion
    assert final(lr) < min(final(lr / 10), final(lr * 10))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_steps": 1}, "num_steps .*got 1"),
        ({"min_lr": 1.0, "max_lr": 0.1}, "min_lr must be below max_lr"),
        ({"rule": "newest"}, "rule must be one of share, .*got 'newest'"),
        ({"spacing": "cubic"}, "spacing must be one of .*got 'cubic'"),
        ({"repeats": 0}, "repeats .*got 0"),
        ({"rule": {"nme": "share"}}, "rule has no key 'nme'; did you mean 'name'"),
    ],
)
def test_bad_settings_are_refused_and_nothing_moves(options, words):
    model, optimizer = build()
    before = state(model, optimizer)
    with pytest.raises(ValueError, match=words):
        range_test(model, optimizer, loss_fn, data(), **options)
    assert same(before, state(model, optimizer))


def test_an_empty_loader_and_an_iterator_are_refused():
    model, optimizer = build()
    with pytest.raises(ValueError, match="loader is empty"):
        range_test(model, optimizer, loss_fn, [])
    with pytest.raises(ValueError, match="started anew"):
        range_test(model, optimizer, loss_fn, iter(data()))


@pytest.mark.parametrize("loss", ["constant", "nan"])
def test_a_curve_without_an_answer_keeps_everything(loss):
    model, optimizer = build()
    before = state(model, optimizer)
    factor = 0.0 if loss == "constant" else float("nan")
    result = range_test(model, optimizer, lambda m, b: factor * loss_fn(m, b) + 1.0, data())
    assert result.suggestion is None
    assert result.status == {"constant": "no_descent", "nan": "non_finite"}[loss]
    assert same(before, state(model, optimizer))


def test_it_is_public_and_lazy():
    assert lr_lightning.range_test is range_test


def test_the_callers_batches_are_never_changed_and_each_step_gets_a_whole_one():
    def out_of_place(model, batch):
        return nn.functional.cross_entropy(model(batch["x"] / 10), batch["y"])

    def in_place(model, batch):
        return nn.functional.cross_entropy(model(batch["x"].div_(10)), batch.pop("y"))

    batches = [{"x": 10 * x, "y": y} for x, y in data()]
    before = copy.deepcopy(batches)
    found = [range_test(*build(), loss, batches) for loss in (out_of_place, in_place)]
    assert found[0].losses == found[1].losses
    assert same(before, batches)


def test_batches_that_cannot_be_copied_are_fetched_anew():
    class Streams:
        def __iter__(self):
            yield from ((x, y, (n for n in range(3))) for x, y in data())

    def reads(model, batch):
        assert sum(batch[2]) == 3, "the batch's generator has been read before"
        return loss_fn(model, batch[:2])

    result = range_test(*build(), reads, Streams())
    assert result.ok
    assert result.cycle == 1


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: step / 100),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=10),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, [0.2, 0.02], total_steps=50, cycle_momentum=False),
    ],
    ids=["from zero", "linear", "one-cycle"],
)
def test_what_a_scheduler_has_made_of_the_lrs_does_not_matter(schedule):
    def losses(schedule):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.01}]
        optimizer = torch.optim.SGD(groups, lr=0.1)
        keep = schedule(optimizer)
        x = torch.randn(64, 4)
        batches = [(part, part.sum(1, keepdim=True)) for part in x.split(16)]
        loss = lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1])  # noqa: E731
        found = range_test(model, optimizer, loss, batches, num_steps=40, budget=0).losses
        del keep
        return found

    assert losses(schedule) == losses(lambda optimizer: None)


def test_a_loader_with_state_comes_back_and_one_that_can_not_is_named():
    class Loader:
        def __init__(self, stream):
            self.rng, self.passes, self.stream = torch.Generator().manual_seed(0), 0, stream

        def __iter__(self):
            self.passes += 1
            for _ in range(4):
                next(self.stream)
                x = torch.randn(8, 4, generator=self.rng)
                yield x, x.sum(1, keepdim=True)

    def run(stream):
        model, loader = nn.Linear(4, 1), Loader(stream)
        before = loader.rng.get_state()
        loss = lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1])  # noqa: E731
        range_test(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, loader, num_steps=20, budget=0)
        assert loader.passes == 0
        assert torch.equal(loader.rng.get_state(), before)

    run(iter(range(100)))
    with pytest.warns(UserWarning, match=r"loader\.stream \(a generator went on\)"):
        run(one for one in range(100))


def test_a_search_for_ratios_leaves_no_trace_and_its_answer_can_be_applied():
    model, optimizer = build("adam")
    loader = data()
    before = state(model, optimizer)
    result = range_test(model, optimizer, loss_fn, loader, num_steps=40, rule={"groups": "search"})
    assert same(state(model, optimizer), before)
    assert len(result.group_factors) == 2
    assert result.group_factors[0] == 1.0
    assert 3 * 10 < result.steps <= 3 * 40 + 120  # a second look, where no descent shows
    changes = param_groups.rescale([optimizer], [], result.suggestion, result.group_factors)
    lrs = [result.suggestion, 0.1 * result.suggestion * result.group_factors[1]]
    assert [change.new for change in changes] == pytest.approx(lrs)


@pytest.mark.parametrize("wrong", [1e-3, 1e3])
def test_a_head_whose_lr_is_a_thousand_times_off_is_brought_near(wrong):
    # A straight line in two groups, of features whose sizes differ by 30: the best LRs differ by 900.
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(4, 1, bias=False), nn.Linear(4, 1, bias=False)])
    x = torch.randn(32 * 60, 8) * torch.tensor([1.0] * 4 + [30.0] * 4)
    y = x @ torch.tensor([1.0] * 4 + [1 / 30] * 4).unsqueeze(1) + 0.1 * torch.randn(32 * 60, 1)
    batches = list(zip(x.split(32), y.split(32), strict=True))
    groups = [{"params": model[0].parameters(), "lr": 1.0}, {"params": model[1].parameters(), "lr": wrong / 900}]
    optimizer = torch.optim.SGD(groups)

    def loss(model, batch):
        parts = batch[0].split(4, dim=1)
        return nn.functional.mse_loss(sum(m(part) for m, part in zip(model, parts, strict=True)), batch[1])

    result = range_test(model, optimizer, loss, batches, rule={"groups": "search"}, decays=True)
    assert 0.5 < result.group_factors[1] * wrong < 2
