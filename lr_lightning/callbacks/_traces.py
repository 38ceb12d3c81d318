"""What a range test leaves alone in a fit, and what it says of traces that it couldn't remove."""

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lr_lightning.optim.snapshot import Kept, Outside, in_words

MACHINERY: tuple[type, ...] = (Trainer, Callback, Logger, Strategy, Accelerator, Profiler, LightningOptimizer)
"""A snapshot doesn't go into these: a sandbox swaps or mutes them."""


def warn_of_traces(*kept: Kept | Outside) -> None:
    """Name in one warning what isn't as it was before the test; to be called when all is put back."""
    if words := in_words([trace for one in kept for trace in one.left()]):
        rank_zero_warn(words)
