"""Where the tests of this folder run: on CUDA, or with ``REHEARSE_GPU=1`` their code paths on a CPU."""

import os

# Read by cuBLAS when its handle is made: without it, sums of two runs may differ in the last bit.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

REHEARSAL = os.environ.get("REHEARSE_GPU") == "1"
DEVICE = "cpu" if REHEARSAL else "cuda"


def trainer_settings(**settings):
    """The Trainer's arguments for this device."""
    return {"accelerator": "cpu" if REHEARSAL else "gpu", "devices": 1, **settings}


def device_generators() -> list[torch.Tensor]:
    """State of the random number generators of all devices."""
    return [torch.get_rng_state()] if REHEARSAL else torch.cuda.get_rng_state_all()
