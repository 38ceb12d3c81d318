"""The reference is the docstrings: every public name has an example, and every example runs."""

import doctest
import importlib
import inspect
import pkgutil
import warnings

import pytest

import lr_lightning
import lr_lightning.reporting
import lr_lightning.rules

MODULES = [
    "lr_lightning.cli.demo",
    "lr_lightning.optim.param_groups",
    "lr_lightning.optim.plateau",
    "lr_lightning.cli.preview",
    "lr_lightning.optim.formula",
    *(m.name for m in pkgutil.walk_packages(lr_lightning.rules.__path__, "lr_lightning.rules.") if not m.ispkg),
    *(f"lr_lightning.reporting.{name}" for name in ("events", "figures", "notebook")),
]
# What rules, callbacks and reporting use among themselves; their docstrings say what they do.
INNER = {
    "lr_lightning.optim.param_groups": "LRChange unwrap record_base_lr_if_bare",
    "lr_lightning.cli.preview": "preview_command",
    "lr_lightning.rules.search.view": "View",
    "lr_lightning.rules.search.axes": "axis_from",
    "lr_lightning.rules.range_test.curve": "prepare",
    "lr_lightning.rules.range_test.explosion": "explosion",
    "lr_lightning.rules.formula.formula": "FunctionProgram",
    "lr_lightning.rules.formula.backends": "Backend",
    "lr_lightning.rules.formula.compile": "MissingMetricError is_metric metric_name children_of Program",
    "lr_lightning.rules.formula.text": "error_at scan parse",
    "lr_lightning.rules.range_test.interval": "resampled_readings find_interval",
    "lr_lightning.rules.range_test.smoothing": "noise_level",
    "lr_lightning.rules.plateau.decision": "PlateauState PlateauRule check_at",
    "lr_lightning.rules.plateau.patience": "PatienceState",
    "lr_lightning.rules.plateau.stats": "halve newest means_of pool residuals spread lag_one",
    "lr_lightning.rules.plateau.trend": "Stage TrendState",
    "lr_lightning.rules.search.surrogate": "Posterior Squeezed squeeze posterior",
    "lr_lightning.reporting.events": "write_event log_scalars tensorboards add_summary guard",
}
TOLERANT = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def public(module_name):
    """The functions and classes that a module defines under names of its own."""
    module = importlib.import_module(module_name)
    return [
        item
        for name, item in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(item) or inspect.isclass(item))
        and item.__module__ == module_name
        and name not in INNER.get(module_name, "").split()
    ]


NAMED = {name: getattr(lr_lightning, name) for name in lr_lightning.__all__ if name != "__version__"}
EVERY = {f"{item.__module__}.{item.__name__}": item for name in MODULES for item in public(name)}
EVERY |= {f"{item.__module__}.{item.__name__}": item for item in NAMED.values()}


@pytest.mark.parametrize("name", EVERY)
def test_its_example_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tests = doctest.DocTestFinder(exclude_empty=True).find(EVERY[name], name)
    assert any(test.examples for test in tests), f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=TOLERANT, verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        failed = [runner.run(test).failed for test in tests]
    assert not any(failed), capsys.readouterr().out


def test_nothing_inner_is_gone():
    for module, names in INNER.items():
        assert all(hasattr(importlib.import_module(module), name) for name in names.split()), module
