"""The ``lr-lightning`` command: a Hydra app over any LightningModule and LightningDataModule."""

import inspect
import io
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import hydra
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from lr_lightning.cli.command_line import COMMANDS, UnknownCommand, command_of, readable, with_overrides
from lr_lightning.cli.given import Refused, check_sweeper, chosen_optimizer, key_of, overrides, swept_lr
from lr_lightning.cli.settings import check_optimizer, check_settings
from lr_lightning.rules.checks import nearest
from lr_lightning.sweeper.isolated import isolated_trials


def main() -> None:
    """Run the command; the working directory is importable, so that ``model._target_=my.Net`` finds ``my.py``."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    # As on stderr: a sign that the terminal's encoding lacks, of ours or in a name of the user's, ends nothing.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:]
    try:
        name = command_of(words)
    except UnknownCommand as error:
        sys.exit(str(error))
    if COMMANDS.get(name) and {"-h", "--help"} & set(words):
        print(COMMANDS[name])
    elif words == ["--version"]:
        print(f"lr-lightning {version('lr-lightning')}")
    elif name == "info":
        if words[1:]:
            sys.exit(f"lr-lightning info takes no arguments, got {' '.join(words[1:])}")
        from lr_lightning.cli.info import info

        print(info())
    elif name == "review":
        from lr_lightning.cli.review import review_command

        sys.exit(review_command(words[1:]))
    elif name == "preview":
        here = ["hydra.run.dir=.", "hydra.output_subdir=null"]
        sys.argv = [sys.argv[0], *with_overrides(readable(words[1:]), here)]
        _explained(_preview)
    else:
        sys.argv = [sys.argv[0], *readable(words)]
        _explained(_run)


def _explained(run: Callable[[], Any]) -> None:
    """Run a Hydra app; if it ends with an error, name the key that may have been meant."""
    words = sys.argv[1:]
    try:
        run()
    except SystemExit as error:
        from lr_lightning.cli.misspelt import hint

        if error.code and (meant := hint(words)):
            print(meant, file=sys.stderr)
        raise


@hydra.main(version_base="1.3", config_path="pkg://lr_lightning.conf", config_name="config")
@isolated_trials
def _run(cfg: DictConfig) -> float | None:
    return train(cfg)


@hydra.main(version_base="1.3", config_path="pkg://lr_lightning.conf", config_name="config")
def _preview(cfg: DictConfig) -> None:
    from lr_lightning.cli.preview import preview_command

    preview_command(cfg)


def train(cfg: DictConfig) -> float | None:
    """Build everything from the config, fit, print the outcome.

    Args:
        cfg: The composed config, see ``conf/config.yaml``.

    Returns:
        The metric named by ``cfg.score`` as last logged, or None if it wasn't.

    Raises:
        ValueError: If a setting of the command's own makes no sense; what is built checks its own.
    """
    import lightning as L

    from lr_lightning.cli.summary import BestScore, is_needed, summary

    check_settings(cfg)
    check_sweeper()
    if cfg.get("seed") is not None:
        L.seed_everything(cfg.seed, workers=True, verbose=False)
    callbacks = [instantiate(entry) for entry in _callbacks(cfg.get("callbacks"))]
    loggers = [instantiate(entry) for entry in _entries(cfg.get("logger"))]
    data = build(cfg.data)
    optimizer = instantiate(cfg.optimizer) if cfg.get("optimizer") else None
    check_optimizer(optimizer, cfg.get("optimizer"))
    model = build(cfg.model, optimizer=optimizer)
    best = BestScore(cfg.score, needed=is_needed(cfg.score, callbacks))
    trainer = instantiate(cfg.trainer, callbacks=[*callbacks, best], logger=loggers or False)
    trainer.fit(model, datamodule=data, ckpt_path=cfg.get("ckpt_path"))
    if trainer.is_global_zero:
        print(summary(trainer, callbacks, best))
        if cfg.score not in trainer.callback_metrics:
            near = nearest(cfg.score, map(str, trainer.callback_metrics))
            print(f"score={cfg.score} was never logged: the command returns no score{near}")
    score = trainer.callback_metrics.get(cfg.score)
    return None if score is None else float(score)


def build(node: DictConfig, **offered: Any) -> Any:
    """Instantiate ``node``; a class of the user's takes only what its signature names.

    Args:
        node: A config with ``_target_``. Keys that stem from the default job's group file and that the target doesn't
            take are left out, with a line saying so; keys from the command line are always passed on.
        **offered: Further arguments for targets that take them; None offers nothing.
    """
    init = get_class(node._target_).__init__  # type: ignore[misc]
    # Lightning's own base classes take anything and ignore it.
    takes = {} if init.__module__.startswith("lightning.") else inspect.signature(init).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    overridden = {key_of(item) for item in overrides()}
    kept = {}
    for key, value in node.items():
        name = str(key)
        known = name.startswith("_") or name in takes or open_ended
        if known or any(item.endswith(f".{name}") for item in overridden):
            kept[name] = value
        else:
            print(f"{node._target_} takes no {name!r}: left out the default {name}={value}")
    extra = {k: v for k, v in offered.items() if v is not None and k in takes and k not in kept}
    built = instantiate(OmegaConf.create(kept, flags={"allow_objects": True}), **extra)
    if offered.get("optimizer") is not None and "optimizer" not in takes and (chosen := chosen_optimizer()):
        from lr_lightning.cli.replaced import with_optimizer

        with_optimizer(built, offered["optimizer"], chosen)
        print(f"{node._target_} takes no 'optimizer': {chosen} takes the place of the one it makes")
    return built


def _entries(group: DictConfig | None) -> list[DictConfig]:
    """The entries of a keyed group, without those taken out (null)."""
    return [entry for entry in (group or {}).values() if entry and entry.get("_target_")]


def _callbacks(group: DictConfig | None) -> list[DictConfig]:
    """The callbacks to build: no formula without anything to compute, no range test that would undo a sweep of LRs.

    Raises:
        Refused: If such a formula was given a setting, which would be dropped.
    """
    lr, found = swept_lr(), []
    for name, entry in (group or {}).items():
        key = str(name)
        if not entry or not entry.get("_target_"):
            continue
        if "expression" in entry and not any(entry.get(k) for k in ("expression", "preset", "groups")):
            said = [item for item in overrides() if key_of(item).startswith(f"callbacks.{key}.")]
            if said:
                raise Refused(f"{said[0]} has no effect: callbacks.{key} has neither an expression nor a preset")
        elif lr and entry._target_.startswith("lr_lightning.") and _chooses_lr(entry):
            print(f"callbacks.{key}, the range test, steps aside: {lr} is swept")
        else:
            found.append(entry)
    return found


def _chooses_lr(entry: DictConfig) -> bool:
    return entry._target_.rsplit(".", 1)[-1] in ("LRRangeTest", "LRSearch") and entry.get("apply") is not False


if __name__ == "__main__":
    main()
