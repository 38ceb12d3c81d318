"""Shared set-up: one thread, so that two cores serve two processes and floating-point sums keep their order."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings

# CI must not find a new counterexample in an unrelated change; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("explore", derandomize=False)
settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

torch.set_num_threads(1)
