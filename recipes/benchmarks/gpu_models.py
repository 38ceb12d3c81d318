"""GPT-style models for the GPU's benchmarks, on tokens drawn at random or on the standard library's sources."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

HELD_OUT = 20  # every 20th source file is for validation


@dataclass(frozen=True)
class Size:
    """A model and its batch: layers, width, heads, vocabulary, tokens in a sequence, sequences in a batch."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int
    batch: int
    precision: str = "bf16-mixed"


# 1.3 billion in bf16-true: with the weights in 32 bits their checkpoint, which Lightning's finder writes, takes longer
# than all the rest.
SIZES = {
    "20M": Size(6, 512, 8, 256, 512, 32),
    "350M": Size(24, 1024, 16, 50304, 512, 8),
    "1.3B": Size(24, 2048, 16, 50304, 512, 4, "bf16-true"),
}
TINY = Size(2, 32, 2, 256, 16, 4)


class Block(nn.Module):
    """Attention and a perceptron, each on normalized input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        batch, tokens, width = x.shape
        heads = self.attend(self.before(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(seen.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.narrow(nn.functional.gelu(self.wide(self.between(x))))


class GPT(nn.Module):
    """Decoder with learned positions, its output tied to its embedding."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.token = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Embedding(size.context, size.width)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.layers))
        self.last = nn.LayerNorm(size.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:  # GPT-2's, the branches' ends divided by the square root of their number
                last = name.endswith(("project.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * size.layers) ** 0.5 if last else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mean cross-entropy of each token given those before it."""
        tokens, after = tokens[:, :-1], tokens[:, 1:]
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = nn.functional.linear(self.last(x), self.token.weight)
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), after.flatten())


class Synthetic(L.LightningModule):
    """A GPT on random tokens, made where it will be trained: making a billion weights on the host takes a while."""

    def __init__(self, size: Size, device: str, batches: int) -> None:
        super().__init__()
        self.size, self.batches, self.lr = size, batches, 1e-3
        with torch.device(device):
            self.net = GPT(size)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self.net(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Fused AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr, fused=True)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled random tokens."""
        shape = self.batches * self.size.batch, self.size.context + 1
        return DataLoader(TensorDataset(torch.randint(self.size.vocabulary, shape)), self.size.batch, shuffle=True)

    def nbytes(self) -> int:
        """Bytes of the parameters in the precision they are trained in."""
        each = 2 if self.size.precision == "bf16-true" else 4
        return each * sum(p.numel() for p in self.parameters())


class Text:
    """The sources of Python's standard library as bytes on the device, some files of them held out.

    Args:
        device: Where to keep them.
        most: Bytes to read at most.
    """

    def __init__(self, device: str, most: int = 64_000_000) -> None:
        root = Path(sysconfig.get_paths()["stdlib"])
        files = sorted(p for p in root.rglob("*.py") if not {"site-packages", "dist-packages"} & set(p.parts))
        parts: dict[str, list[bytes]] = {"train": [], "val": []}
        taken = 0
        for number, path in enumerate(files):
            if taken > most:
                break
            content = path.read_bytes()
            taken += len(content)
            parts["val" if number % HELD_OUT == 0 else "train"].append(content)
        self.bytes = {
            name: torch.frombuffer(bytearray(b"\n".join(found)), dtype=torch.uint8).to(device)
            for name, found in parts.items()
        }

    def batch(self, part: str, starts: Tensor, length: int) -> Tensor:
        """(sequences, length) tokens, from these places on."""
        places = starts[:, None] + torch.arange(length, device=starts.device)
        return self.bytes[part][places].long()


class OnText(L.LightningModule):
    """A byte-level GPT on :class:`Text`.

    Args:
        size: The model.
        text: The text.
        steps: Batches of the one epoch.
        optimizer: Parameters -> optimizer, or optimizer and schedulers as Lightning takes them.
        seed: Of the places in the text.
    """

    def __init__(self, size: Size, text: Text, steps: int, optimizer: Callable[[Any], Any], seed: int) -> None:
        super().__init__()
        self.size, self.steps, self.optimizer, self.seed = size, steps, optimizer, seed
        self.text = text
        self.net = GPT(size)
        self.losses: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss at a batch of places."""
        return self.net(self.text.batch("train", batch[0], self.size.context + 1))

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Logs the loss, in nats a byte."""
        loss = self.net(self.text.batch("val", batch[0], self.size.context + 1))
        self.log("val_loss", loss, batch_size=len(batch[0]))

    def on_validation_epoch_end(self) -> None:
        """Keep the curve."""
        if not self.trainer.sanity_checking:
            self.losses.append(float(self.trainer.callback_metrics["val_loss"]))

    def configure_optimizers(self) -> Any:
        """What was asked for."""
        return self.optimizer(self.parameters())

    def _places(self, part: str, batches: int, seed: int) -> DataLoader[Any]:
        room = len(self.text.bytes[part]) - self.size.context - 1
        places = torch.randint(room, (batches * self.size.batch,), generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(places), self.size.batch)

    def train_dataloader(self) -> DataLoader[Any]:
        """Places drawn at random."""
        return self._places("train", self.steps, self.seed)

    def val_dataloader(self) -> DataLoader[Any]:
        """The same places at every validation."""
        return self._places("val", 8, 0)
