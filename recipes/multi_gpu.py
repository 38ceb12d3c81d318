"""Several processes: range test, plateau decay and curves under ddp, and a check that all ranks decided alike.

    python -m recipes.multi_gpu                                  # ddp on two CPU processes
    python -m recipes.multi_gpu --accelerator gpu --devices 4    # the same on GPUs

Every process trains on its own batches and keeps a record of its own: the LR that its range test found, each plateau
decay with its reason, the LR of every step, its losses, and under ddp the sum of its weights at the end. The records
are gathered and compared; a difference ends the script with an error.

On two CPU processes the losses differ from the first step on (2.23 and 2.27), and everything that was decided is the
same to the bit: the LR found (0.0071), every decay with its reason, the LRs of all 480 steps, the weights. LR and
loss curves are in `logs` for TensorBoard. It has been run on CPUs with gloo; on GPUs only the arguments change
(`--accelerator`, `--devices`, `--strategy`).
"""

from collections.abc import Mapping
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from lr_lightning import LRCurves, LRRangeTest, PlateauDecay
from lr_lightning.cli.demo import DigitsCNN
from recipes._common import arguments, fit, save


class Records(L.Callback):
    """What this rank saw: the LR and the loss of every step, of its own batches."""

    def __init__(self) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """The LR that the step uses."""
        self.lrs.append(float(optimizer.param_groups[0]["lr"]))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The loss of this rank's batch."""
        self.losses.append(float(outputs["loss"]))


def gathered(mine: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every rank's record, on every rank."""
    if not dist.is_initialized():
        return [mine]
    records: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(records, mine)
    return records


def compare(records: list[Mapping[str, Any]]) -> None:
    """Print what the ranks decided, each on its own.

    Raises:
        SystemExit: If two ranks differ.
    """
    first = records[0]
    print(f"{len(records)} ranks; losses of the first step: " + ", ".join(f"{r['losses'][0]:.4f}" for r in records))
    for what in ("suggestion", "decays", "lrs", "weights"):
        if any(record[what] != first[what] for record in records):
            raise SystemExit(f"ranks differ in {what}: {[record[what] for record in records]}")
    print(f"all ranks alike: LR found {first['suggestion']:.4g}, {len(first['decays'])} decays,")
    weights = f" and the weights at the end (sum {first['weights']:.6f})" if first["weights"] else ""
    print(f"  the LRs of {len(first['lrs'])} steps{weights}, to the bit")
    for step, lr, reason in first["decays"]:
        print(f"  step {step:4}: LR {lr:.3g}: {reason}")


def draw(records: list[Mapping[str, Any]]) -> Any:
    """Losses differ from rank to rank, LRs don't."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for rank, record in enumerate(records):
        left.plot(record["losses"], linewidth=0.8, alpha=0.7, label=f"rank {rank}")
        right.plot(record["lrs"], linewidth=1 + 3 * (len(records) - 1 - rank), label=f"rank {rank}")
    left.set(xlabel="step", ylabel="training loss of its own batches", yscale="log", title="what each rank sees")
    right.set(xlabel="step", ylabel="learning rate", yscale="log", title="what each rank does")
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    return figure


def main() -> None:
    """Train, gather every rank's record, compare, draw."""
    options = arguments(
        __doc__,
        epochs=40,
        accelerator=("cpu", "cpu or gpu"),
        devices=(2, "processes"),
        strategy=("ddp", "ddp or another that starts this file anew"),
    )
    torch.set_num_threads(1)
    test, decay, records = LRRangeTest(), PlateauDecay("train_loss", interval="step", verbose=False), Records()
    logger = TensorBoardLogger("logs", "multi_gpu", default_hp_metric=False)
    L.seed_everything(0, verbose=False)
    module = DigitsCNN(optimizer=torch.optim.AdamW)
    place = {"accelerator": options.accelerator, "devices": options.devices, "strategy": options.strategy}
    trainer = fit(
        module, options.epochs, [test, decay, LRCurves(), records], logger=logger, log_every_n_steps=5, **place
    )
    if test.result is None:
        raise SystemExit(f"{options.strategy} trains in processes whose records don't come back; take ddp")
    whole = isinstance(trainer.strategy, DDPStrategy)
    everyone = gathered(
        {
            "suggestion": test.result.suggestion,
            "decays": [(d["step"], d["new_lr"], d["reason"]) for d in decay.history if d["action"] == "decay"],
            "lrs": records.lrs,
            "losses": records.losses,
            # Under ddp every rank has all weights; a sharding strategy leaves each its share.
            "weights": float(sum(p.detach().double().sum() for p in module.parameters())) if whole else 0.0,
        }
    )
    if trainer.is_global_zero:
        compare(everyone)
        save(draw(everyone), options.save, "multi_gpu")
        print(f"curves: lr-lightning review {logger.save_dir}")


if __name__ == "__main__":
    main()
