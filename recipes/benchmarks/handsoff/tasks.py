"""Tasks of the hands-off benchmark, in pairs of a kind: half to choose rules on, half to look at once.

Images, text, tables, sequences and signals; from scratch and fine-tuned from models that the benchmark pretrains. The
text is the source of Python's standard library, the images are scikit-learn's; nothing is downloaded.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recipes.benchmarks.handsoff import models as h
from recipes.benchmarks.suggestion_tasks import data as d
from recipes.benchmarks.suggestion_tasks import models as m

P = functools.partial
SGD, ADAM, ADAMW = (P(kind, fused=True) for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW))
RMS = torch.optim.RMSprop
MOMENTUM, NESTEROV = P(SGD, momentum=0.9), P(SGD, momentum=0.9, nesterov=True)
VOCABULARY = 97


@dataclass(frozen=True)
class Task:
    """One training problem.

    Attributes:
        name: What it is called in tables.
        half: ``choose`` or ``report``.
        model: Builds the model.
        data: Its samples.
        loss: ``loss(model(x), y)``.
        optimizer: Builds the optimizer from parameters and ``lr``.
        top: Highest LR of the oracle's grid at first; the grid grows where its best lies at an end.
        batch: Samples a step.
    """

    name: str
    half: str
    model: Callable[[], nn.Module]
    data: Callable[[], d.Data]
    loss: Callable[[Any, Tensor], Tensor]
    optimizer: Callable[..., torch.optim.Optimizer]
    top: float
    batch: int = 32

    @property
    def adaptive(self) -> bool:
        """Whether its optimizer divides gradients by their size."""
        return getattr(self.optimizer, "func", self.optimizer) is not torch.optim.SGD


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean over samples and, for sequences, over places."""
    return nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten())


MSE = nn.functional.mse_loss


@functools.cache
def code(modules: tuple[str, ...], length: int = 24) -> d.Data:
    """Windows of characters from sources of the standard library, and the same shifted by one."""
    body = "".join(inspect.getsource(importlib.import_module(name)) for name in modules)
    codes = torch.tensor([min(max(ord(c) - 31, 0), VOCABULARY - 1) for c in body])
    starts = torch.randint(len(codes) - length - 1, (8000,), generator=torch.Generator().manual_seed(0))
    rows = codes[starts.unsqueeze(1) + torch.arange(length + 1)]
    held = 256
    return d.Data(rows[held:, :-1], rows[held:, 1:], rows[:held, :-1], rows[:held, 1:])


PARSERS, NETWORK, MATHS = ("argparse", "ast", "configparser"), ("http.client", "smtplib"), ("statistics", "fractions")


@functools.cache
def made(kind: str) -> d.Data:
    """A table made by scikit-learn: Friedman's first regression, or clusters with redundant features."""
    from sklearn import datasets

    if kind == "friedman":
        x, y = datasets.make_friedman1(4000, noise=0.5, random_state=0)
        target = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32).unsqueeze(1)
    else:
        x, y = datasets.make_classification(
            4000, n_informative=8, n_redundant=6, n_classes=5, class_sep=1.5, random_state=0
        )
        target = torch.tensor(y)
    return d.split(torch.tensor(x, dtype=torch.float32), target)


def themselves(flat: bool) -> d.Data:
    """Digits as their own targets."""
    data = d.digits()
    x, x_test = (t.flatten(1) if flat else t for t in (data.x, data.x_test))
    return d.Data(x, x.clone(), x_test, x_test.clone())


@functools.cache
def half_of_digits(high: bool) -> d.Data:
    """Digits 0-4, or 5-9 as 0-4."""
    data = d.digits()
    train, test = (data.y >= 5) == high, (data.y_test >= 5) == high
    return d.Data(data.x[train], data.y[train] % 5, data.x_test[test], data.y_test[test] % 5)


def tuned(kind: str, build: Callable[[], nn.Module], source: Callable[[], d.Data], new_head: bool) -> nn.Module:
    """A pretrained model made ready for full, head-only or low-rank fine-tuning."""
    model: Any = h.pretrained(build, source, new_head)
    return {"full": lambda x: x, "head": h.head_only, "low_rank": h.low_rank}[kind](model)


