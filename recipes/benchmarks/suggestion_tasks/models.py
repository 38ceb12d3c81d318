"""Small models of the suggestion benchmark."""

import itertools

import torch
from torch import Tensor, nn


def mlp(*widths: int, act: type[nn.Module] = nn.ReLU, norm: bool = False, dropout: float = 0.0) -> nn.Sequential:
    """Flatten, then linear layers of these widths."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers.append(nn.Linear(a, b))
        if i < len(widths) - 2:
            layers += [nn.BatchNorm1d(b)] * norm + [act()] + [nn.Dropout(dropout)] * (dropout > 0)
    return nn.Sequential(*layers)


def conv2d(channels: int = 12, classes: int = 10, norm: bool = True) -> nn.Sequential:
    """Two convolutions and a linear head for 8x8 images."""
    norms = [[nn.BatchNorm2d(channels)], [nn.BatchNorm2d(2 * channels)]] if norm else [[], []]
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), *norms[0], nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), *norms[1], nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * channels, classes),
    )  # fmt: skip


def conv1d(channels: int = 12) -> nn.Sequential:
    """Three strided convolutions for signals of 40 samples."""
    return nn.Sequential(
        nn.Conv1d(1, channels, 5, 2, 2), nn.ReLU(), nn.Conv1d(channels, channels, 3, 2, 1), nn.ReLU(),
        nn.Conv1d(channels, channels, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * channels, 10),
    )  # fmt: skip


def denoiser(channels: int = 12) -> nn.Sequential:
    """Three convolutions that keep the size."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
        nn.Conv2d(channels, 1, 3, padding=1),
    )  # fmt: skip


class Recurrent(nn.Module):
    """An LSTM or GRU over symbols (all outputs) or over a signal (last output)."""

    def __init__(self, kind: type[nn.Module], inputs: int, outputs: int, symbols: bool, width: int = 32) -> None:
        super().__init__()
        self.symbols = symbols
        self.embed = nn.Embedding(inputs, width) if symbols else nn.Linear(inputs, width)
        self.core = kind(width, width, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = self.core(self.embed(x if self.symbols else x.view(len(x), 10, -1)))[0]
        return self.head(out) if self.symbols else self.head(out[:, -1])


class Transformer(nn.Module):
    """One or two pre-norm encoder layers over symbols."""

    def __init__(self, symbols: int, length: int, causal: bool, layers: int = 1, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.core = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, symbols)
        mask = torch.triu(torch.full((length, length), float("-inf")), 1) if causal else None
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(self.embed(x) + self.place, mask=self.mask))


class Residual(nn.Module):
    """A deep residual MLP without normalisation."""

    def __init__(self, inputs: int, outputs: int, depth: int = 8, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(mlp(width, width, width) for _ in range(depth))
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


class Variational(nn.Module):
    """A VAE on 64 pixels; returns reconstruction logits, mean and log variance."""

    def __init__(self, latent: int = 6) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 64, 2 * latent), mlp(latent, 64, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (log_var / 2).exp() if self.training else mean
        return self.decoder(code), mean, log_var


class Factors(nn.Module):
    """Matrix factorisation with biases."""

    def __init__(self, users: int = 60, items: int = 40, width: int = 8) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.3)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1, keepdim=True) + self.bias


class Sine(nn.Module):
    """A SIREN-like regressor: sine activations, first frequency 10."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sin(self.second(torch.sin(10 * self.first(x)))))
