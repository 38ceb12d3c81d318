"""What an import costs, and what the package's metadata promise."""

import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

import lr_lightning


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "name", ["lr_lightning", "lr_lightning.rules.range_test.analyze", "lr_lightning.reporting.events"]
)
def test_importing_it_imports_neither_torch_nor_lightning(name):
    assert not loaded_after(f"import {name}") & {"torch", "lightning", "pytorch_lightning", "plotly", "matplotlib"}


def test_public_names_resolve_and_unknown_ones_are_named():
    for name in lr_lightning.__all__:
        assert getattr(lr_lightning, name) is not None
    assert set(lr_lightning.__all__) <= set(dir(lr_lightning))
    with pytest.raises(AttributeError, match=r"no attribute 'LrRangeTest'; it offers .*LRRangeTest"):
        lr_lightning.LrRangeTest  # noqa: B018


@pytest.mark.parametrize(("version", "allowed"), [("2.6.1", True), ("2.6.2", False), ("2.6.3", False), ("3.0", False)])
def test_compromised_and_unknown_releases_of_lightning_are_excluded(version, allowed):
    (lightning,) = (r for r in map(Requirement, requires("lr-lightning")) if r.name == "lightning")
    assert lightning.specifier.contains(version) == allowed
