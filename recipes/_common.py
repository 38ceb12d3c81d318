"""What the recipes share: quiet training on the digits, and where pictures go."""

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib as mpl
import torch

from lr_lightning.cli.demo import DigitsCNN, DigitsData
from lr_lightning.reporting.figures import style

IMAGES = Path(__file__).parent / "images"
BLUE, ORANGE, GREEN, PURPLE, RED = (style.COLORS[at] for at in (0, 1, 2, 6, 8))
mpl.rcParams.update(
    {  # the look of the tab's figures
        "axes.axisbelow": True,
        "axes.edgecolor": "#b1b3b4",
        "axes.grid": True,
        "axes.labelcolor": style.ink(False),
        "axes.prop_cycle": mpl.cycler(color=style.COLORS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 12,
        "font.sans-serif": ["Roboto", "Helvetica Neue", "Arial", *mpl.rcParams["font.sans-serif"]],
        "grid.color": "#ebebeb",
        "legend.edgecolor": "white",
        "legend.framealpha": 0.9,
        "text.color": style.ink(False),
        "xtick.color": style.ink(False),
        "ytick.color": style.ink(False),
    }
)


class LossHistory(L.Callback):
    """Keeps the training loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take the step's loss."""
        self.losses.append(float(outputs["loss"]))


def fit(
    module: L.LightningModule, epochs: int, callbacks: list[L.Callback], seed: int = 0, data: Any = None, **kwargs: Any
) -> L.Trainer:
    """Train on the digits, or a pair of loaders, without bars, logs and checkpoints; returns the trainer."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    L.seed_everything(seed, verbose=False)
    settings: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, **kwargs}
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, **settings
    )
    trainer.fit(module, *(data or (DigitsData(),)))
    return trainer


Outcome = tuple[list[float], float, float]


def train(lr: float, epochs: int, optimizer: Any = torch.optim.AdamW, seed: int = 0) -> Outcome:
    """Train a fresh CNN at constant ``lr``; returns the losses by step, final validation loss and accuracy."""
    L.seed_everything(seed, verbose=False)
    history = LossHistory()
    trainer = fit(DigitsCNN(lr=lr, optimizer=optimizer), epochs, [history], seed)
    metrics = trainer.callback_metrics
    return history.losses, float(metrics["val_loss"]), float(metrics["val_accuracy"])


def arguments(description: str | None, epochs: int, seeds: int | None = None, **more: Any) -> argparse.Namespace:
    """``--epochs``, ``--save`` and, where there are several, ``--seeds``; ``more``: options of one recipe alone."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=epochs, help="epochs of each training (default: %(default)s)")
    if seeds is not None:
        parser.add_argument("--seeds", type=int, default=seeds, help="repetitions (default: %(default)s)")
    for name, (default, text) in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--save", type=Path, nargs="?", const=IMAGES, metavar="FOLDER",
        help="save the picture, there or in recipes/images; without it none is written",
    )  # fmt: skip
    return parser.parse_args()


def save(figure: Any, folder: Path | None, name: str) -> None:
    """Write a matplotlib figure as PNG and say where; without a folder nothing is written."""
    if folder is None:
        print("picture: not saved; add --save")
        return
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
    print(f"picture: {folder / f'{name}.png'}")
