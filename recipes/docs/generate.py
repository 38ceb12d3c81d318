"""The page of presets: each one's text, source and curve, from this version's own code."""

import inspect
from pathlib import Path

from lr_lightning import Formula
from lr_lightning.rules.formula.presets import PRESETS
from lr_lightning.rules.formula.schedule import Horizon, Schedule

EPOCHS, STEPS = 20, 10
# What a preset can't do without, and lengths that show its shape in a run as short as this one.
ARGUMENTS = {
    "multistep": {"milestones": [8, 15]},
    "noam": {"warmup_steps": 40},
    "step": {"step_size": 5},
    "triangular": {"up": 25},
}


def draw(folder: Path) -> Path:
    """Write one SVG for each preset and a text that shows them; returns the text's file."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "presets.inc"
    page.write_text("\n".join(_entry(name, folder) for name in PRESETS), encoding="utf-8")
    return page


def _entry(name: str, folder: Path) -> str:
    formula = Formula(preset=name, **ARGUMENTS.get(name, {}))
    _picture(formula, folder / f"{name}.svg")
    words = inspect.getdoc(PRESETS[name]).split(">>>")[0].strip().replace("``", "`")
    given = "".join(f", {key}={value}" for key, value in ARGUMENTS.get(name, {}).items())
    call = f'LRFormula(preset="{name}"{given})'
    return f"## {name}\n\n{words}\n\n![{name}](../generated/{name}.svg)\n\n`{call}`: `{formula}`\n"


def _picture(formula: Formula, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    at, lrs = Schedule(formula, Horizon.of(EPOCHS, STEPS)).curve(1.0)
    figure, axes = plt.subplots(figsize=(4.6, 1.9), layout="constrained")
    axes.plot([step / STEPS for step in at], lrs, color="#3b6fb5")
    axes.set(xlabel="epoch", ylabel="LR / base LR")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
