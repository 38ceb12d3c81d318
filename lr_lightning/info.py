"""``lr-lightning info``: what a bug report needs."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version

PACKAGES = (
    "lr-lightning", "lightning", "torch", "torchmetrics", "tensorboard", "hydra-core", "omegaconf", "numpy", "plotly",
    "deepspeed", "optuna", "hydra-joblib-launcher", "hydra-submitit-launcher", "hydra-ray-launcher",
)  # fmt: skip


def info() -> str:
    """Versions, devices, plugins found and strategies available, one fact a line."""
    lines = [f"python {platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"]
    lines += [f"{name} {_version(name)}" for name in PACKAGES]
    lines += [f"devices: {', '.join(_devices())}", f"strategies: {', '.join(_strategies())}"]
    found = entry_points(group="tensorboard_plugins")
    lines.append(f"TensorBoard tab: {'found' if any(e.name == 'lr_lightning' for e in found) else 'not installed'}")
    lines.append(f"Hydra plugins: {', '.join(_hydra_plugins()) or 'not found'}")
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> list[str]:
    import torch

    return ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))]


def _strategies() -> list[str]:
    from lightning.pytorch.strategies import StrategyRegistry

    return sorted(StrategyRegistry.available_strategies())


def _hydra_plugins() -> list[str]:
    import pkgutil

    import hydra_plugins.lr_lightning_plugins as ours

    return sorted(module.name for module in pkgutil.iter_modules(ours.__path__))
