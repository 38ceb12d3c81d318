"""The nearest key for one that the command's config doesn't have; Hydra's own message names none."""

from collections.abc import Sequence
from typing import Any

from lr_lightning.sweeper.precheck import keys_of, nearest_key


def hint(words: Sequence[str]) -> str:
    """A sentence on the first override whose key the config doesn't have, or ``""``.

    Args:
        words: The command line, as Hydra got it.

    >>> hint(["trainer.max_epoch=3"])
    "trainer.max_epoch: did you mean 'trainer.max_epochs'?"
    >>> hint(["trainer.max_epochs=3", "callbacks=lr_search", "+more=1"])
    ''
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    GlobalHydra.instance().clear()
    name = words[list(words).index("--config-name") + 1] if "--config-name" in words[:-1] else "config"
    kept: list[str] = []
    with initialize_config_module("lr_lightning.conf", version_base="1.3"):
        try:
            config: Any = compose(name)
            for word in words:
                if "=" not in word or word[0] in "-+~" or word.startswith("hydra"):
                    continue
                (override,) = OverridesParser.create().parse_overrides([word])
                key = override.key_or_group
                if override.is_sweep_override():
                    if not any(name == key or name.startswith(f"{key}.") for name in _known(key, config)):
                        return _sentence(key, config)
                    continue
                try:
                    config = compose(name, [*kept, word])
                except HydraException as error:
                    return _sentence(key, config) if "Could not override" in str(error) else ""
                kept.append(word)
        except HydraException:  # Hydra has told of it
            return ""
    return ""


def _known(key: str, config: Any) -> list[str]:
    """Names to choose from: keys, or for a word without a dot groups and what stands beside them."""
    return keys_of(config) if "." in key else [str(name) for name in config]


def _sentence(key: str, config: Any) -> str:
    return f"{key}: {nearest_key(key, _known(key, config)).removeprefix('; ')}"
