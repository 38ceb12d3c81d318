"""torch's schedulers as users write them, and an optimizer with several param groups."""

import torch
from torch.optim import lr_scheduler as sched

# Each entry builds a scheduler for "the LR" `lr`, as a user would write it. Floors are given as a share of the LR:
# rescaling keeps every absolute LR's ratio to it.
SCHEDULERS = {
    "LambdaLR": lambda o, lr: sched.LambdaLR(o, lambda t: 0.9**t * (0.5 if t < 3 else 1)),
    "LambdaLR per group": lambda o, lr: sched.LambdaLR(o, [lambda t: 0.9**t] * len(o.param_groups)),
    "MultiplicativeLR": lambda o, lr: sched.MultiplicativeLR(o, lambda t: 0.95),
    "StepLR": lambda o, lr: sched.StepLR(o, 7, gamma=0.3),
    "MultiStepLR": lambda o, lr: sched.MultiStepLR(o, [5, 20, 21], gamma=0.1),
    "ConstantLR": lambda o, lr: sched.ConstantLR(o, factor=1 / 3, total_iters=10),
    "LinearLR": lambda o, lr: sched.LinearLR(o, start_factor=0.1, total_iters=30),
    "ExponentialLR": lambda o, lr: sched.ExponentialLR(o, 0.97),
    "PolynomialLR": lambda o, lr: sched.PolynomialLR(o, total_iters=45, power=2.0),
    "CosineAnnealingLR": lambda o, lr: sched.CosineAnnealingLR(o, 20),
    "CosineAnnealingLR floor": lambda o, lr: sched.CosineAnnealingLR(o, 20, eta_min=lr * 0.125),
    "CosineAnnealingWarmRestarts": lambda o, lr: sched.CosineAnnealingWarmRestarts(o, 7, T_mult=2, eta_min=lr * 0.125),
    "CyclicLR": lambda o, lr: sched.CyclicLR(
        o, [g["lr"] / 8 for g in o.param_groups], [g["lr"] for g in o.param_groups], step_size_up=6, mode="triangular2"
    ),
    "OneCycleLR": lambda o, lr: sched.OneCycleLR(o, [g["lr"] for g in o.param_groups], total_steps=60),
    "OneCycleLR linear": lambda o, lr: sched.OneCycleLR(
        o, [g["lr"] for g in o.param_groups], total_steps=60, anneal_strategy="linear", three_phase=True
    ),
    "SequentialLR": lambda o, lr: sched.SequentialLR(
        o, [sched.LinearLR(o, 0.1, total_iters=10), sched.CosineAnnealingLR(o, 40)], milestones=[10]
    ),
    "ChainedScheduler of SequentialLR": lambda o, lr: sched.ChainedScheduler(
        [
            sched.SequentialLR(o, [sched.ConstantLR(o, 0.25, total_iters=5), sched.StepLR(o, 4)], milestones=[8]),
            sched.ExponentialLR(o, 0.9),
        ],
        optimizer=o,
    ),
    "ChainedScheduler": lambda o, lr: sched.ChainedScheduler(
        [sched.ConstantLR(o, factor=0.1, total_iters=20), sched.ExponentialLR(o, 0.9)], optimizer=o
    ),
}


def optimizer_with(lr: float, ratios=(1.0, 10.0), tensor: bool = False, cls=torch.optim.SGD, **kwargs):
    groups = []
    for ratio in ratios:
        value = lr * ratio
        groups.append({"params": [torch.nn.Parameter(torch.ones(2))], "lr": torch.tensor(value) if tensor else value})
    return cls(groups, lr=torch.tensor(lr) if tensor else lr, **kwargs)
