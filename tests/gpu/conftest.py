"""These tests need a CUDA device, and deterministic kernels: they compare two runs bit by bit."""

import os

import pytest
import torch

from tests.gpu.device import REHEARSAL


def pytest_collection_modifyitems(config, items):
    here = [item for item in items if "tests/gpu/" in item.path.as_posix()]
    if REHEARSAL:  # each test once: with the last of its parameters
        last = {item.nodeid.split("[")[0]: item for item in here}
        config.hook.pytest_deselected(items=[item for item in here if item not in last.values()])
        items[:] = [item for item in items if item not in here or item in last.values()]
    if REHEARSAL or torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device (REHEARSE_GPU=1 runs each test once on a CPU)")
    for item in here:
        item.add_marker(skip)


@pytest.fixture(autouse=True)
def deterministic():
    """Only warn of an operation without a deterministic kernel: then the comparison itself says whether it matters."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@pytest.fixture
def process_group():
    """Leaves neither a process group nor a launcher's variables behind."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)
