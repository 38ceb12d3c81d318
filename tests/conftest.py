"""Shared set-up: one thread, so that two cores serve two processes and floating-point sums keep their order."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
