"""``lr-lightning info``: what a bug report needs."""

import platform
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec

PACKAGES = (
    "lr-lightning", "lightning", "torch", "torchmetrics", "tensorboard", "hydra-core", "omegaconf", "numpy", "plotly",
)  # fmt: skip
OPTIONAL = (
    "matplotlib", "optuna", "deepspeed", "hydra-joblib-launcher", "hydra-submitit-launcher", "hydra-ray-launcher",
    "jsonargparse", "wandb", "mlflow", "mlflow-skinny", "ipywidgets",
)  # fmt: skip


def info() -> str:
    """Versions, devices, plugins found and strategies available, one fact a line.

    >>> info().splitlines()[1].startswith("lr-lightning")
    True
    """
    missing = [name for name in OPTIONAL if _version(name) is None]
    rows = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})")]
    rows += [(name, _version(name) or "not installed") for name in PACKAGES]
    rows += [(name, found) for name in OPTIONAL if (found := _version(name))]
    rows += [("not installed", ", ".join(missing) or "nothing: all optional packages are there")]
    rows += [("devices", ", ".join(_devices())), ("strategies", ", ".join(_strategies()))]
    plugins = entry_points(group="tensorboard_plugins")
    tab = "found" if any(plugin.name == "lr_lightning" for plugin in plugins) else "not found: install lr-lightning"
    rows += [("TensorBoard tab", tab), ("Hydra plugins", ", ".join(_hydra_plugins()) or "not found")]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(_wrapped(name, value, width) for name, value in rows)


def _wrapped(name: str, value: str, width: int) -> str:
    lines = textwrap.wrap(value, 100, break_long_words=False, break_on_hyphens=False) if ", " in value else [value]
    return f"{name:<{width}}" + f"\n{'':<{width}}".join(lines)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    return ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]


def _strategies() -> list[str]:
    """The names that ``Trainer(strategy=…)`` takes here, without the variants that only preset an option."""
    from lightning.pytorch.strategies import StrategyRegistry

    needs = {"deepspeed": "deepspeed", "xla": "torch_xla", "tpu": "torch_xla"}
    absent = [part for part, package in needs.items() if find_spec(package) is None]
    names = sorted(StrategyRegistry.available_strategies())
    return [name for name in names if not any(part in name for part in ("_find_unused_", "_offload", *absent))]


def _hydra_plugins() -> list[str]:
    """What Hydra itself finds of ours: the names as users write them."""
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin
    from hydra.plugins.sweeper import Sweeper

    ours = "hydra_plugins.lr_lightning_plugins"
    said = {
        SearchPathPlugin: "callbacks (callbacks=[default,lr_range_test])",
        Sweeper: "hydra/sweeper=lr_coarse_to_fine",
    }
    return [
        text
        for kind, text in said.items()
        if any(p.__module__.startswith(ours) for p in Plugins.instance().discover(kind))
    ]
