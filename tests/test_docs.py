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
    "lr_lightning.demo",
    "lr_lightning.param_groups",
    "lr_lightning.plateau_lr",
    "lr_lightning.preview",
    "lr_lightning.schedulers",
    *(f"lr_lightning.rules.{module.name}" for module in pkgutil.iter_modules(lr_lightning.rules.__path__)),
    *(f"lr_lightning.reporting.{name}" for name in ("events", "figures", "notebook")),
]
# What rules, callbacks and reporting use among themselves; their docstrings say what they do.
INNER = {
    "lr_lightning.param_groups": "LRChange unwrap record_base_lr_if_bare",
    "lr_lightning.preview": "preview_command",
    "lr_lightning.rules.axes": "axis_from",
    "lr_lightning.rules.curve": "noise_level prepare explosion",
    "lr_lightning.rules.formula": "FunctionProgram",
    "lr_lightning.rules.formula_backends": "Backend",
    "lr_lightning.rules.formula_compile": "MissingMetricError is_metric metric_name children_of Program",
    "lr_lightning.rules.formula_text": "error_at scan parse",
    "lr_lightning.rules.interval": "resampled_readings find_interval",
    "lr_lightning.rules.plateau": "PlateauState PlateauRule check_at",
    "lr_lightning.rules.plateau_dlib": "DlibState steps_without_decrease",
    "lr_lightning.rules.plateau_patience": "PatienceState",
    "lr_lightning.rules.plateau_stats": "halve newest means_of pool residuals spread lag_one jumped",
    "lr_lightning.rules.plateau_trend": "Stage TrendState",
    "lr_lightning.rules.probes": "Trial Probe plan",
    "lr_lightning.rules.surrogate": "Posterior Squeezed squeeze posterior",
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
