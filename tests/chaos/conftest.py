"""The healthy fits that troubled ones are compared with."""

from typing import Any

import pytest

from tests.chaos.warm import Ended, Warm

JOBS = "tests.chaos.trouble"
STATE = ("weights", "optimizers", "callbacks", "hparams", "step", "lrs")


@pytest.fixture(scope="session")
def healthy(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    return {
        kind: warm.run(f"{JOBS}:healthy", tmp_path_factory.mktemp(kind), kind=kind, ok=True)
        for kind in ("all", "search")
    }


def state(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in STATE}


def named(report: dict[str, Any], name: str) -> list[str]:
    """The warnings of one writer."""
    return [text for text in report["warnings"] if text.startswith(f"{name} failed")]
