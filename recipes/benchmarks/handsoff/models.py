"""Models of the hands-off benchmark: small ones of today's kinds, and what fine-tuning does to them."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from recipes.benchmarks.suggestion_tasks.data import Data


class ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.short = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


def resnet(width: int = 8, classes: int = 10) -> nn.Sequential:
    """A stem, two residual blocks, mean over places, a linear head; for small grey images."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        ResidualBlock(width, width, 1), ResidualBlock(width, 2 * width, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes),
    )  # fmt: skip


class Block(nn.Module):
    """A pre-norm transformer block (GPT-2's) with GELU."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.mix(self.first(x)).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(seen.transpose(1, 2).reshape(n, t, c))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


class GPT(nn.Module):
    """A decoder over characters with GPT-2's initial scale."""

    def __init__(self, symbols: int, length: int = 32, layers: int = 2, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(symbols, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads, True) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** (0.5 * name.endswith(("out.weight", "down.weight"))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x) + self.place(torch.arange(x.shape[1])))))


class ViT(nn.Module):
    """A vision transformer on patches of ``patch`` x ``patch`` grey pixels."""

    def __init__(self, size: int = 8, patch: int = 2, layers: int = 2, width: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.cut = nn.Unfold(patch, stride=patch)
        self.embed = nn.Linear(patch * patch, width)
        self.place = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, 2, False) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(self.cut(x).transpose(1, 2)) + self.place)).mean(1))


class LowRank(nn.Module):
    """A frozen linear layer and a trained product of two thin matrices beside it (Hu et al. 2021)."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float = 8.0) -> None:
        super().__init__()
        self.layer, self.scale = layer.requires_grad_(False), alpha / rank
        self.a = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.scale * (x @ self.a.T @ self.b.T)


def low_rank(model: nn.Module, rank: int = 4) -> nn.Module:
    """The model frozen, with an adapter in each of its blocks' linear layers."""
    model.requires_grad_(False)
    for block in model.modules():
        if isinstance(block, Block):
            for name in ("mix", "out", "up", "down"):
                setattr(block, name, LowRank(getattr(block, name), rank))
    return model


def head_only(model: nn.Sequential) -> nn.Sequential:
    """All but the last layer frozen."""
    model.requires_grad_(False)
    model[-1].requires_grad_(True)
    return model


@functools.cache
def _trained(build: Callable[[], nn.Module], source: Callable[[], Data], lr: float, steps: int) -> dict[str, Tensor]:
    """Weights after ``steps`` of Adam under a cosine on ``source``: the benchmark's own pretraining."""
    torch.manual_seed(99)
    model, data = build(), source()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        pick = torch.randint(len(data.x), (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data.x[pick]).flatten(0, -2), data.y[pick].flatten()).backward()
        optimizer.step()
        cosine.step()
    return {key: value.clone() for key, value in model.state_dict().items()}


def pretrained(
    build: Callable[[], nn.Module], source: Callable[[], Data], new_head: bool, steps: int = 800
) -> nn.Module:
    """A model trained on ``source``; a Sequential may get a fresh head."""
    with torch.random.fork_rng():
        state = _trained(build, source, 3e-3, steps)
    model = build()
    head = {key for key in state if new_head and key.startswith(f"{len(model) - 1}.")}  # type: ignore[arg-type]
    model.load_state_dict({key: value for key, value in state.items() if key not in head}, strict=False)
    return model
