"""A Hydra app without torch: a bowl over log LR that crashes, dies or returns NaN where it is told to."""

import math
import os
import random
import time

import hydra
from omegaconf import DictConfig

from lr_lightning import isolated_trials


def score(cfg: DictConfig) -> float | None:
    if cfg.nothing:
        return None
    if cfg.lr > cfg.die_above:
        os._exit(9)
    if cfg.lr > cfg.exit_above:
        raise SystemExit(3)
    if cfg.lr > cfg.crash_above:
        raise ArithmeticError(f"lr {cfg.lr} is too high")
    if cfg.lr > cfg.nan_above:
        return math.nan
    noise = random.Random(f"{cfg.lr}{cfg.seed}").gauss(0.0, cfg.noise)
    return math.log10(cfg.lr / cfg.optimum) ** 2 + 10 * cfg.wd + noise


def task(cfg: DictConfig) -> float | None:
    with open(os.environ.get("PIDS", os.devnull), "a") as file:
        file.write(f"{os.getpid()}\n")
    with open(os.environ.get("RAN", os.devnull), "a") as file:
        file.write(f"{cfg.lr} {cfg.seed}\n")
    time.sleep(cfg.seconds)
    return score(cfg)


wrapped = isolated_trials(task) if "ISOLATED" in os.environ else task
main = hydra.main(version_base="1.3", config_path=".", config_name="config")(wrapped)

if __name__ == "__main__":
    main()
