"""Small tasks in pairs of a kind: one of each pair to choose rules on, the other to report; and a third set to check.

The halves were drawn up before any rule was tried. ``dev`` was for choosing; ``report`` was looked at once, and then
used to mend what it showed (so it isn't blind any more); ``check`` was drawn up after that, before the mending.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recipes.benchmarks.suggestion_tasks import data as d
from recipes.benchmarks.suggestion_tasks import models as m

Criterion = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """One training problem: ``criterion(model(x), y)``, an optimizer, a batch size and a number of steps."""

    name: str
    kind: str
    half: str
    model: Callable[[], nn.Module]
    data: Callable[[], d.Data]
    criterion: Criterion
    optimizer: Callable[..., torch.optim.Optimizer]
    batch: int = 32
    steps: int = 300

    def constant_loss(self) -> float:
        """Held-out loss of the best constant predictor (class shares, mean, or mean image)."""
        data = self.data()
        if data.y.dtype == torch.long:
            shares = torch.bincount(data.y.flatten(), minlength=int(data.y.max()) + 1).float()
            return float(-(shares / shares.sum()).clamp_min(1e-9).log()[data.y_test.flatten()].mean())
        mean = data.y.mean(0, keepdim=True)
        if self.criterion is gaussian:
            return float(gaussian((mean, data.y.var().log() + 0 * mean), data.y_test))
        if self.criterion is elbo:
            p = mean.clamp(1e-3, 1 - 1e-3)
            logits = (p / (1 - p)).log().expand_as(data.y_test)
            return float(nn.functional.binary_cross_entropy_with_logits(logits, data.y_test) * 64)
        return float(self.criterion(mean.expand_as(data.y_test), data.y_test))


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy over samples and, for sequences, over places."""
    return nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten())


def gaussian(outputs: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    """Negative log likelihood of a normal law without its constant: gets negative."""
    mean, log_var = outputs
    return 0.5 * (log_var + (y - mean) ** 2 * (-log_var).exp()).mean()


def elbo(outputs: tuple[Tensor, Tensor, Tensor], y: Tensor) -> Tensor:
    """Negative evidence lower bound per image, summed over pixels."""
    logits, mean, log_var = outputs
    fit = nn.functional.binary_cross_entropy_with_logits(logits, y.flatten(1), reduction="none").sum(1)
    return (fit - 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)).mean()


