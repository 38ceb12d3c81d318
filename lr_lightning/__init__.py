"""Learning-rate callbacks for PyTorch Lightning: range test, plateau decay, formulas and log-scale search.

Importing this package imports neither torch nor lightning: the TensorBoard plugin and Hydra's plugin scan load it in
processes that must start fast. Public names are resolved on first use (PEP 562).
"""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Formula": "lr_lightning.rules.formula.formula",
    "FormulaError": "lr_lightning.rules.formula.text",
    "FormulaLR": "lr_lightning.optim.formula",
    "LRCurves": "lr_lightning.callbacks.curves",
    "LRFormula": "lr_lightning.callbacks.formula",
    "LRRangeTest": "lr_lightning.callbacks.range_test",
    "LRSearch": "lr_lightning.callbacks.search",
    "PlateauDecay": "lr_lightning.callbacks.plateau_decay",
    "PlateauLR": "lr_lightning.optim.plateau",
    "RangeTestResult": "lr_lightning.rules.range_test.result",
    "TailAverage": "lr_lightning.optim.averaging",
    "TrialPruner": "lr_lightning.callbacks.trial_pruner",
    "isolated_trials": "lr_lightning.sweeper.isolated",
    "range_test": "lr_lightning.optim.range_test",
}
__all__ = ["__version__", *_PUBLIC]

_HERE = Path(__file__).parent
if not (_HERE / "conf").is_dir():
    # An editable install keeps conf/ at the top of the repository; a wheel carries it inside of the package.
    __path__.append(str(_HERE.parent))


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(sorted(_PUBLIC))}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
