"""The walls between the layers: an import through one of them fails the build."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
# What each import breaks, by the name of the contract in pyproject.toml.
PLANTED = {
    "rules/checks.py": ("import torch", "Rules are pure"),
    "rules/saved.py": ("from lr_lightning.optim import param_groups", "Imports go one way"),
    "optim/param_groups.py": ("import lightning", "Optimizers are driven without a Trainer"),
}


@pytest.fixture
def copy(tmp_path):
    """The package and its settings in a folder of their own."""
    shutil.copytree(ROOT / "lr_lightning", tmp_path / "lr_lightning", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(folder, file, line):
    path = folder / "lr_lightning" / file
    text = path.read_text()
    assert "\nimport" in text or "\nfrom" in text
    path.write_text(re.sub(r"\n(?=import |from (?!__future__))", f"\n{line}\n", text, count=1))


def python(folder, *arguments):
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def banned_imports(folder):
    return python(folder, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "lr_lightning")


def test_ruff_finds_torch_lightning_and_hydra_in_the_rules_alone(copy):
    assert banned_imports(copy)[0] == 0
    for file, name in (
        ("rules/checks.py", "torch"),
        ("rules/search/axes.py", "lightning"),
        ("rules/saved.py", "hydra"),
    ):
        plant(copy, file, f"import {name}")
    plant(copy, "optim/formula.py", "import torch")
    code, said = banned_imports(copy)
    assert code == 1
    assert sorted(re.findall(r"TID251 `(\w+)` is banned: rules are pure", said)) == ["hydra", "lightning", "torch"]


def test_a_circle_between_two_files_of_one_folder_is_found(copy):
    plant(copy, "rules/formula/text.py", "from lr_lightning.rules.formula import presets")
    code, said = python(copy, "-c", IMPORTS)
    assert code == 1
    assert re.findall(r"^(.+?):? BROKEN", said, re.MULTILINE) == ["No circle anywhere"], said


def test_each_contract_on_imports_is_broken_by_an_import_through_it(copy):
    code, said = python(copy, "-c", IMPORTS)
    assert code == 0, said
    assert not re.search("BROKEN", said)
    for file, (line, _) in PLANTED.items():
        plant(copy, file, line)
    code, said = python(copy, "-c", IMPORTS)
    assert code == 1
    broken = re.findall(r"^(.+?):? BROKEN", said, re.MULTILINE)
    for _, contract in PLANTED.values():
        assert any(name.startswith(contract) for name in broken), said


def writes_of_lrs(source):
    """Lines that set an item ``"lr"`` or fill one in place."""

    def is_lr(node):
        return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == "lr"

    for node in ast.walk(ast.parse(source)):
        if is_lr(node) and not isinstance(node.ctx, ast.Load):
            yield node.lineno
        if isinstance(node, ast.Attribute) and node.attr.endswith("_") and is_lr(node.value):
            yield node.lineno


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("g['lr'] = 1", 1), ("g['lr'], x = y", 1), ("o.param_groups[0]['lr'] *= 2", 1), ("del g['lr']", 1),
        ("g['lr'].mul_(2)", 1), ("for g['lr'] in x: pass", 1), ("x = g['lr']", 0), ("g['lr'].clone()", 0),
    ],
)  # fmt: skip
def test_a_write_of_an_lr_is_seen(line, found):
    assert len(list(writes_of_lrs(line))) == found


def test_one_module_writes_the_lr_of_a_param_group():
    files = sorted((ROOT / "lr_lightning").rglob("*.py"))
    assert len(files) > 100
    found = {str(path.relative_to(ROOT / "lr_lightning")) for path in files if [*writes_of_lrs(path.read_text())]}
    assert found == {"optim/group.py"}
