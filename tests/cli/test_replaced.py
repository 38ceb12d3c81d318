"""An optimizer that was asked for reaches modules that make their own, or is refused by name."""

import copy
from functools import partial

import lightning as L
import pytest
import torch

from lr_lightning.cli.given import Refused
from lr_lightning.cli.replaced import with_optimizer


class Net(L.LightningModule):
    def __init__(self, result=None):
        super().__init__()
        self.body, self.head, self.result, self.lr = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1), result, 0.01

    def configure_optimizers(self):
        groups = [
            {"params": list(self.body.parameters())},
            {"params": list(self.head.parameters()), "lr": self.lr * 10, "name": "head"},
        ]
        own = torch.optim.Adam(groups, lr=self.lr)
        return self.result(own) if self.result else own


SGD = partial(torch.optim.SGD, momentum=0.9)


def test_it_takes_over_groups_and_lrs():
    net = Net()
    with_optimizer(net, SGD, "optimizer=sgd")
    made = net.configure_optimizers()
    assert type(made) is torch.optim.SGD
    assert [(g["lr"], g["momentum"], len(g["params"]), g.get("name")) for g in made.param_groups] == [
        (0.01, 0.9, 2, None),
        (0.1, 0.9, 2, "head"),
    ]
    assert isinstance(net, Net)


def test_a_shallow_copy_of_the_module_makes_its_own():
    net = Net()
    with_optimizer(net, SGD, "optimizer=sgd")
    other = copy.copy(net)
    other.lr = 0.5
    assert [g["lr"] for g in other.configure_optimizers().param_groups] == [0.5, 5.0]
    assert [g["lr"] for g in net.configure_optimizers().param_groups] == [0.01, 0.1]


def test_one_lr_that_was_given_holds_for_all():
    net = Net()
    with_optimizer(net, partial(torch.optim.SGD, lr=0.3), "optimizer.lr=0.3")
    assert [g["lr"] for g in net.configure_optimizers().param_groups] == [0.3, 0.3]


def test_a_mapping_with_an_optimizer_alone_is_one_optimizer():
    net = Net(lambda own: {"optimizer": own})
    with_optimizer(net, SGD, "optimizer=sgd")
    assert type(net.configure_optimizers()) is torch.optim.SGD


@pytest.mark.parametrize(
    "result",
    [
        lambda own: [own, copy.copy(own)],
        lambda own: {"optimizer": own, "lr_scheduler": torch.optim.lr_scheduler.ConstantLR(own)},
        lambda own: None,
    ],
    ids=["two", "with a scheduler", "none"],
)
def test_what_it_cant_take_the_place_of_is_refused(result):
    net = Net(result)
    with_optimizer(net, SGD, "optimizer=sgd")
    with pytest.raises(Refused, match=r"Net takes no 'optimizer'.*so optimizer=sgd can't take its place"):
        net.configure_optimizers()
