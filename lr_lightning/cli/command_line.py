"""The words after ``lr-lightning``: which command is meant, and values that Hydra's grammar would refuse."""

import difflib
import re
from collections.abc import Sequence

COMMANDS = {
    "info": "usage: lr-lightning info\n\nVersions, devices, plugins and strategies: what a bug report needs.",
    "preview": (
        "usage: lr-lightning preview KEY=VALUE… [--cfg job]\n\n"
        "Draws the formulas of a configuration, without training: callbacks.lr_formula.expression=… or\n"
        "callbacks.lr_formula.preset=…, with preview.epochs, preview.steps_per_epoch, preview.base_lr."
    ),
    "review": "",  # has a parser of its own
}
"""Commands beside the training, with what their ``--help`` prints."""

_TEXT = re.compile(
    r"[+~]*(?:.*\.)?(?:expression|ckpt_path|name|score|monitor|html|save_dir|default_root_dir|dirpath|dir|subdir|resume)"
    r"|.*\.groups\.[^.]+"
)
"""Keys whose value is a string: a formula, a path, a name."""


class UnknownCommand(ValueError):
    """A word that is neither a command nor an override."""


def command_of(words: Sequence[str]) -> str:
    """The command's name, or ``""`` for a training.

    Raises:
        UnknownCommand: If the first word is neither a command nor an override nor an option.

    >>> command_of(["preview", "a=1"]), command_of(["a=1"]), command_of(["--help"])
    ('preview', '', '')
    """
    first = words[0] if words else ""
    if first in COMMANDS:
        return first
    if not first or first[0] in "-~+" or "=" in first:
        return ""
    near = difflib.get_close_matches(first, COMMANDS, 1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    raise UnknownCommand(
        f"lr-lightning: no command {first!r}{meant} Commands: {', '.join(COMMANDS)}; settings have the form key=value"
    )


def readable(words: Sequence[str]) -> list[str]:
    """The words with quotes around values that Hydra's grammar refuses where the key is known to hold a string.

    A list with commas is one text in Hydra's own settings, which it doesn't sweep.

    >>> readable(["ckpt_path=epoch=3-step=92.ckpt", "trainer.max_epochs=5", "hydra.run.dir=a,b"])
    ["ckpt_path='epoch=3-step=92.ckpt'", 'trainer.max_epochs=5', "hydra.run.dir='a,b'"]
    """
    return [_readable(word) for word in words]


def _readable(word: str) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    from lr_lightning.sweeper.adapt import quoted

    key, equals, value = word.partition("=")
    if not equals or word.startswith("-") or not _TEXT.fullmatch(key):
        return word
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        if key.startswith("hydra.") and override.is_sweep_override():
            return f"{key}={quoted(value)}"
    except OverrideParseException:
        return f"{key}={quoted(value)}"
    return word


def with_overrides(words: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """Put overrides before the user's own, beside them: argparse takes positional words in one row alone.

    >>> with_overrides(["--cfg", "job", "a=1"], ["b=2"]), with_overrides(["a=1", "--cfg", "job"], ["b=2"])
    (['--cfg', 'job', 'b=2', 'a=1'], ['b=2', 'a=1', '--cfg', 'job'])
    """
    own = (at for at, word in enumerate(words) if "=" in word and not word.startswith("-"))
    at = next(own, len(words))
    return [*words[:at], *overrides, *words[at:]]