GPT = P(h.GPT, VOCABULARY, length=24, layers=1, width=24)
SMALL_CONV = P(m.conv2d, 6, 5)
WD = P(ADAMW, weight_decay=0.1)

TASKS = (
    Task("digits_resnet_momentum", "choose", P(h.resnet, 6), d.digits, cross_entropy, MOMENTUM, 4.0, 16),
    Task("digits_vit_adamw", "report", P(h.ViT, layers=1, width=24), d.digits, cross_entropy, WD, 0.1, 16),
    Task("code_gpt_adamw", "choose", GPT, P(code, PARSERS), cross_entropy, WD, 0.25, 8),
    Task("network_gpt_adam", "report", P(GPT, layers=2), P(code, NETWORK), cross_entropy, ADAM, 0.25, 8),
    Task("mnist1d_mlp_norm_sgd", "choose", P(m.mlp, 40, 64, 64, 10, norm=True), d.mnist1d, cross_entropy, SGD, 8.0),
    Task("digits_cnn_norm_nesterov", "report", P(m.conv2d, 8), d.digits, cross_entropy, NESTEROV, 4.0),
    Task("mnist1d_cnn_adam", "choose", P(m.conv1d, 8), d.mnist1d, cross_entropy, ADAM, 0.25),
    Task("mnist1d_mlp_rmsprop", "report", P(m.mlp, 40, 96, 48, 10), d.mnist1d, cross_entropy, RMS, 0.1),
    Task("friedman_mlp_momentum", "choose", P(m.mlp, 10, 48, 48, 1), P(made, "friedman"), MSE, MOMENTUM, 1.0),
    Task("clusters_mlp_adam", "report", P(m.mlp, 20, 64, 64, 5), P(made, "clusters"), cross_entropy, ADAM, 0.25),
    Task("digits_autoencoder_adam", "choose", P(m.mlp, 64, 48, 12, 48, 64), P(themselves, True), MSE, ADAM, 0.25),
    Task("patches_denoiser_momentum", "report", P(m.denoiser, 8), P(d.patches, 0.1), MSE, MOMENTUM, 2.0, 16),
    Task(
        "code_gru_rmsprop", "choose", P(m.Recurrent, nn.GRU, VOCABULARY, VOCABULARY, True, 24), P(code, MATHS, 12),
        cross_entropy, RMS, 0.25, 8,
    ),
    Task("sorting_transformer_adam", "report", P(m.Transformer, 8, 6, False), d.sorting, cross_entropy, ADAM, 0.1),
    Task(
        "cancer_raw_momentum", "choose", P(m.mlp, 30, 32, 2), P(d.table, "cancer", False), cross_entropy, MOMENTUM, 0.1,
    ),
    Task("wine_raw_adam", "report", P(m.mlp, 13, 32, 3), P(d.table, "wine", False), cross_entropy, ADAM, 0.5, 16),
    Task(
        "finetune_conv_adamw", "choose", P(tuned, "full", SMALL_CONV, P(half_of_digits, True), True),
        P(half_of_digits, False), cross_entropy, WD, 0.25,
    ),
    Task(
        "finetune_head_momentum", "report", P(tuned, "head", SMALL_CONV, P(half_of_digits, False), True),
        P(half_of_digits, True), cross_entropy, MOMENTUM, 8.0,
    ),
    Task(
        "finetune_gpt_low_rank_adam", "choose", P(tuned, "low_rank", GPT, P(code, NETWORK), False),
        P(code, MATHS), cross_entropy, ADAM, 0.25, 8,
    ),
    Task(
        "finetune_gpt_full_adamw", "report", P(tuned, "full", GPT, P(code, MATHS), False),
        P(code, PARSERS), cross_entropy, WD, 0.1, 8,
    ),
    Task("latent_residual_sgd", "choose", P(m.Residual, 8, 1, 3), P(d.latent, 8), MSE, SGD, 4.0),
    Task("wave_sine_momentum", "report", m.Sine, d.wave, MSE, MOMENTUM, 1.0),
)  # fmt: skip
BY_NAME = {task.name: task for task in TASKS}
