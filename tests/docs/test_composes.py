"""What README and the guide print can be pasted: commands compose, Python runs."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

import lr_lightning
from lr_lightning.cli.demo import DigitsCNN, DigitsData

ROOT = Path(__file__).parents[1]
DOCS = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "recipes" / "docs").glob("[!n]*/*.md"))
PAGES = ("README.md", "recipes/README.md", "recipes/benchmarks/README.md", *DOCS)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)


def blocks(page, language):
    return [body for kind, body in FENCE.findall((ROOT / page).read_text()) if kind == language]


def commands():
    """Arguments of every printed ``lr-lightning`` that trains, searches or previews."""
    found = []
    for page in PAGES:
        for body in blocks(page, ""):
            for line in body.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
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
        config = compose(name, firsts, return_hydra_config=True)
    assert config.callbacks is not None
    for word in words:
        key, _, value = word.lstrip("~+").partition("=")
        group = "/" in key or (ROOT / "conf" / key).is_dir()
        if value and not group and not value.startswith(("[", "{")) and "," not in value:
            node = config
            for part in key.split("."):
                node = node[part]
            assert str(node) == value or float(node) == float(value)


def test_readme_s_training_runs_as_printed(tmp_path, monkeypatch):
    [code] = [body for body in blocks("README.md", "python") if "trainer.fit(model" in body]
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = DigitsCNN()
    space = {"model": model, "data": DigitsData()}
    exec(compile(code, "README.md", "exec"), space)  # noqa: S102
    test = space["trainer"].callbacks[0]
    assert test.result.status == "ok"
    assert float(space["trainer"].callback_metrics["val_accuracy"]) > 0.9


@pytest.mark.parametrize("page", PAGES)
def test_printed_python_is_valid_and_its_constructors_take_what_is_printed(page):
    public = {name: getattr(lr_lightning, name) for name in lr_lightning.__all__}
    for body in blocks(page, "python"):
        compile(body, page, "exec")
        for line in body.splitlines():
            call = re.match(r"^(PlateauDecay|LRFormula|LRRangeTest|LRCurves|LRSearch)\(.*\)", line)
            if call:
                assert type(eval(call[0], dict(public))).__name__ == call[1]  # noqa: S307
