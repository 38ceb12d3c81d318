"""A Hydra app that trains a small network, on one process or two, with callbacks from its config."""

import os

import hydra
from omegaconf import DictConfig

from lr_lightning import isolated_trials


def task(cfg: DictConfig) -> float:
    import lightning as L

    from tests.helpers.modules import Classifier

    L.seed_everything(cfg.seed, workers=True, verbose=False)
    callbacks = [hydra.utils.instantiate(entry) for entry in cfg.callbacks.values()]
    strategy = "ddp" if cfg.devices > 1 else "auto"
    trainer = L.Trainer(
        **cfg.trainer, max_epochs=cfg.epochs, devices=cfg.devices, strategy=strategy, callbacks=callbacks
    )
    model = Classifier(lr=cfg.lr, optimizer="sgd")
    trainer.fit(model)
    group = trainer.optimizers[0].param_groups[0]
    with open(os.environ["RAN"], "a") as file:
        file.write(f"{group['lr']:.6g} {trainer.global_rank}/{trainer.world_size} {trainer.global_step}\n")
    return float(trainer.callback_metrics.get("val_loss", float("nan")))


wrapped = isolated_trials(task) if "ISOLATED" in os.environ else task
main = hydra.main(version_base="1.3", config_path=".", config_name="config")(wrapped)

if __name__ == "__main__":
    main()
