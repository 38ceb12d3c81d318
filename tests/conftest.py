"""Shared set-up: one thread, so that two cores serve two processes and floating-point sums keep their order."""

import logging
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

if TYPE_CHECKING:
    from tests.chaos.warm import Warm

# CI must not find a new counterexample in an unrelated change; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("explore", derandomize=False)
settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def warm() -> Iterator["Warm"]:
    """A process that has imported everything once and forks a child for each job."""
    from tests.chaos.warm import Warm

    with Warm() as running:
        yield running


@pytest.fixture(autouse=True)
def lightnings_words_reach_caplog() -> None:
    """Where the root logger had no handler when Lightning was imported, it keeps its words to itself."""
    logging.getLogger("lightning.pytorch").propagate = True
