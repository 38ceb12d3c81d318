"""A project laid out like lightning-hydra-template: what its users have, without knowing of lr_lightning."""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PROJECT_ROOT"] = str(ROOT)

from src.utils.instantiators import each_of  # noqa: E402


def fit(cfg: DictConfig):
    import lightning as L  # composing alone is to be fast

    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data, model = hydra.utils.instantiate(cfg.data), hydra.utils.instantiate(cfg.model)
    callbacks, loggers = each_of(cfg.get("callbacks")), each_of(cfg.get("logger"))
    trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks, logger=loggers)
    trainer.fit(model=model, datamodule=data, ckpt_path=cfg.get("ckpt_path"))
    return trainer


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg: DictConfig) -> float | None:
    trainer = fit(cfg)
    if cfg.extras.report:
        print("callbacks:", *(type(callback).__name__ for callback in trainer.callbacks))
        print("loggers:", *(type(logger).__name__ for logger in trainer.loggers))
        print(f"LR {trainer.optimizers[0].param_groups[0]['lr']:.6g} after {trainer.global_step} steps")
    return trainer.callback_metrics[cfg.optimized_metric].item() if cfg.get("optimized_metric") else None


if __name__ == "__main__":
    main()