class Halves(nn.Module):
    """Split the outputs of a network into two."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.net(x).chunk(2, 1)


def images(flat: bool) -> d.Data:
    """Digits as their own targets, flat or as images."""
    data = d.digits()
    x, x_test = (t.flatten(1) if flat else t for t in (data.x, data.x_test))
    return d.Data(data.x, x, data.x_test, x_test)


@functools.cache
def some_digits(high: bool) -> d.Data:
    """Digits 0-4 or 5-9 (as 0-4)."""
    data = d.digits()
    train, test = (data.y >= 5) == high, (data.y_test >= 5) == high
    return d.Data(data.x[train], data.y[train] % 5, data.x_test[test], data.y_test[test] % 5)


def inverted() -> d.Data:
    """Digits with inverted grey values."""
    data = d.digits()
    return d.Data(1 - data.x, data.y, 1 - data.x_test, data.y_test)


@functools.cache
def _trained(build: Callable[[], nn.Module], source: Callable[[], d.Data]) -> dict[str, Tensor]:
    torch.manual_seed(99)
    model, data = build(), source()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(300):
        pick = torch.randint(len(data.x), (64,))
        optimizer.zero_grad()
        cross_entropy(model(data.x[pick]), data.y[pick]).backward()
        optimizer.step()
    return {key: value.clone() for key, value in model.state_dict().items()}


def finetune(build: Callable[[], nn.Module], source: Callable[[], d.Data], new_head: bool) -> nn.Module:
    """A model trained on ``source``, with a fresh head if wanted."""
    with torch.random.fork_rng():
        state = _trained(build, source)
    model = build()
    head = {key for key in state if key.startswith(f"{len(model) - 1}.")} if new_head else set()  # type: ignore[arg-type]
    model.load_state_dict({key: value for key, value in state.items() if key not in head}, strict=False)
    return model


def small_net() -> nn.Sequential:
    return m.mlp(64, 64, 32, 5)


def small_conv() -> nn.Sequential:
    return m.conv2d(8, 10)


P = functools.partial
SGD, ADAM, ADAMW, RMS = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop
MOMENTUM, NESTEROV = P(SGD, momentum=0.9), P(SGD, momentum=0.9, nesterov=True)
MSE = nn.functional.mse_loss
VOCABULARY = 96


def text() -> d.Data:
    data, size = d.text()
    assert size <= VOCABULARY, size
    return data


TASKS = (
    Task("digits_mlp_momentum", "mlp", "dev", P(m.mlp, 64, 64, 10), d.digits, cross_entropy, MOMENTUM),
    Task("mnist1d_mlp_rmsprop", "mlp", "report", P(m.mlp, 40, 64, 64, 10, dropout=0.2), d.mnist1d, cross_entropy, RMS),
    Task("digits_cnn_adam", "cnn", "dev", m.conv2d, d.digits, cross_entropy, ADAM),
    Task("mnist1d_cnn_nesterov", "cnn", "report", m.conv1d, d.mnist1d, cross_entropy, NESTEROV, steps=200),
    Task(
        "text_lstm_adam",
        "rnn",
        "dev",
        P(m.Recurrent, nn.LSTM, VOCABULARY, VOCABULARY, True),
        text,
        cross_entropy,
        ADAM,
        16,
    ),
    Task(
        "mnist1d_gru_momentum",
        "rnn",
        "report",
        P(m.Recurrent, nn.GRU, 4, 10, False),
        d.mnist1d,
        cross_entropy,
        MOMENTUM,
        steps=200,
    ),
    Task(
        "sorting_transformer_adam",
        "transformer",
        "dev",
        P(m.Transformer, 8, 6, False, 2),
        d.sorting,
        cross_entropy,
        ADAM,
        steps=200,
    ),
    Task(
        "text_transformer_adamw",
        "transformer",
        "report",
        P(m.Transformer, VOCABULARY, 24, True),
        text,
        cross_entropy,
        P(ADAMW, weight_decay=0.05),
        16,
        steps=200,
    ),
    Task("digits_autoencoder_adamw", "autoencoder", "dev", P(m.mlp, 64, 32, 8, 32, 64), P(images, True), MSE, ADAMW),
    Task("patches_denoiser_adam", "autoencoder", "report", m.denoiser, d.patches, MSE, ADAM, steps=200),
    Task("wine_raw_sgd", "raw features", "dev", P(m.mlp, 13, 32, 3), P(d.table, "wine", False), cross_entropy, SGD, 16),
    Task(
        "cancer_raw_momentum",
        "raw features",
        "report",
        P(m.mlp, 30, 32, 2),
        P(d.table, "cancer", False),
        cross_entropy,
        MOMENTUM,
    ),
    Task(
        "cancer_raw_adam",
        "raw features",
        "dev",
        P(m.mlp, 30, 32, 32, 2),
        P(d.table, "cancer", False),
        cross_entropy,
        ADAM,
    ),
    Task("diabetes_raw_adam", "raw features", "report", P(m.mlp, 10, 64, 1), P(d.table, "diabetes", False), MSE, ADAM),
    Task("noisy_digits_adamw", "noisy labels", "dev", P(m.mlp, 64, 128, 10), P(d.digits, 0.4), cross_entropy, ADAMW),
    Task(
        "noisy_digits_cnn_momentum",
        "noisy labels",
        "report",
        P(m.conv2d, 8),
        P(d.digits, 0.3),
        cross_entropy,
        MOMENTUM,
        steps=200,
    ),
    Task(
        "finetune_new_head_momentum",
        "fine-tuning",
        "dev",
        P(finetune, small_net, P(some_digits, False), True),
        P(some_digits, True),
        cross_entropy,
        MOMENTUM,
    ),
    Task(
        "finetune_inverted_adam",
        "fine-tuning",
        "report",
        P(finetune, small_conv, d.digits, False),
        inverted,
        cross_entropy,
        ADAM,
        steps=200,
    ),
    Task("linear_two_decades_sgd", "ill-conditioned", "dev", P(m.mlp, 20, 1), P(d.linear, 1.0), MSE, SGD),
    Task(
        "linear_three_decades_momentum", "ill-conditioned", "report", P(m.mlp, 20, 1), P(d.linear, 1.5), MSE, MOMENTUM
    ),
    Task(
        "wave_likelihood_adam",
        "negative loss",
        "dev",
        P(lambda: Halves(m.mlp(1, 32, 32, 2, act=nn.Tanh))),
        d.wave,
        gaussian,
        ADAM,
    ),
    Task(
        "latent_likelihood_rmsprop",
        "negative loss",
        "report",
        P(lambda: Halves(m.Residual(8, 2, 2))),
        P(d.latent, 8),
        gaussian,
        RMS,
    ),
    Task(
        "spirals_tanh_momentum",
        "low dimension",
        "dev",
        P(m.mlp, 2, 32, 32, 3, act=nn.Tanh),
        d.spirals,
        cross_entropy,
        MOMENTUM,
    ),
    Task("wave_sine_adam", "low dimension", "report", m.Sine, d.wave, MSE, ADAM),
    Task("digits_vae_adam", "large loss", "dev", m.Variational, P(images, True), elbo, ADAM),
    Task(
        "diabetes_scaled_momentum",
        "large loss",
        "report",
        P(m.mlp, 10, 32, 1),
        P(d.table, "diabetes", True),
        MSE,
        MOMENTUM,
    ),
    Task("digits_residual_sgd", "deep", "dev", P(m.Residual, 64, 10), d.digits, cross_entropy, SGD),
    Task(
        "mnist1d_deep_norm_sgd", "deep", "report", P(m.mlp, 40, *[48] * 6, 10, norm=True), d.mnist1d, cross_entropy, SGD
    ),
    Task("ratings_factors_adam", "embeddings", "dev", m.Factors, d.ratings, MSE, ADAM, 64),
    Task("ratings_factors_momentum", "embeddings", "report", m.Factors, d.ratings, MSE, MOMENTUM, 64),
    Task(
        "iris_linear_momentum", "linear", "check", P(m.mlp, 4, 3), P(d.table, "iris", True), cross_entropy, MOMENTUM, 16
    ),
    Task("wine_mlp_adam", "mlp", "check", P(m.mlp, 13, 32, 3), P(d.table, "wine", True), cross_entropy, ADAM, 16),
    Task(
        "cancer_norm_momentum",
        "mlp",
        "check",
        P(m.mlp, 30, 32, 32, 2, norm=True),
        P(d.table, "cancer", True),
        cross_entropy,
        MOMENTUM,
    ),
    Task(
        "digits_elu_adamw",
        "deep",
        "check",
        P(m.mlp, 64, 48, 48, 48, 10, act=nn.ELU),
        d.digits,
        cross_entropy,
        P(ADAMW, weight_decay=0.1),
    ),
    Task("mnist1d_mlp_sgd", "mlp", "check", P(m.mlp, 40, 64, 10), d.mnist1d, cross_entropy, SGD),
    Task("spirals_relu_adam", "low dimension", "check", P(m.mlp, 2, 48, 48, 3), d.spirals, cross_entropy, ADAM),
    Task("linear_two_decades_adam", "ill-conditioned", "check", P(m.mlp, 20, 1), P(d.linear, 1.0), MSE, ADAM),
    Task(
        "noisy_digits_momentum",
        "noisy labels",
        "check",
        P(m.mlp, 64, 64, 10),
        P(d.digits, 0.5),
        cross_entropy,
        MOMENTUM,
    ),
    Task(
        "wine_raw_adam",
        "raw features",
        "check",
        P(m.mlp, 13, 32, 3),
        P(d.table, "wine", False),
        cross_entropy,
        ADAM,
        16,
    ),
    Task("latent_mlp_nesterov", "mlp", "check", P(m.mlp, 8, 48, 48, 1, act=nn.Tanh), P(d.latent, 8), MSE, NESTEROV),
    Task("sorting_gru_adam", "rnn", "check", P(m.Recurrent, nn.GRU, 8, 8, True), d.sorting, cross_entropy, ADAM),
    Task(
        "finetune_other_digits_adam",
        "fine-tuning",
        "check",
        P(finetune, small_net, P(some_digits, True), True),
        P(some_digits, False),
        cross_entropy,
        ADAM,
    ),
)
