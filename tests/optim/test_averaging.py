"""TailAverage against closed forms, and inside of torch's AveragedModel."""

import pickle

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from lr_lightning import TailAverage

WEIGHTS = [torch.tensor([1.0, -2.0]) * (step**2 % 7) for step in range(1, 12)]


def averaged(share, weights, as_tensor=False):
    mean = [torch.full_like(weights[0], 99.0)]
    for step, now in enumerate(weights):
        TailAverage(share)(mean, [now], torch.tensor(step) if as_tensor else step)
    return mean[0]


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(
    ("share", "weight"), [(1.0, lambda t: 1), (1 / 2, lambda t: t), (1 / 3, lambda t: t * (t + 1))]
)
def test_steps_count_as_the_closed_form_has_it(share, weight, as_tensor):
    counts = [weight(t) for t in range(1, len(WEIGHTS) + 1)]
    expected = sum(count * now for count, now in zip(counts, WEIGHTS, strict=True)) / sum(counts)
    torch.testing.assert_close(averaged(share, WEIGHTS, as_tensor), expected)


@pytest.mark.parametrize("count", [200, 2000])
def test_it_reaches_back_over_its_share_of_any_run(count):
    reach = 1.0 - float(averaged(0.1, [torch.tensor([float(t)]) for t in range(1, count + 1)])) / count
    assert reach == pytest.approx(0.1, abs=0.015)  # the mean age of what is averaged, over the run


def test_torchs_averaged_model_takes_it_with_batch_norm():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    tail, equal = (AveragedModel(net, use_buffers=True, **kw) for kw in ({"multi_avg_fn": TailAverage(1.0)}, {}))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(5):
        net(torch.randn(8, 3)).square().sum().backward()
        optimizer.step()
        tail.update_parameters(net)
        equal.update_parameters(net)
    for one, other in zip(tail.module.parameters(), equal.module.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(tail.module[1].running_mean, equal.module[1].running_mean)
    assert int(tail.module[1].num_batches_tracked) == 5


def test_weights_of_few_digits_keep_their_type_and_a_spawned_process_gets_it():
    mean = averaged(0.1, [now.bfloat16() for now in WEIGHTS], as_tensor=True)
    assert mean.dtype == torch.bfloat16
    assert pickle.loads(pickle.dumps(TailAverage(0.2))) == TailAverage(0.2)  # noqa: S301


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan"), "0.1", None, True])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"share must be .*, got"):
        TailAverage(share)
