"""Every printed ``lr-lightning`` command composes as printed: a quick look at what ``test_printed`` runs."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_module

import lr_lightning
from lr_lightning.cli.command_line import readable
from tests.helpers import printed


def commands() -> list[list[str]]:
    """Arguments of every printed ``lr-lightning`` that trains, searches or previews."""
    found = []
    for block in printed.blocks(""):
        for command in block.commands:
            words = shlex.split(command, comments=True)
            if words[:1] == ["lr-lightning"] and words[1:2] not in (["info"], ["review"], ["--help"]):
                found.append(words[1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_printed_command_composes(words):
    name = "config"
    ranges = re.compile(r"=(int|tag|interval|choice)\(")  # the sweeper's, not the config's
    words = [word for word in words if word not in ("-m", "preview") and not ranges.search(word)]
    if "--config-name" in words:
        at = words.index("--config-name")
        name = words.pop(at + 1)
        words.pop(at)
    firsts = [re.sub(r"^(\w+)=([^,\[{]+),.*", r"\1=\2", word) for word in words]  # a sweep's first choice
    with initialize_config_module("conf", version_base="1.3"):
        config = compose(name, readable(firsts), return_hydra_config=True)
    assert config.callbacks is not None
    for word in words:
        key, _, value = word.lstrip("~+").partition("=")
        if key == "hydra.sweeper.param":
            node = config
            for part in value.split("."):
                node = node[part]
        group = "/" in key or (printed.ROOT / "conf" / key).is_dir()
        if value and not group and not value.startswith(("[", "{")) and "," not in value:
            node = config
            for part in key.split("."):
                node = node[part]
            assert str(node) == value or float(node) == float(value)


def test_the_reference_has_every_public_name():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (printed.ROOT / "recipes/docs/api").glob("*.md"))
    shown = set(re.findall(r"auto(?:class|function|exception):: lr_lightning\.(\w+)", pages))
    assert shown == set(lr_lightning.__all__) - {"__version__"}
